"""Writes checksums into the catalogue of weights, for files that nobody has published one of.

Usage: python tools/weights.py pin CATALOGUE [ENTRY …], by default all entries without a checksum

Who runs it trusts what the official address gives today; from then on everyone gets that or nothing.
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
    """An entry cannot be pinned; the message says which and why."""


def pin(catalogue: Path, name: str) -> dict[str, str]:
    """Fetches what an entry has no checksums of from its first source, and writes these into the catalogue.

    Returns them by path. Raises PinError where all have one, or a pickle is no checkpoint of tensors alone.
    """
    entries = read(catalogue.read_text()).entries
    if name not in entries:
        raise PinError(f"there is no entry {name!r} in {catalogue}; there are {', '.join(entries)}.")
    entry = entries[name]
    if entry.is_verifiable:
        raise PinError(f"{name} has a checksum already; another one is for a person to judge, not for this command.")
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
    """The size in bytes and the SHA-256 of what the first source of an entry gives."""
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
    """The catalogue's text with the size and checksum of one file, all else as it is."""
    known = f'size = {size}, sha256 = "{checksum}"'
    row = rf'^(\[entries\."?{re.escape(name)}"?\]\n(?:(?!\[).*\n)*?files\."{re.escape(path)}" = )\{{[^}}]*\}}$'
    changed = re.sub(row, lambda found: f"{found[1]}{{ {known} }}", text, flags=re.MULTILINE)
    expected = tomllib.loads(text)
    expected["entries"][name]["files"][path] = {"size": size, "sha256": checksum}
    if tomllib.loads(changed) != expected:
        raise PinError(f"the file {path} of {name} is not written as the others are; write {known} there by hand.")
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
