"""Progress of one request as lines on standard error."""

from __future__ import annotations

import sys
from time import monotonic

_INTERVAL = 1.0  # seconds between two lines; what is done sooner says nothing


class Progress:
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
