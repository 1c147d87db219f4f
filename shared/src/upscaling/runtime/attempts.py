"""Computes again in a wider type if the fast one gives NaN or infinity."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from upscaling.errors import Code, UpscalingError

_Attempt = TypeVar("_Attempt")
_Result = TypeVar("_Result")


def first_finite(attempts: Iterable[_Attempt], take: Callable[[_Attempt], _Result]) -> _Result:
    """The result of `take` for the first attempt that does not raise E_NONFINITE.

    If the last attempt raises E_NONFINITE, or any attempt raises another error, that error is raised.
    """
    following = iter(attempts)
    attempt = next(following)
    while True:
        try:
            return take(attempt)
        except UpscalingError as error:
            if error.code is not Code.NONFINITE:
                raise
            again = next(following, None)
            if again is None:
                raise
        attempt = again
