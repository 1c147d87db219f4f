"""Prints THIRD_PARTY.md: the licences of the packages in the images, and of the weights.

Usage: python tools/licences.py

The packages are those of all requirements.txt and of requirements-bulk.txt, which must be installed; the weights are
those of the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message
from importlib.metadata import distribution
from pathlib import Path

from upscaling.weights.catalogue import Catalogue, catalogue

ROOT = Path(__file__).resolve().parent.parent
_SHORT = 60  # letters; more is the text of a licence, which begins with its name
_HEAD = """# Third-party licences
Made by `make licences`; do not edit.

## Packages
The packages in the images beside those of Cog's base image, and those of bulk jobs, which are in no image. The licences
are those in their metadata.

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
    models: dict[tuple[str, str], list[str]] = {}
    everywhere = sorted(root.glob("models/*/requirements.txt"))
    for path in [*everywhere, *root.glob("requirements-bulk.txt")]:
        for line in path.read_text().splitlines():
            name, pinned, version = line.partition("==")
            if pinned:
                models.setdefault((name, version), []).append(path.parent.name if path in everywhere else "bulk jobs")
    for (name, version), users in sorted(models.items()):
        licence = licence_of(distribution(name).metadata)  # pyright: ignore[reportArgumentType]  it is a Message
        named = "all" if len(users) == len(everywhere) else ", ".join(users)
        yield f"| {name} | {version} | {licence} | {named} |"


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
