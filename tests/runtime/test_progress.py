from __future__ import annotations

import pytest

from upscaling.runtime import progress
from upscaling.runtime.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return now


def test_what_is_done_within_a_second_says_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    show = Progress("net")
    for share in (0.0, 0.5, 1.0):
        clock[0] += 0.3
        show(share)
    assert capsys.readouterr().err == ""


def test_lines_come_once_a_second_at_most(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    show = Progress("net")
    for step in range(1, 11):
        clock[0] += 0.5
        show(step / 10)
    assert capsys.readouterr().err.splitlines() == [
        "net: 20%, 1 s so far, about 4 s to go",
        "net: 40%, 2 s so far, about 3 s to go",
        "net: 60%, 3 s so far, about 2 s to go",
        "net: 80%, 4 s so far, about 1 s to go",
        "net: 100%, 5 s so far, about 0 s to go",
    ]
