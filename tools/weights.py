"""Writes checksums into the catalogue of weights, for files that nobody has published one of.

Usage: python tools/weights.py pin CATALOGUE [NETWORK …], by default all networks without a checksum

Who runs it trusts what the official address gives today; from then on everyone gets that or nothing.
"""

from __future__ import annotations

import logging
import re
import sys
import tempfile
import tomllib
from hashlib import file_digest
from pathlib import Path

from upscaling.weights.catalogue import Entry, read
from upscaling.weights.fetch import download, read_checkpoint


class PinError(Exception):
    """A network cannot be pinned; the message says which and why."""


def pin(catalogue: Path, name: str) -> str:
    """Fetches a network's file from its official address, and writes its size and checksum into the catalogue.

    Returns the checksum. Raises PinError where the row has one, or the file is no checkpoint of tensors alone.
    """
    entries, _ = read(catalogue.read_text())
    if name not in entries:
        raise PinError(f"there is no network {name!r} in {catalogue}; there are {', '.join(entries)}.")
    entry = entries[name]
    if entry.sha256 is not None:
        raise PinError(f"{name} has a checksum already; another one is for a person to judge, not for this command.")
    size, checksum = measured(entry)
    changed = with_checksum(catalogue.read_text(), name, size, checksum)
    unfinished = catalogue.with_suffix(".new")
    unfinished.write_text(changed)
    unfinished.replace(catalogue)
    return checksum


def measured(entry: Entry) -> tuple[int, str]:
    """The size in bytes and the SHA-256 of what the official address gives."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = download(entry, entry.urls[0], Path(folder))
            read_checkpoint(path)
        except (OSError, ValueError) as error:  # those of requests are OSErrors
            raise PinError(f"{entry.urls[0]}: {type(error).__name__}: {error}") from error
        with path.open("rb") as file:
            return path.stat().st_size, file_digest(file, "sha256").hexdigest()


def with_checksum(text: str, name: str, size: int, checksum: str) -> str:
    """The catalogue's text with two more lines in a row, all others as they are."""
    row = re.compile(rf"^\[networks\.{re.escape(name)}\]\n(?:(?!\[).*\n)*?(?=licence = )", re.MULTILINE)
    changed, count = row.subn(lambda found: f'{found[0]}bytes = {size}\nsha256 = "{checksum}"\n', text)
    before, after = tomllib.loads(text), tomllib.loads(changed)
    before["networks"][name] |= {"bytes": size, "sha256": checksum}
    if count != 1 or after != before:
        raise PinError(f"the row of {name} is not written as the others are; write bytes = {size} and"
                       f' sha256 = "{checksum}" into it by hand.')  # fmt: skip
    return changed


def main(arguments: list[str]) -> int:
    if len(arguments) < 2 or arguments[0] != "pin":
        print(__doc__, file=sys.stderr)
        return 2
    catalogue, *names = arguments[1:]
    entries, _ = read(Path(catalogue).read_text())
    wanted = names or [entry.name for entry in entries.values() if entry.sha256 is None]
    failed = 0
    for name in wanted:
        try:
            print(f"{name}: sha256 {pin(Path(catalogue), name)}")
        except PinError as error:
            failed += 1
            print(error, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.exit(main(sys.argv[1:]))
