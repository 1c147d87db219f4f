"""Progress of a request, and its log lines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import cast

Figure = int | float | str | Sequence[Mapping[str, object]]

_INTERVAL = 1.0  # seconds before the first line and between two


def _say_nothing(_: float) -> None:
    pass


class Progress:
    """The share of the work that is done, from 0 to 1. It never decreases.

    Work with several parts is split by weight, and each part reports its own share. Each request has its own progress.
    """

    def __init__(
        self, show: Callable[[float], object] = _say_nothing, figures: dict[str, Figure] | None = None
    ) -> None:
        """show is called with each new share."""
        self.share = 0.0
        self.figures: dict[str, Figure] = {} if figures is None else figures
        """Metrics of the work, by name; all parts have the same dictionary."""
        self._show = show

    def reach(self, share: float) -> None:
        """Reports the share that is done. A smaller share than before, from work that starts again, is ignored."""
        share = min(share, 1.0)
        if share > self.share:
            self.share = share
            self._show(share)

    def split(self, *weights: float) -> tuple[Progress, ...]:
        """One progress for each weight; together they make up this one."""
        shares = [0.0] * len(weights)

        def part(index: int) -> Progress:
            def show(share: float) -> None:
                shares[index] = share
                done = sum(share * weight for share, weight in zip(shares, weights, strict=True))
                self.reach(done / sum(weights))

            return Progress(show, self.figures)

        return tuple(map(part, range(len(weights))))

    def count(self, name: str, more: int = 1) -> None:
        """Adds to a metric that is a count and starts at 0."""
        self.figures[name] = cast(int, self.figures.get(name, 0)) + more


class ProgressLines:
    """Writes progress to standard error, at most one line per second.

    It uses no lock. tqdm does: if a cancel leaves its lock held, the next request waits forever.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._started = monotonic()
        self._next_line = self._started + _INTERVAL

    def __call__(self, share: float) -> None:
        now = monotonic()
        if now < self._next_line or share <= 0:
            return
        self._next_line = now + _INTERVAL
        passed = now - self._started
        left = passed * (1 / share - 1)
        sys.stderr.write(f"{self._name}: {share:.0%}, {passed:.0f} s elapsed, about {left:.0f} s left\n")
