"""Lets a loop over slow items do something while it waits for the next one."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

_Item = TypeVar("_Item")


def with_pauses(items: Iterator[_Item], seconds: float) -> Iterator[_Item | None]:
    """Yields the items, and None whenever none comes for some seconds; raises what `items` raises.

    A thread of its own waits for the items, so that Ctrl-C reaches the caller at once.
    """
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
