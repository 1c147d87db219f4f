"""Waits for what is slow in a thread of its own, so that Ctrl-C reaches the caller at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

_Item = TypeVar("_Item")


def with_pauses(items: Iterator[_Item], seconds: float) -> Iterator[_Item | None]:
    """Yields the items, and None whenever none comes for some seconds; raises what `items` raises."""
    arrived: SimpleQueue[tuple[_Item] | BaseException | None] = SimpleQueue()

    def take() -> None:
        try:
            for item in items:
                arrived.put((item,))
            arrived.put(None)
        except BaseException as error:
            arrived.put(error)

    Thread(target=take, daemon=True).start()
    while True:
        try:
            item = arrived.get(timeout=seconds)
        except Empty:
            yield None
            continue
        if item is None:
            return
        if isinstance(item, BaseException):
            raise item
        yield item[0]


def awaited(call: Callable[[], _Item]) -> _Item:
    """What a call returns or raises; meant for calls to pyarrow, which list a large bucket without hearing Ctrl-C."""
    result: Future[_Item] = Future()

    def make() -> None:
        try:
            result.set_result(call())
        except BaseException as error:
            result.set_exception(error)

    Thread(target=make, daemon=True).start()
    return result.result()
