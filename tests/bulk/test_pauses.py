from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from threading import Event, current_thread, main_thread

import pytest

from upscaling.bulk.pauses import awaited, with_pauses


def test_items_come_in_their_order() -> None:
    assert list(with_pauses(iter(range(100)), 10)) == list(range(100))


def test_there_are_pauses_while_no_item_comes() -> None:
    go_on = Event()

    def items() -> Iterator[str]:
        yield "first"
        go_on.wait(10)
        yield "second"

    found = with_pauses(items(), 0.01)
    assert next(item for item in found if item) == "first"
    assert [next(found), next(found)] == [None, None]
    go_on.set()
    assert [item for item in found if item] == ["second"]


def test_errors_are_passed_on() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    found = with_pauses(items(), 10)
    assert next(found) == 1
    with pytest.raises(ValueError, match="no more"):
        next(found)


def test_a_call_that_is_awaited_returns_or_raises() -> None:
    assert awaited(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        awaited(lambda: 1 / 0)


def test_ctrl_c_is_heard_during_a_call_that_does_not_hear_it() -> None:
    go_on, ended = Event(), Event()

    def call() -> None:
        if current_thread() is not main_thread():
            os.kill(os.getpid(), signal.SIGINT)
            go_on.wait(60)
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        awaited(call)
    assert not ended.is_set()
    go_on.set()
