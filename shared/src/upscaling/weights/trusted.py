"""Connections to addresses that the operator chose, which the server's guard against private addresses lets pass."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import TypeVar

_Result = TypeVar("_Result")
_trusted = ContextVar("trusted", default=False)


def trusted(call: Callable[[], _Result]) -> _Result:
    """Runs a call that may connect to any address, also inside the operator's own network."""
    # A context of its own: a cancel could leave this thread's own one changed.
    context = copy_context()
    context.run(_trusted.set, True)
    return context.run(call)


def is_trusted() -> bool:
    """Whether the code that asks runs inside `trusted`."""
    return _trusted.get()
