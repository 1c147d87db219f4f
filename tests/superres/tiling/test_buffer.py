import torch
from hypothesis import given
from hypothesis import strategies as st

from upscaling.superres.tiling.buffer import RowBuffer
from upscaling.superres.tiling.geometry import Span

_WIDTH = 5


def _map(height: int) -> torch.Tensor:
    return torch.arange(2 * height * _WIDTH, dtype=torch.float32).reshape(1, 2, height, _WIDTH)


def _held(rows: RowBuffer) -> int:
    return sum(band.untyped_storage().nbytes() for band in rows._bands) // (2 * _WIDTH * 4)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.data())
def test_a_window_holds_the_rows_of_the_whole_map(heights: list[int], data: st.DataObject) -> None:
    whole = _map(sum(heights))
    rows, dropped = RowBuffer(), 0
    for band in whole.split(heights, dim=2):
        rows.append(band.clone())
        dropped = data.draw(st.integers(dropped, rows.end - 1))
        rows.drop_before(dropped)
        start = data.draw(st.integers(dropped, rows.end - 1))
        span = Span(start, data.draw(st.integers(start + 1, rows.end)))
        expected = whole[:, :, span.start : span.end, 1:4]
        assert torch.equal(rows.window(span, Span(1, 4)), expected)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.data())
def test_dropped_rows_take_no_memory(heights: list[int], data: st.DataObject) -> None:
    rows = RowBuffer()
    for band in _map(sum(heights)).split(heights, dim=2):
        rows.append(band.clone())
    dropped = data.draw(st.integers(0, rows.end))
    rows.drop_before(dropped)
    assert _held(rows) == rows.end - dropped


def test_writing_to_a_window_leaves_the_rows_alone() -> None:
    rows = RowBuffer()
    rows.append(_map(4))
    rows.window(Span(0, 4), Span(0, _WIDTH)).zero_()
    assert torch.equal(rows.window(Span(0, 4), Span(0, _WIDTH)), _map(4))
