"""Checks that the catalogue of weights is complete, and that the READMEs state its licences.

Usage: python tools/check_weights.py

Lists all problems: entries without origin or licence, files without size or SHA-256 that are not marked as unpublished,
entries that no model uses, licences that the README of a model does not name beside the weights, and models with
non-commercial weights that are not marked in the main README.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from upscaling.weights.catalogue import Catalogue, Entry, File, catalogue

ROOT = Path(__file__).resolve().parent.parent
NON_COMMERCIAL = "non-commercial"


def problems(weights: Catalogue, root: Path) -> list[str]:
    """All problems of a catalogue and of the READMEs in root, one sentence each."""
    used = {name for names in weights.models.values() for name in names}
    found = [said for entry in weights.entries.values() for said in _of_entry(entry)]
    found += [f"{name} is used by no model." for name in weights.entries if name not in used]
    # A model that is being written has no README yet.
    written = [model for model in weights.models if (root / "models" / model / "README.md").exists()]
    return found + [said for model in written for said in _unstated(weights, model, root)]


def _of_entry(entry: Entry) -> Iterator[str]:
    for field in ("origin", "licence"):
        if not getattr(entry, field).strip():
            yield f"{entry.name} has no {field}."
    for file in entry.files:
        missing = _missing(file)
        if missing != (file.unpublished or ""):
            yield (
                f"{entry.name}: {file.path} has no {missing} in the catalogue, but unpublished is {file.unpublished!r}."
                if missing
                else f"{entry.name}: {file.path} is complete, but unpublished is {file.unpublished!r}."
            )


def _missing(file: File) -> str:
    known = {"size": file.size, "SHA-256": file.sha256}
    return " and ".join(name for name, value in known.items() if value is None)


def _unstated(weights: Catalogue, model: str, root: Path) -> Iterator[str]:
    """What the model's own README and its row in the main README do not say about its licences."""
    own = root / "models" / model / "README.md"
    # Rows of tables, points of lists and paragraphs.
    statements = [" ".join(part.split()) for part in re.split(r"\n\s*\n|\n(?=\||- )", own.read_text())]
    for entry in (weights.entries[name] for name in weights.models[model]):
        about = [text for text in statements if _is_about(text, entry.name)]
        for word in _words(entry):
            if not any(_says(text, word) for text in about):
                yield f"{own.relative_to(root)} does not name the licence {word} of {entry.name}."
    rows = [line for line in (root / "README.md").read_text().splitlines() if line.startswith(f"| [{model}](")]
    if NON_COMMERCIAL in licences(weights, model) and not any(NON_COMMERCIAL in row for row in rows):
        yield f"The row of {model} in README.md does not say that some of its weights are {NON_COMMERCIAL}."


def _is_about(text: str, name: str) -> bool:
    """Whether a text has the name as code, or a pattern for it, like `RealESRGAN_*`."""
    return any(fnmatchcase(name, code) for code in re.findall(r"`([^`]+)`", text))


def _says(text: str, word: str) -> bool:
    return re.search(rf"(?<![\w+-]){re.escape(word)}(?![\w+-]|\.\d)", text) is not None


def _words(entry: Entry) -> list[str]:
    """The licence of an entry without exceptions, and "non-commercial" if it says so."""
    restricted = entry.non_commercial or NON_COMMERCIAL in entry.licence
    return [entry.licence.partition(",")[0], *([NON_COMMERCIAL] if restricted else [])]


def licences(weights: Catalogue, model: str) -> list[str]:
    """The licences of a model's weights, each once and without exceptions, and "non-commercial" if one says so."""
    return list(dict.fromkeys(word for name in weights.models[model] for word in _words(weights.entries[name])))


if __name__ == "__main__":
    wrong = problems(catalogue(), ROOT)
    print("\n".join(wrong or ["The catalogue is complete."]))
    sys.exit(1 if wrong else 0)
