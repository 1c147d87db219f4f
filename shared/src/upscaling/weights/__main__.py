"""Downloads the weights of a model into a folder: python -m upscaling.weights MODEL FOLDER [NETWORK …]."""

from __future__ import annotations

import logging
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from upscaling.errors import Code, UpscalingError
from upscaling.weights import Entry, entry, of_model, put
from upscaling.weights.catalogue import catalogue


def main(arguments: Sequence[str]) -> int:
    """Downloads the named networks or all of the model; returns 0 if none failed.

    Reports the sizes before the first download, and each network when it is complete.
    """
    parser = ArgumentParser(
        prog="python -m upscaling.weights", description="Downloads the weights of a model into a folder."
    )
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("networks", nargs="*", help="default: all networks of the model")
    parser.add_argument("--verified-only", action="store_true", help="skip networks without a published checksum")
    parser.add_argument("--for-others", action="store_true", help="skip networks that images for others do not hold")
    options = parser.parse_args(arguments)
    names: list[str] = options.networks or [wanted.name for wanted in of_model(options.model)]
    there = failed = 0
    sys.stderr.write(_plan(names, options.folder))
    for name in names:
        try:
            wanted = entry(name)
            if reason := _reason_to_skip(wanted, options):
                _check_absent(wanted, options.folder, reason)
                sys.stderr.write(f"{name} is skipped: {reason}.\n")
                continue
            folder = put(wanted, options.folder)
            there += 1
            sys.stderr.write(f"{folder}  ({_terms(wanted)}, {_size(folder) / 1e6:.1f} MB)\n")
        except UpscalingError as error:
            failed += 1
            sys.stderr.write(f"{error}\n")
    sys.stderr.write(f"{there} of {len(names)} networks are in {options.folder}.\n")
    return 1 if failed or not there else 0


def _reason_to_skip(wanted: Entry, options: Namespace) -> str:
    """Why a network is left out; empty if it is not."""
    if options.verified_only and not wanted.is_verifiable:
        return "not all of its files have a published checksum"
    if options.for_others and wanted.name in catalogue().kept_back.get(options.model, ()):
        return f"its licence is {_terms(wanted)}"
    return ""


def _check_absent(wanted: Entry, folder: Path, reason: str) -> None:
    """Raises E_WEIGHTS if a network that is left out lies in the folder, from where it would get into the image."""
    there = folder / wanted.name
    if there.exists():
        raise UpscalingError(Code.WEIGHTS, f"{there} is to be left out, since {reason}: remove it.")


def _plan(names: Sequence[str], folder: Path) -> str:
    """The networks that are not in the folder yet, with their published sizes; empty if there are none."""
    known = catalogue().entries
    missing = [known[name] for name in names if name in known and not (folder / name).exists()]
    if not missing:
        return ""
    listed = "".join(f"  {wanted.name}  {_published_size(wanted)}\n" for wanted in missing)
    whole = sum(file.size or 0 for wanted in missing for file in wanted.files)
    choice = 'Stop with Ctrl+C and choose some with NAMES="…".' if len(missing) > 1 else ""
    return f"To download, {whole / 1e6:,.0f} MB:\n{listed}{choice}".rstrip() + "\n"


def _published_size(wanted: Entry) -> str:
    sizes = [file.size for file in wanted.files]
    return "size not published" if None in sizes else f"{sum(filter(None, sizes)) / 1e6:,.1f} MB"


def _terms(wanted: Entry) -> str:
    return f"{wanted.licence}, non-commercial use only" if wanted.non_commercial else wanted.licence


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.exit(main(sys.argv[1:]))
