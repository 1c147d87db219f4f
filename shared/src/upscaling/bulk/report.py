"""What a job says on standard error: one line of progress, and a summary."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from upscaling.bulk.plan import Plan

_ON_A_TERMINAL, _IN_A_LOG = 1.0, 30.0  # seconds between two lines of progress
_NO_CODE = "no code"


@dataclass
class Report:
    """Counts the pictures of a run."""

    pictures: int
    """That this run has to do."""
    total_bytes: int
    done: int = 0
    failed: Counter[str] = field(default_factory=Counter[str])
    """By error code."""
    examples: dict[str, str] = field(default_factory=dict[str, str])
    """One picture and its message for each code."""
    bytes_done: int = 0
    _started: float = field(default_factory=monotonic)
    _due: float = 0.0

    def add(self, row: dict[str, Any]) -> None:
        """Counts a row of the table of results."""
        self.bytes_done += row["input_bytes"]
        if row["outcome"] == "done":
            self.done += 1
            return
        code = row.get("code") or _NO_CODE
        self.failed[code] += 1
        self.examples.setdefault(code, f"{row['input']}: {row['error']}")

    def show(self) -> None:
        """Writes the line of progress, if it is time."""
        now = monotonic()
        if now < self._due or not self.pictures:
            return
        live = sys.stderr.isatty()
        self._due = now + (_ON_A_TERMINAL if live else _IN_A_LOG)
        sys.stderr.write(f"\r{self._line()}\033[K" if live else f"{self._line()}\n")
        sys.stderr.flush()

    def summary(self) -> str:
        """The result of the run by error code."""
        seconds = monotonic() - self._started
        failed = self.failed.total()
        ended = self.done + failed
        lines = [f"{self.done} done, {failed} failed in {duration(seconds)}, {ended / seconds:.1f} per second."]
        if ended < self.pictures:
            lines.append(f"{self.pictures - ended} not begun or not finished.")
        for code, count in self.failed.most_common():
            lines.append(f"  {code}: {count}, for example {self.examples[code]}")
        return "\n".join(lines)

    def _line(self) -> str:
        passed = monotonic() - self._started
        failed = self.failed.total()
        ended = self.done + failed
        line = f"{ended} of {self.pictures} pictures, {failed} failed, {ended / passed:.1f} per second"
        if not self.bytes_done:
            return line
        # By bytes, because the largest pictures come first.
        return f"{line}, about {duration(passed * (self.total_bytes / self.bytes_done - 1))} left"


def say(text: str) -> None:
    """Writes a line; on a terminal, in place of the line of progress."""
    sys.stderr.write(f"\r\033[K{text}\n" if sys.stderr.isatty() else f"{text}\n")


def intention(plan: Plan) -> str:
    """What a run is going to do, and what it skips."""
    text = f"{plan.work.num_rows} of {plan.pictures} pictures to do; skipped: {plan.done} done"
    if plan.refused:
        text += f", {plan.refused} that failed by their own fault"
    unnamed = len(plan.unnamed)
    if unnamed:
        text += f", {unnamed} with names that are not UTF-8, for example {plan.unnamed[0]} (rename them)"
    if left_out := plan.pictures - plan.work.num_rows - plan.done - plan.refused - unnamed:
        text += f", {left_out} that have not failed"
    if plan.other_files:
        text += f"; {plan.other_files} files are not pictures by their names"
    return f"{text}."


def duration(seconds: float) -> str:
    """A time for people: 40 s, 5 min, 7 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
