"""How much of a request is done, and its lines on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic

Figure = int | float | str

_INTERVAL = 1.0  # seconds between two lines; what is done sooner says nothing


def _say_nothing(_: float) -> None:
    pass


class Progress:
    """The share of a piece of work that is done, from 0 to 1; it never falls.

    Work in several parts is split by their weights, and each part reports a share of its own. Each request
    has its own progress.
    """

    def __init__(
        self, show: Callable[[float], object] = _say_nothing, figures: dict[str, Figure] | None = None
    ) -> None:
        """show is called with every larger share."""
        self.share = 0.0
        self.figures: dict[str, Figure] = {} if figures is None else figures
        """What the metrics say of the work, by name; all parts write to the same."""
        self._show = show

    def reach(self, share: float) -> None:
        """Reports how much is done; a share below an earlier one, of work that is begun anew, says nothing."""
        share = min(share, 1.0)
        if share > self.share:
            self.share = share
            self._show(share)

    def split(self, *weights: float) -> tuple[Progress, ...]:
        """One part for each weight; what each of them reaches counts by its weight."""
        shares = [0.0] * len(weights)

        def part(index: int) -> Progress:
            def show(share: float) -> None:
                shares[index] = share
                done = sum(share * weight for share, weight in zip(shares, weights, strict=True))
                self.reach(done / sum(weights))

            return Progress(show, self.figures)

        return tuple(map(part, range(len(weights))))

    def count(self, name: str, more: int = 1) -> None:
        """Adds to a figure that counts."""
        self.figures[name] = int(self.figures.get(name, 0)) + more


class ProgressLines:
    """Takes the share of the work that is done and writes a line a second at most.

    It takes no lock: tqdm's stays held where a cancel hits it, and the next request waits for ever.
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
        sys.stderr.write(f"{self._name}: {share:.0%}, {passed:.0f} s so far, about {left:.0f} s to go\n")
