"""Reads a release tag, MODEL/vX.Y.Z, and its text in CHANGELOG.md.

Usage: python tools/release.py names TAG    prints model=MODEL and version=X.Y.Z, for the outputs of a workflow
       python tools/release.py notes TAG    prints the text
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_TAG = re.compile(r"([a-z0-9-]+)/v((?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2})")


class ReleaseError(Exception):
    """The tag names no release; the message says why."""


@dataclass(frozen=True)
class Release:
    """One version of one model."""

    model: str
    version: str
    notes: str


def read(root: Path, tag: str) -> Release:
    """The release of a tag. Raises ReleaseError if the tag, the model or CHANGELOG.md do not fit."""
    found = _TAG.fullmatch(tag)
    if found is None:
        raise ReleaseError(f"{tag!r} is no release tag: it is MODEL/vX.Y.Z, like real-esrgan/v1.0.0.")
    model, version = found.groups()
    models = sorted(path.parent.name for path in root.glob("models/*/cog.yaml"))
    if model not in models:
        raise ReleaseError(f"there is no model {model!r}; there are {', '.join(models)}.")
    notes = _section(_section((root / "CHANGELOG.md").read_text(), "##", re.escape(model)), "###", re.escape(version))
    if not notes:
        raise ReleaseError(f"CHANGELOG.md has no text below `## {model}`, `### {version} (YYYY-MM-DD)`.")
    return Release(model, version, notes)


def _section(text: str, level: str, title: str) -> str:
    """The text below a heading, up to the next heading of the same or a higher level."""
    heading, end = rf"^{level} {title}(?: \(\d{{4}}-\d\d-\d\d\))?\n", rf"(?=^#{{1,{len(level)}}} |\Z)"
    found = re.search(f"{heading}(.*?){end}", text, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


def main(arguments: list[str], root: Path = ROOT) -> int:
    if len(arguments) != 2 or arguments[0] not in ("names", "notes"):
        print(__doc__, file=sys.stderr)
        return 2
    what, tag = arguments
    try:
        release = read(root, tag)
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"model={release.model}\nversion={release.version}" if what == "names" else release.notes)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
