"""Writes the tables of docs/scaling.md, from what is measured in benchmarks/README.md.

Usage: python tools/scaling.py
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = Path("docs", "scaling.md")
_MEGAPIXEL = 1_000_000  # pixels
_MACHINES = {"intel-amx-bf16": "2 cores with AMX, bf16", "intel-avx512-bf16": "2 cores without AMX, fp32"}
_PICTURES = (1_000, 100_000, 1_000_000, 10_000_000)
_DAY, _WEEK = 24, 168  # hours
_TABLE = re.compile(r"(?<=<!-- computed by `make scaling` -->\n).*?(?=<!-- end of computed -->)", re.DOTALL)


@dataclass(frozen=True)
class Speed:
    """How long a network takes on a machine."""

    network: str
    machine: str
    seconds: float
    """For 1 MP of input, enlarged by four."""

    def hours(self, pictures: int) -> float:
        """Of one machine, for pictures of 1 MP."""
        return pictures * self.seconds / 3600


def speeds(measured: str) -> Iterator[Speed]:
    """The speeds in the text of benchmarks/README.md. Raises LookupError for a part that is not there."""
    for machine, name in _MACHINES.items():
        part = _part(measured, f"contenders {machine}")
        width, height = _found(r"(\d+)×(\d+) → PNG", part)
        (seconds,) = _found(r"^\| ours \|(?:[^|]*\|){3} ([\d.]+) \|", part)
        yield Speed("RealESRGAN_x4plus", name, float(seconds) / (int(width) * int(height) / _MEGAPIXEL))
    for machine, name in _MACHINES.items():
        part = _part(measured, f"large {machine} rows")
        (network,) = _found(r"^([\w-]+) in ", part)
        width, height, seconds = _found(r"^\| (\d+)×(\d+) \| \d+×\d+ \| (\d+) \|", part)
        yield Speed(network, name, int(seconds) / (int(width) * int(height) / _MEGAPIXEL))


def tables(found: list[Speed]) -> str:
    """Seconds and costs, then machines by the number of pictures."""
    lines = ["| network | machine | seconds per MP | cost of 1000 pictures of 1 MP |", "|---|---|---|---|"]
    lines += [
        f"| `{one.network}` | {one.machine} | {one.seconds:.1f} | {one.hours(1000):.2f} × price of an hour |"
        for one in found
    ]
    lines += ["", "| pictures of 1 MP | network | machine | machine hours | machines for a day | for a week |"]
    lines += ["|---|---|---|---|---|---|"]
    lines += [
        f"| {pictures:,} | `{one.network}` | {one.machine} | {one.hours(pictures):,.0f}"
        f" | {math.ceil(one.hours(pictures) / _DAY):,} | {math.ceil(one.hours(pictures) / _WEEK):,} |"
        for pictures in _PICTURES
        for one in found
    ]
    return "\n".join(lines)


def text(root: Path) -> str:
    """docs/scaling.md with its tables computed again."""
    found = list(speeds((root / "benchmarks" / "README.md").read_text()))
    changed, count = _TABLE.subn(lambda _: f"\n{tables(found)}\n\n", (root / PAGE).read_text())
    if count != 1:
        raise LookupError(f"{PAGE} has {count} places for the tables, and needs one.")
    return changed


def _part(measured: str, name: str) -> str:
    found = _found(rf"<!-- measured: {re.escape(name)} -->\n([\s\S]*?)<!-- end of {re.escape(name)} -->", measured)
    return found[0]


def _found(pattern: str, text: str) -> tuple[str, ...]:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise LookupError(f"benchmarks/README.md has nothing like {pattern}")
    return found.groups()


if __name__ == "__main__":
    (ROOT / PAGE).write_text(text(ROOT))
    sys.exit(0)
