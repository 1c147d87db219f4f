"""Compares the contracts of models with those in another commit, and lists all breaking changes.

Usage: python tools/schema_compat.py BASE [MODEL …], by default all models that BASE has

A change is breaking if a request that worked before can now be refused or answered differently: a model or an input
was removed, a type, format, default or output changed, a bound was tightened, a choice removed, an input made required.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contract import NOTHING, Contract, Input, read

ROOT = Path(__file__).resolve().parent.parent


class BaseError(Exception):
    """The other commit cannot be read; the message says why."""


def breaking_changes(before: Contract, after: Contract) -> list[str]:
    """All breaking changes, one sentence each, in the order of the inputs."""
    found: list[str] = []
    for name, old in before.inputs.items():
        new = after.inputs.get(name)
        found += [f"{name} was removed."] if new is None else [f"{name}: {said}" for said in _changes(old, new)]
    found += [
        f"{name} is new and required."
        for name, new in after.inputs.items()
        if name not in before.inputs and new.required
    ]
    if before.output != after.output:
        found.append(f"The output changed from {before.output} to {after.output}.")
    return found


def _changes(old: Input, new: Input) -> Iterator[str]:
    if (old.type, old.format) != (new.type, new.format):
        yield f"the type changed from {_kind(old)} to {_kind(new)}."
    if old.required != new.required and new.required:
        yield "it is now required."
    elif not old.required and not new.required and not _is_same(old.default, new.default):
        yield f"the default changed from {_value(old.default)} to {_value(new.default)}."
    if new.minimum is not None and (old.minimum is None or new.minimum > old.minimum):
        yield f"the minimum changed from {_bound(old.minimum)} to {_bound(new.minimum)}."
    if new.maximum is not None and (old.maximum is None or new.maximum < old.maximum):
        yield f"the maximum changed from {_bound(old.maximum)} to {_bound(new.maximum)}."
    if new.choices is not None:
        if old.choices is None:
            yield f"it accepted every value and now accepts only {', '.join(map(_value, new.choices))}."
        else:
            lost = [choice for choice in old.choices if choice not in new.choices]
            if lost:
                yield f"it no longer accepts {', '.join(map(_value, lost))}."


def _kind(one: Input) -> str:
    return one.type if one.format is None else f"{one.type} ({one.format})"


def _is_same(old: Any, new: Any) -> bool:
    # An input that may be left out is null without a default, and True is no 1.
    old, new = (None if value is NOTHING else value for value in (old, new))
    return old == new and isinstance(old, bool) == isinstance(new, bool)


def _value(value: Any) -> str:
    return "none" if value is NOTHING or value is None else json.dumps(value, ensure_ascii=False)


def _bound(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"


def contracts_at(root: Path, base: str) -> dict[str, Contract]:
    """The contracts of all models in a commit. Raises BaseError if the commit is not in this clone."""
    listed = _git(root, "ls-tree", "-r", "--name-only", "-z", base, "--", "models").split("\0")
    paths = [path for path in listed if path.count("/") == 2 and path.endswith("/openapi.json")]
    return {path.split("/")[1]: read(_git(root, "show", f"{base}:{path}")) for path in paths}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BaseError(done.stderr.strip())
    return done.stdout


def main(arguments: list[str], root: Path = ROOT) -> int:
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    base, *models = arguments
    try:
        before = contracts_at(root, base)
    except BaseError as error:
        print(error, file=sys.stderr)
        return 2
    found: list[str] = []
    for model in models or before:
        path = root / "models" / model / "openapi.json"
        if model in before and not path.exists():
            found.append(f"{model}: the model was removed.")
        elif model in before:
            found += [f"{model}: {said}" for said in breaking_changes(before[model], read(path.read_text()))]
    print("\n".join(["Breaking changes:", *found] if found else ["No breaking change."]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
