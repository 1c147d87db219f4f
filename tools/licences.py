"""Prints THIRD_PARTY.md: the licences of the packages in the images, and of the weights.

Usage: python tools/licences.py

The packages are those of all requirements.txt, of requirements-bulk.txt and of requirements-cluster.txt, which must be
installed: those of a cluster in a folder beside the environment, because Ray acts otherwise where it finds them. The
weights are those of the catalogue.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from email.message import Message
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path

from upscaling.weights.catalogue import Catalogue, catalogue

ROOT = Path(__file__).resolve().parent.parent
_BULK = ("requirements-bulk.txt", "requirements-cluster.txt")
_CLUSTER = Path(".venv", "cluster")  # made by `make`
_SHORT = 60  # letters; more is the text of a licence, which begins with its name
_HEAD = """# Third-party licences
Made by `make licences`; do not edit.

## Packages
The packages in the images beside those of Cog's base image. Those of bulk jobs are only in the images that
`deploy/bulk/Dockerfile` makes of them. The licences are those in the packages' metadata.

| package | version | licence | used by |
|---|---|---|---|"""
_WEIGHTS = """
## Weights
From `shared/src/upscaling/weights/weights.toml`.

| model | weights | licence | published by |
|---|---|---|---|"""


def text(root: Path, weights: Catalogue) -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_packages(root), _WEIGHTS, *_weights(root, weights), ""])


def _packages(root: Path) -> Iterator[str]:
    found: dict[tuple[str, str], dict[str, None]] = {}
    everywhere = sorted(root.glob("models/*/requirements.txt"))
    for path in [*everywhere, *(root / name for name in _BULK if (root / name).exists())]:
        for line in path.read_text().splitlines():
            name, pinned, version = line.partition("==")
            if pinned:
                user = path.parent.name if path in everywhere else "bulk jobs"
                found.setdefault((name, version), {})[user] = None
    for (name, version), users in sorted(found.items()):
        licence = licence_of(_metadata(name, version, root))
        named = "all" if len(users) == len(everywhere) else ", ".join(users)
        yield f"| {name} | {version} | {licence} | {named} |"


def _metadata(name: str, version: str, root: Path) -> Message:
    for distribution in Distribution.discover(name=name, path=[*sys.path, str(root / _CLUSTER)]):
        if distribution.version == version:
            return distribution.metadata  # pyright: ignore[reportReturnType]  it is a Message
    raise PackageNotFoundError(f"{name} {version}")


def licence_of(metadata: Message) -> str:
    """The licence that a package's metadata states: as an expression, by a name, or as a classifier."""
    if metadata["License-Expression"]:
        return metadata["License-Expression"]
    lines = [line.strip() for line in (metadata["License"] or "").splitlines() if line.strip()]
    if len(lines) == 1 and len(lines[0]) <= _SHORT:
        return lines[0]
    classifiers = [
        value.rpartition(" :: ")[2]
        for value in metadata.get_all("Classifier") or []
        if value.startswith("License :: OSI Approved :: ")
    ]
    if not classifiers and not lines:
        raise ValueError(f"{metadata['Name']} states no licence in its metadata: look it up, and name it here.")
    return " or ".join(classifiers) or ", ".join(lines[:2])


def _weights(root: Path, weights: Catalogue) -> Iterator[str]:
    for model, names in weights.models.items():
        if not (root / "models" / model).is_dir():  # begun, and in no image yet
            continue
        groups: dict[tuple[str, str], list[str]] = {}
        for entry in (weights.entries[name] for name in names):
            terms = f"{entry.licence}, non-commercial use only" if entry.non_commercial else entry.licence
            groups.setdefault((terms, entry.origin), []).append(entry.name)
        for (terms, origin), members in groups.items():
            yield f"| {model} | {', '.join(members)} | {terms} | {origin} |"


if __name__ == "__main__":
    print(text(ROOT, catalogue()), end="")
