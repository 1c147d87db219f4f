import torch
from hypothesis import given
from hypothesis import strategies as st

from upscaling.superres.tiling.buffer import Band, Patch, RowBuffer, joined
from upscaling.superres.tiling.geometry import Span

_WIDTH = 5


def _map(height: int) -> torch.Tensor:
    return torch.arange(2 * height * _WIDTH, dtype=torch.float32).reshape(1, 2, height, _WIDTH)


def _bands(whole: torch.Tensor, heights: list[int], widths: list[int]) -> list[Band]:
    """The map cut to bands, and each band to patches with memory of their own."""
    bands: list[Band] = []
    top = 0
    for height in heights:
        rows, left, band = Span(top, top + height), 0, list[Patch]()
        for width in widths:
            columns = Span(left, left + width)
            values = whole[:, :, rows.start : rows.end, columns.start : columns.end].clone()
            band.append(Patch(rows, columns, values))
            left = columns.end
        bands.append(Band(rows, Span(0, _WIDTH), iter(band)))
        top = rows.end
    return bands


def _held(rows: RowBuffer) -> int:
    return sum(patch.values.untyped_storage().nbytes() for patch in rows._patches) // (2 * _WIDTH * 4)


heights_of_bands = st.lists(st.integers(1, 9), min_size=1, max_size=8)
widths_of_patches = st.sampled_from([[5], [2, 3], [1, 1, 3], [1, 1, 1, 1, 1]])


@given(heights_of_bands, widths_of_patches, st.data())
def test_a_window_and_a_view_hold_the_values_of_the_whole_map(
    heights: list[int], widths: list[int], data: st.DataObject
) -> None:
    whole = _map(sum(heights))
    rows, dropped = RowBuffer(_WIDTH), 0
    for band in _bands(whole, heights, widths):
        for patch in band.patches:
            rows.append(patch)
        dropped = data.draw(st.integers(dropped, rows.end - 1))
        rows.drop_before(dropped)
        start = data.draw(st.integers(dropped, rows.end - 1))
        span = Span(start, data.draw(st.integers(start + 1, rows.end)))
        left = data.draw(st.integers(0, _WIDTH - 1))
        columns = Span(left, data.draw(st.integers(left + 1, _WIDTH)))
        expected = whole[:, :, span.start : span.end, columns.start : columns.end]
        assert torch.equal(rows.window(span, columns), expected)
        assert torch.equal(rows.view(span, columns), expected)


@given(widths_of_patches, st.integers(-2 * _WIDTH, 2 * _WIDTH), st.integers(1, 3 * _WIDTH))
def test_beyond_the_width_the_columns_begin_again(widths: list[int], left: int, length: int) -> None:
    whole = _map(4)
    rows = RowBuffer(_WIDTH)
    for band in _bands(whole, [4], widths):
        for patch in band.patches:
            rows.append(patch)
    expected = whole[:, :, 1:3, torch.arange(left, left + length) % _WIDTH]
    assert torch.equal(rows.window(Span(1, 3), Span(left, left + length)), expected)


@given(heights_of_bands, widths_of_patches, st.data())
def test_dropped_rows_take_no_memory(heights: list[int], widths: list[int], data: st.DataObject) -> None:
    rows = RowBuffer(_WIDTH)
    for band in _bands(_map(sum(heights)), heights, widths):
        for patch in band.patches:
            rows.append(patch)
    dropped = data.draw(st.integers(0, rows.end))
    rows.drop_before(dropped)
    assert _held(rows) == rows.end - dropped


def test_writing_to_a_window_leaves_the_rows_alone() -> None:
    rows = RowBuffer(_WIDTH)
    rows.append(Patch(Span(0, 4), Span(0, _WIDTH), _map(4)))
    rows.window(Span(0, 4), Span(0, _WIDTH)).zero_()
    assert torch.equal(rows.window(Span(0, 4), Span(0, _WIDTH)), _map(4))


@given(heights_of_bands, widths_of_patches)
def test_a_band_is_joined_in_one_piece(heights: list[int], widths: list[int]) -> None:
    whole = _map(sum(heights))
    for band in _bands(whole, heights, widths):
        assert torch.equal(joined(band), whole[:, :, band.rows.start : band.rows.end])
