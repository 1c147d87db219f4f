"""Lists the weights in the image of a model, and those left out of it, for the summary of a release.

Usage: python tools/release_weights.py MODEL
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from upscaling.weights.catalogue import Catalogue, catalogue

ROOT = Path(__file__).resolve().parent.parent


def lines(weights: Catalogue, model: str, folder: Path) -> Iterator[str]:
    """One line for each set of weights of a model, baked in if it is in folder; Markdown."""
    for entry in (weights.entries[name] for name in weights.models[model]):
        if (folder / entry.name).is_dir():
            yield f"- `{entry.name}`: in the image"
        elif entry.name in weights.kept_back.get(model, ()):
            yield f"- `{entry.name}`: left out for its licence, {entry.licence}; downloaded at its first use"
        elif entry.is_verifiable:
            yield f"- `{entry.name}`: left out; downloaded at its first use"
        else:
            yield f"- `{entry.name}`: left out; no published checksum, needs `UNVERIFIED_WEIGHTS=1`"


def main(arguments: list[str]) -> int:
    weights = catalogue()
    if len(arguments) != 1 or arguments[0] not in weights.models:
        print(f"MODEL is {' '.join(arguments)!r}; choose one of {', '.join(weights.models)}.", file=sys.stderr)
        return 2
    (model,) = arguments
    print("\n".join(["### Weights", *lines(weights, model, ROOT / "models" / model / "weights"), ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
