from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from upscaling.errors import Code, UpscalingError
from upscaling.runtime.attempts import first_finite


def failing(code: Code, of: list[str]) -> object:
    def take(attempt: str) -> str:
        of.append(attempt)
        if attempt != "fp32":
            raise UpscalingError(code, attempt)
        return attempt.upper()

    return take


def test_the_first_finite_attempt_is_taken() -> None:
    tried: list[str] = []
    assert first_finite(["fp16", "bf16", "fp32", "never"], failing(Code.NONFINITE, tried)) == "FP32"
    assert tried == ["fp16", "bf16", "fp32"]


def test_the_error_of_the_last_attempt_is_raised() -> None:
    with pytest.raises(UpscalingError, match="E_NONFINITE: bf16"):
        first_finite(["fp16", "bf16"], failing(Code.NONFINITE, []))


def test_any_other_error_is_raised_at_once() -> None:
    tried: list[str] = []
    with pytest.raises(UpscalingError, match="E_MEMORY: fp16"):
        first_finite(["fp16", "fp32"], failing(Code.MEMORY, tried))
    assert tried == ["fp16"]


def test_nothing_of_a_failed_attempt_is_held_during_the_next() -> None:
    held: list[weakref.ref[np.ndarray]] = []

    def rows(spoiled: bool) -> Iterator[int]:
        band = np.zeros(10)
        held.append(weakref.ref(band))
        if spoiled:
            raise UpscalingError(Code.NONFINITE, "NaN")
        gc.collect()
        yield sum(each() is not None for each in held)

    assert first_finite(map(rows, (True, False)), next) == 1
