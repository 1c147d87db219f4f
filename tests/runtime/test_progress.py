from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upscaling.runtime import progress
from upscaling.runtime.progress import Progress, ProgressLines


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return now


def test_what_is_done_within_a_second_says_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    show = ProgressLines("net")
    for share in (0.0, 0.5, 1.0):
        clock[0] += 0.3
        show(share)
    assert capsys.readouterr().err == ""


def test_lines_come_once_a_second_at_most(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    show = ProgressLines("net")
    for step in range(1, 11):
        clock[0] += 0.5
        show(step / 10)
    assert capsys.readouterr().err.splitlines() == [
        "net: 20%, 1 s elapsed, about 4 s left",
        "net: 40%, 2 s elapsed, about 3 s left",
        "net: 60%, 3 s elapsed, about 2 s left",
        "net: 80%, 4 s elapsed, about 1 s left",
        "net: 100%, 5 s elapsed, about 0 s left",
    ]


def test_parts_add_up_by_their_weights() -> None:
    shares: list[float] = []
    colour, faces = Progress(shares.append).split(1, 3)
    colour.reach(0.5)
    faces.reach(0.5)
    colour.reach(1)
    faces.reach(1)
    assert shares == [1 / 8, 4 / 8, 5 / 8, 1]


def test_parts_have_parts() -> None:
    whole = Progress()
    first, second = whole.split(1, 1)
    for part in (*first.split(1, 1, 2), second):
        part.reach(1)
    assert whole.share == 1


def test_work_that_is_begun_anew_says_nothing_until_it_is_further() -> None:
    shares: list[float] = []
    progress = Progress(shares.append)
    for share in (0.2, 0.6, 0.1, 0.6, 0.7):
        progress.reach(share)
    assert shares == [0.2, 0.6, 0.7]


@given(
    st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1.5)), max_size=40),
)
def test_progress_rises_and_never_leaves_one_and_ends_there(
    weights: list[float], reports: list[tuple[int, float]]
) -> None:
    shares: list[float] = []
    parts = Progress(shares.append).split(*weights)
    for index, share in reports:
        parts[index % len(parts)].reach(share)
    for part in parts:
        part.reach(1)
    assert shares == sorted(set(shares))
    assert shares[-1] == 1


def test_figures_of_all_parts_are_those_of_the_whole() -> None:
    whole = Progress()
    for part in whole.split(1, 2):
        part.count("tiles", 3)
        part.count("tiles")
    assert whole.figures == {"tiles": 8}
    assert Progress().figures == {}
