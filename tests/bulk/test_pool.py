"""When a job gives up on workers that do not load, by what they have said."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from upscaling.bulk import pool
from upscaling.bulk.missing import LOADS
from upscaling.errors import UpscalingError

TRACE = "Traceback (most recent call last):\n  …\nupscaling.errors.UpscalingError: E_DEVICE: the GPU is gone.\n"


def begins(actor: str) -> Any:
    return pool._Load(actor, has_ended=False)


def has_loaded(actor: str) -> Any:
    return pool._Load(actor, has_ended=True)


def raises(actor: str, trace: str = TRACE) -> Any:
    return pool._Load(actor, has_ended=True, error=trace)


def rows(first: int, *said: Any) -> list[Any]:
    """What a job makes of what workers say, one after the other."""
    loads, found = pool._Loads(), list[Any]()
    for each in said:
        queue = SimpleNamespace(size=lambda: 1, get_nowait_batch=lambda _, each=each: [each])
        found += pool._rows(queue, loads, first)
    return found


def test_rows_are_passed_on_while_one_worker_loads_again_and_again() -> None:
    row = {"number": 1}
    assert rows(2, begins("a"), has_loaded("a"), *[begins("b")] * 50, row) == [row]


def test_an_error_of_all_first_workers_ends_the_job_whenever_it_comes() -> None:
    said = [begins("a"), raises("a"), begins("a"), begins("b"), *[begins("b")] * LOADS]
    with pytest.raises(UpscalingError, match=r"^E_DEVICE: the GPU is gone\.$"):
        rows(2, *said)
    assert rows(2, *said[:-1]) == []
    assert rows(2, *said[:-1], has_loaded("b")) == []


def test_a_worker_that_had_loaded_before_and_cannot_now_ends_the_job() -> None:
    with pytest.raises(UpscalingError, match=r"^E_DEVICE"):
        rows(1, begins("a"), has_loaded("a"), begins("a"), raises("a"))


def test_killed_workers_have_some_tries() -> None:
    assert rows(1, *[begins("a")] * LOADS) == []
    with pytest.raises(UpscalingError, match=r"^E_MEMORY: workers are killed while they load"):
        rows(1, *[begins("a")] * (LOADS + 1))


def test_workers_that_find_no_room_are_waited_for_but_not_for_ever() -> None:
    again = [begins("a"), raises("a")]
    assert rows(2, *again) == []
    with pytest.raises(UpscalingError, match=r"^E_DEVICE"):
        rows(2, *again * 10)


def test_an_error_without_a_code_is_shown_whole() -> None:
    with pytest.raises(RuntimeError, match=r"a worker cannot load:\nModuleNotFoundError: No module named 'x'"):
        rows(1, begins("a"), raises("a", "ModuleNotFoundError: No module named 'x'"))
