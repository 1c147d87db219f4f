"""Marks connections to addresses that the operator chose, which the check in `serving.egress` allows."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import TypeVar

_Result = TypeVar("_Result")
_trusted = ContextVar("trusted", default=False)


def trusted(call: Callable[[], _Result]) -> _Result:
    """Runs a function that may connect to any address, also inside the operator's own network."""
    # In a copy of the context, because a cancel could prevent the reset of the value.
    context = copy_context()
    context.run(_trusted.set, True)
    return context.run(call)


def is_trusted() -> bool:
    """Whether the caller runs inside `trusted`."""
    return _trusted.get()
