from __future__ import annotations

from collections.abc import Iterator
from threading import Event

import pytest

from upscaling.bulk.pauses import with_pauses


def test_items_come_in_their_order() -> None:
    assert list(with_pauses(iter(range(100)), 10)) == list(range(100))


def test_there_are_pauses_while_no_item_comes() -> None:
    go_on = Event()

    def items() -> Iterator[str]:
        yield "first"
        go_on.wait(10)
        yield "second"

    found = with_pauses(items(), 0.01)
    assert [next(found) for _ in range(3)] == ["first", None, None]
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
