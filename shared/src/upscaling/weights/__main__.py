"""Downloads the weights of a model into a folder: python -m upscaling.weights MODEL FOLDER [NETWORK …]."""

from __future__ import annotations

import logging
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from upscaling.errors import UpscalingError
from upscaling.weights import Entry, entry, of_model, put


def main(arguments: Sequence[str]) -> int:
    """Downloads the named networks or all of the model, and reports each of them; returns 0 if none failed."""
    parser = ArgumentParser(
        prog="python -m upscaling.weights", description="Downloads the weights of a model into a folder."
    )
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("networks", nargs="*", help="default: all networks of the model")
    parser.add_argument("--verified-only", action="store_true", help="skip networks without a published checksum")
    options = parser.parse_args(arguments)
    names: list[str] = options.networks or [wanted.name for wanted in of_model(options.model)]
    there = failed = 0
    for name in names:
        try:
            wanted = entry(name)
            if options.verified_only and not wanted.is_verifiable:
                sys.stderr.write(f"{name} is skipped: not all of its files have a published checksum.\n")
                continue
            folder = put(wanted, options.folder)
            there += 1
            sys.stderr.write(f"{folder}  ({_terms(wanted)}, {_size(folder) / 1e6:.1f} MB)\n")
        except UpscalingError as error:
            failed += 1
            sys.stderr.write(f"{error}\n")
    sys.stderr.write(f"{there} of {len(names)} networks are in {options.folder}.\n")
    return 1 if failed or not there else 0


def _terms(wanted: Entry) -> str:
    return f"{wanted.licence}, non-commercial use only" if wanted.non_commercial else wanted.licence


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.exit(main(sys.argv[1:]))
