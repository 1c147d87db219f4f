"""Records checksums in the catalogue of weights, for files without a published checksum.

Usage: python tools/weights.py pin CATALOGUE [ENTRY …], by default all entries without a checksum

This trusts the files that are at the official URL today. From then on, other files are refused.
"""

from __future__ import annotations

import logging
import re
import sys
import tempfile
import tomllib
from pathlib import Path

from upscaling.weights.catalogue import Entry, File, address, read
from upscaling.weights.convert import read_checkpoint
from upscaling.weights.download import Address, ContentError, digest, download


class PinError(Exception):
    """An entry cannot be pinned; the message gives its name and the reason."""


def pin(catalogue: Path, name: str) -> dict[str, str]:
    """Downloads the files of an entry that have no checksum from its first source, and records their checksums.

    Returns the checksums by path. Raises PinError if all files have a checksum, or if a pickle contains anything but
    tensors.
    """
    entries = read(catalogue.read_text()).entries
    if name not in entries:
        raise PinError(f"there is no entry {name!r} in {catalogue}. The entries are {', '.join(entries)}.")
    entry = entries[name]
    if entry.is_verifiable:
        raise PinError(f"{name} already has a checksum. Replace it by hand if it is wrong.")
    text, checksums = catalogue.read_text(), dict[str, str]()
    for file in entry.files:
        if file.sha256 is None:
            size, checksums[file.path] = measured(entry, file)
            text = with_checksum(text, name, file.path, size, checksums[file.path])
    unfinished = catalogue.with_suffix(".new")
    unfinished.write_text(text)
    unfinished.replace(catalogue)
    return checksums


def measured(entry: Entry, file: File) -> tuple[int, str]:
    """The size in bytes and the SHA-256 of a file at the first source of an entry."""
    url = f"{address(entry.sources[0])}/{file.path}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            download(file, Address(url, url), Path(folder))
            if file.is_pickle:
                read_checkpoint(Path(folder, file.path))
        except (OSError, ContentError, ValueError) as error:  # those of requests are OSErrors
            raise PinError(f"{url}: {type(error).__name__}: {error}") from error
        return Path(folder, file.path).stat().st_size, digest(Path(folder, file.path))


def with_checksum(text: str, name: str, path: str, size: int, checksum: str) -> str:
    """Inserts the size and checksum of one file into the text of a catalogue."""
    known = f'size = {size}, sha256 = "{checksum}"'
    row = rf'^(\[entries\."?{re.escape(name)}"?\]\n(?:(?!\[).*\n)*?files\."{re.escape(path)}" = )\{{[^}}]*\}}$'
    changed = re.sub(row, lambda found: f"{found[1]}{{ {known} }}", text, flags=re.MULTILINE)
    expected = tomllib.loads(text)
    expected["entries"][name]["files"][path] = {"size": size, "sha256": checksum}
    if tomllib.loads(changed) != expected:
        raise PinError(f"the file {path} of {name} is not written in the usual form; insert {known} by hand.")
    return changed


def main(arguments: list[str]) -> int:
    if len(arguments) < 2 or arguments[0] != "pin":
        print(__doc__, file=sys.stderr)
        return 2
    catalogue, *names = arguments[1:]
    entries = read(Path(catalogue).read_text()).entries
    wanted = names or [entry.name for entry in entries.values() if not entry.is_verifiable]
    failed = 0
    for name in wanted:
        try:
            for path, checksum in pin(Path(catalogue), name).items():
                print(f"{name}: {path}: sha256 {checksum}")
        except PinError as error:
            failed += 1
            print(error, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.exit(main(sys.argv[1:]))
