from __future__ import annotations

import math
from typing import Any

import pytest

from upscaling.errors import UpscalingError
from upscaling.values import number, one_of, shown, whole, whole_of_64_bits


@pytest.mark.parametrize("value", [0, -3, 2.5, 1e300])
def test_numbers_are_numbers(value: float) -> None:
    assert number("scale", value) == value


@pytest.mark.parametrize(("value", "expected"), [(64, 64), (64.0, 64), (-1, -1), (1e20, 10**20)])
def test_whole_numbers_come_with_a_point_or_without(value: float, expected: int) -> None:
    assert whole("width", value) == expected
    assert isinstance(whole("width", value), int)


@pytest.mark.parametrize("value", [True, "4", None, [4], {}])
@pytest.mark.parametrize("check", [number, whole, whole_of_64_bits])
def test_what_is_no_number_is_refused(check: Any, value: Any) -> None:
    with pytest.raises(UpscalingError, match=r"E_INPUT: width is .*; take a (whole )?number\."):
        check("width", value)


@pytest.mark.parametrize("value", [1.5, math.inf, math.nan])
def test_a_number_that_is_not_whole_is_refused(value: float) -> None:
    with pytest.raises(UpscalingError, match=r"E_INPUT: width is .*; take a whole number\."):
        whole("width", value)


def test_a_number_too_long_for_a_message_is_refused_where_messages_show_it() -> None:
    assert whole_of_64_bits("tile_size", 2**64 - 1) == 2**64 - 1
    with pytest.raises(UpscalingError, match="E_INPUT: tile_size is an integer of 65 bits; take a smaller number"):
        whole_of_64_bits("tile_size", 2**64)


@pytest.mark.parametrize("value", [15, 15.0])
def test_a_choice_is_taken(value: float) -> None:
    assert one_of("noise", value, (15, 25)) == 15


@pytest.mark.parametrize("value", [0, 16, -15, 10**30])
def test_what_is_no_choice_is_refused_with_the_choices(value: float) -> None:
    with pytest.raises(UpscalingError, match=r"E_INPUT: noise is .*; take 15, 25 or 50\."):
        one_of("noise", value, (15, 25, 50))


def test_long_values_are_cut() -> None:
    assert shown("x" * 1000) == "'" + "x" * 80 + "'"
    assert shown([10**5000]) == "a list"
    assert shown(10**5000) == "an integer of 16610 bits"
