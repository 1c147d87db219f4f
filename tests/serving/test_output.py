from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upscaling.serving.output import Output


@pytest.mark.parametrize(
    ("output", "size", "expected"),
    [
        (Output(), (10, 7), (40, 28)),
        (Output(scale=0.5), (5, 7), (2, 4)),  # 2.5 and 3.5 round to the even number
        (Output(scale=2.5), (1, 3), (2, 8)),
        (Output(scale=0.01), (10, 400), (1, 4)),
        (Output(width=5), (2, 1), (5, 2)),
        (Output(width=7), (2, 1), (7, 4)),
        (Output(height=5), (1, 2), (2, 5)),
        (Output(width=10), (1000, 3), (10, 1)),
        (Output(height=10), (3, 1000), (1, 10)),
        (Output(width=3, height=9), (1000, 1), (3, 9)),
        (Output(scale=10, width=3), (3, 3), (3, 3)),
        (Output(scale=2, multiple=8), (640, 480), (1280, 960)),
        (Output(scale=1.5, multiple=8), (101, 99), (152, 152)),  # 151.5 and 148.5
        (Output(scale=2, multiple=8), (10, 6), (16, 16)),  # 20 and 12 lie halfway: to the even multiple
        (Output(scale=1, multiple=8), (3, 900), (8, 896)),
        (Output(scale=2, width=33, multiple=8), (10, 10), (33, 33)),
        (Output(short_side=2560), (3000, 2000), (3840, 2560)),
        (Output(short_side=2048), (1001, 1507), (2048, 3083)),
        (Output(short_side=4096), (10, 10), (4096, 4096)),
        (Output(short_side=2048), (4, 9999), (2048, 5119488)),
        (Output(short_side=2048, width=30), (3, 2), (30, 20)),
    ],
)
def test_size_rounds_half_to_even_and_is_at_least_one(
    output: Output, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert output.size(*size) == expected


@given(
    width=st.integers(1, 20_000),
    height=st.integers(1, 20_000),
    scale=st.floats(0, 10, exclude_min=True),
    asked_width=st.none() | st.integers(1, 70_000),
    asked_height=st.none() | st.integers(1, 70_000),
)
def test_size_is_exact_where_asked_and_within_half_a_pixel_elsewhere(
    width: int, height: int, scale: float, asked_width: int | None, asked_height: int | None
) -> None:
    found = Output(scale, asked_width, asked_height).size(width, height)
    assert asked_width in (None, found[0])
    assert asked_height in (None, found[1])
    factor = scale
    if asked_width or asked_height:
        factor = asked_width / width if asked_width else (asked_height or 0) / height
    for side, source, asked in ((found[0], width, asked_width), (found[1], height, asked_height)):
        assert side >= 1
        assert asked or abs(side - source * factor) <= 0.5 + 1e-6 or side == 1
