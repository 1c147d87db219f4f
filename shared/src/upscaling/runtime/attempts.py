"""Work that is done again in a wider type where the fast one gives NaN or infinity."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from upscaling.errors import Code, UpscalingError

_Attempt = TypeVar("_Attempt")
_Result = TypeVar("_Result")


def first_finite(attempts: Iterable[_Attempt], take: Callable[[_Attempt], _Result]) -> _Result:
    """What `take` makes of the first attempt in which every value is finite.

    take raises E_NONFINITE for the others; for the last one that error is raised, as is any other.
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
