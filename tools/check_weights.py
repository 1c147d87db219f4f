"""Checks the catalogue of weights, and that the READMEs state its licences.

Usage: python tools/check_weights.py

Prints all that is wrong: an entry without origin or licence; a file without size or SHA-256 that does not say so; an
entry that no model uses; a licence that the README of a model that uses it, or its row in the README, leaves out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from upscaling.weights.catalogue import Catalogue, Entry, File, catalogue

ROOT = Path(__file__).resolve().parent.parent
NON_COMMERCIAL = "non-commercial"


def problems(weights: Catalogue, root: Path) -> list[str]:
    """A sentence for all that is wrong with a catalogue and the READMEs below root."""
    used = {name for names in weights.models.values() for name in names}
    found = [said for entry in weights.entries.values() for said in _of_entry(entry)]
    found += [f"{name} is used by no model." for name in weights.entries if name not in used]
    return found + [said for model in weights.models for said in _unstated(weights, model, root)]


def _of_entry(entry: Entry) -> Iterator[str]:
    for field in ("origin", "licence"):
        if not getattr(entry, field).strip():
            yield f"{entry.name} has no {field}."
    for file in entry.files:
        missing = _missing(file)
        if missing != (file.unpublished or ""):
            yield (
                f"{entry.name}: {file.path} lacks {missing or 'nothing'}, and says that "
                f"{file.unpublished or 'nothing'} is unpublished."
            )


def _missing(file: File) -> str:
    known = {"size": file.size, "SHA-256": file.sha256}
    return " and ".join(name for name, value in known.items() if value is None)


def _unstated(weights: Catalogue, model: str, root: Path) -> Iterator[str]:
    """What the model's README and the row of the model in the README of all do not say of its licences."""
    own = root / "models" / model / "README.md"
    rows = [line for line in (root / "README.md").read_text().splitlines() if line.startswith(f"| [{model}](")]
    for words in licences(weights, model):
        for place, text in ((own, own.read_text()), (root / "README.md", "\n".join(rows))):
            if words not in re.sub(r"\s+", " ", text):
                yield f"{place.relative_to(root)} does not say that weights of {model} are {words}."


def licences(weights: Catalogue, model: str) -> list[str]:
    """The licences of a model's weights, each once, up to their exceptions, and whether one is non-commercial."""
    entries = [weights.entries[name] for name in weights.models[model]]
    words = [entry.licence.partition(",")[0] for entry in entries]
    words += [NON_COMMERCIAL for entry in entries if entry.non_commercial or NON_COMMERCIAL in entry.licence]
    return list(dict.fromkeys(words))


if __name__ == "__main__":
    wrong = problems(catalogue(), ROOT)
    print("\n".join(wrong or ["The catalogue is complete."]))
    sys.exit(1 if wrong else 0)
