"""Prints the models that a change can affect, as a JSON list for the matrix of a workflow.

Usage: python tools/changed_models.py [BASE]

Compares HEAD with its merge base with BASE. All models are printed if BASE is missing or not in this clone.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_PACKAGE = "shared/src/upscaling/"
# What every image is built with and checked by: the Makefile pins Cog, and the smoke cases take the samples.
_BUILD = ("Makefile", ".github/", "samples/", "shared/", "tools/")


def changed_models(root: Path, base: str) -> list[str]:
    """The models in root that changed since base, or that use something that did, in alphabetical order."""
    models = sorted(path.parent.name for path in root.glob("models/*/cog.yaml"))
    paths = _changed_paths(root, base)
    if paths is None:
        return models
    affected = set[str]()
    for path in paths:
        affected |= _affected(path, models, root)
    return [model for model in models if model in affected]


def rooms_of(root: Path, model: str) -> set[str]:
    """The rooms of the shared package that the Python files of a model import, themselves or through other rooms."""
    package = root / _PACKAGE
    seen = set[str]()
    waiting = [module for path in sorted((root / "models" / model).glob("*.py")) for module in _imports(path)]
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        # Importing a module runs the packages around it too.
        waiting += [module.rpartition(".")[0]] if "." in module else []
        for path in (package / f"{module.replace('.', '/')}.py", package / module.replace(".", "/") / "__init__.py"):
            if path.is_file():
                waiting += _imports(path)
    return {module.partition(".")[0] for module in seen}


def _changed_paths(root: Path, base: str) -> list[str] | None:
    """The changed paths, both the old and the new one of a file that moved; None where the base is unknown."""
    # A first push has a base of zeros, a forced push one that is gone.
    command = ["git", "diff", "--name-only", "-z", "--no-renames", "--end-of-options", f"{base}...HEAD"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if not base or done.returncode != 0:
        return None
    return [path for path in done.stdout.split("\0") if path]


def _affected(path: str, models: Iterable[str], root: Path) -> set[str]:
    if path.startswith("models/"):
        return {path.split("/")[1]}
    if path.startswith(_PACKAGE):
        room = path.removeprefix(_PACKAGE).partition("/")[0].removesuffix(".py")
        if room != "__init__" and not room.startswith("py."):
            return {model for model in models if room in rooms_of(root, model)}
    return set(models) if path.startswith(_BUILD) else set()


def _imports(path: Path) -> Iterator[str]:
    """What a file imports of the shared package, without the package's name in front."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            # What is imported from a package can be a module of it.
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name.removeprefix("upscaling.") for name in names if name.startswith("upscaling."))


if __name__ == "__main__":
    print(json.dumps(changed_models(ROOT, *sys.argv[1:2] or [""])))
