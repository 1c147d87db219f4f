"""The measured parts of a Markdown file, each between a pair of marks, rewritten in place."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

README = Path(__file__).parent / "README.md"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def put(path: Path, part: str, kind: str, body: str) -> None:
    """Writes what was measured on one kind of machine in place of what stood there.

    A kind that is not there yet is added at the end of its part. Raises LookupError where the file
    has no such part.
    """
    text = path.read_text()
    found = re.search(rf"{re.escape(_begin(part))}\n(.*?){re.escape(_end(part))}\n", text, re.DOTALL)
    if found is None:
        raise LookupError(f"{path} has no part {part}: put {_begin(part)} and {_end(part)} where it belongs")
    measured = f"{_begin(f'{part} {kind}')}\n{body.strip()}\n\n{_end(f'{part} {kind}')}\n"
    inside = found[1]
    before = re.search(
        rf"{re.escape(_begin(f'{part} {kind}'))}\n.*?{re.escape(_end(f'{part} {kind}'))}\n", inside, re.DOTALL
    )
    changed = inside[: before.start()] + measured + inside[before.end() :] if before else inside + measured
    path.write_text(text[: found.start(1)] + changed + text[found.end(1) :])


def _begin(name: str) -> str:
    return f"<!-- measured: {name} -->"


def _end(name: str) -> str:
    return f"<!-- end of {name} -->"
