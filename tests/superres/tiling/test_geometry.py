from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from upscaling.errors import Code, UpscalingError
from upscaling.superres.tiling import AUTOMATIC, tile_size
from upscaling.superres.tiling.geometry import LARGEST_TILE, SMALLEST_TILE, Span, Window, pieces, windows

spans = st.builds(lambda start, length: Span(start, start + length), st.integers(0, 500), st.integers(1, 3000))
largest = st.integers(1, 2048)
aligns = st.sampled_from([1, 2, 3, 7, 8, 64])


@given(spans, largest, aligns)
def test_pieces_cover_the_span_without_gap_or_overlap(span: Span, largest: int, align: int) -> None:
    cut = pieces(span, largest, align)
    assert (cut[0].start, cut[-1].end) == (span.start, span.end)
    assert all(left.end == right.start for left, right in pairwise(cut))
    assert all(len(piece) > 0 for piece in cut)


@given(spans, largest, aligns)
def test_cuts_lie_at_multiples_of_align(span: Span, largest: int, align: int) -> None:
    assert all(piece.start % align == 0 for piece in pieces(span, largest, align)[1:])


@given(spans, largest, aligns)
def test_no_piece_is_longer_than_the_largest_unless_align_is(span: Span, largest: int, align: int) -> None:
    assert max(map(len, pieces(span, largest, align))) <= max(largest, align)


@given(spans, largest, aligns)
def test_pieces_are_equal_to_within_one_step_of_align(span: Span, largest: int, align: int) -> None:
    steps = [-(-piece.end // align) - piece.start // align for piece in pieces(span, largest, align)]
    assert max(steps) - min(steps) <= 1


@given(spans, largest, aligns)
def test_there_are_no_more_pieces_than_needed(span: Span, largest: int, align: int) -> None:
    steps = -(-span.end // align) - span.start // align
    assert (len(pieces(span, largest, align)) - 1) * max(largest // align, 1) < steps


@given(st.data(), st.integers(1, 400), st.integers(0, 60))
def test_a_halo_is_whole_inside_the_picture_and_ends_at_its_border(data: st.DataObject, length: int, halo: int) -> None:
    start = data.draw(st.integers(0, length - 1))
    span = Span(start, data.draw(st.integers(start + 1, length)))
    widened = span.widened(halo, Span(0, length))
    assert span.start - widened.start == min(halo, span.start)
    assert widened.end - span.end == min(halo, length - span.end)
    positions = list(range(widened.start, widened.end))
    assert positions[span.within(widened)] == list(range(span.start, span.end))


@st.composite
def cut_spans(draw: st.DrawFn) -> tuple[Span, int, Span, int, int, list[Window]]:
    """A span inside a picture, and its windows."""
    align = draw(st.sampled_from([1, 2, 7, 8]))
    length = draw(st.integers(1, 60))
    start = draw(st.integers(0, length - 1))
    span = Span(start * align, draw(st.integers(start + 1, length)) * align)
    limits, halo = Span(0, length * align), draw(st.integers(0, 3)) * align
    largest = draw(st.integers(1, 80))
    return span, halo, limits, largest, align, windows(span, halo, limits, largest, align)


@given(cut_spans())
def test_windows_keep_the_span_without_gap_or_overlap(case: tuple[Span, int, Span, int, int, list[Window]]) -> None:
    span, *_, cut = case
    assert (cut[0].kept.start, cut[-1].kept.end) == (span.start, span.end)
    assert all(left.kept.end == right.kept.start for left, right in pairwise(cut))
    assert all(len(window.kept) > 0 for window in cut)


@given(cut_spans())
def test_windows_read_the_whole_halo_of_what_they_keep(case: tuple[Span, int, Span, int, int, list[Window]]) -> None:
    _, halo, limits, _, align, cut = case
    for window in cut:
        needed = window.kept.widened(halo, limits)
        assert window.taken.start <= needed.start
        assert needed.end <= window.taken.end
        assert limits.start <= window.taken.start
        assert window.taken.end <= limits.end
        assert window.taken.start % align == 0


@given(cut_spans())
def test_windows_are_of_one_size_within_the_largest(case: tuple[Span, int, Span, int, int, list[Window]]) -> None:
    _, halo, _, largest, align, cut = case
    assert len({len(window.taken) for window in cut}) == 1
    assert len(cut[0].taken) <= max(largest, align) + 2 * halo


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_tile_size_zero_is_automatic_within_the_bounds_of_asked_ones(device: str) -> None:
    automatic = tile_size(AUTOMATIC, torch.device(device), picture_width=100)
    assert min(automatic.width, automatic.height) >= SMALLEST_TILE
    assert max(automatic.width, automatic.height) <= LARGEST_TILE


def test_automatic_tiles_of_wide_pictures_are_lower() -> None:
    tiles = [tile_size(AUTOMATIC, torch.device("cpu"), width) for width in (100, 2048, 4096, 8000, 10**6)]
    assert [tile.rows for tile in tiles] == [5242, 256, 128, 65, SMALLEST_TILE]
    assert all(tile.height == min(tile.width, tile.rows) for tile in tiles)


@pytest.mark.parametrize("side", [SMALLEST_TILE, 200, LARGEST_TILE])
def test_tile_size_within_bounds_is_a_square(side: int) -> None:
    tile = tile_size(side, torch.device("cpu"), picture_width=100)
    assert (tile.width, tile.height) == (side, side)


@pytest.mark.parametrize("side", [AUTOMATIC, 200, LARGEST_TILE])
def test_no_tile_size_takes_more_rows_than_the_bound_on_memory(side: int) -> None:
    tile = tile_size(side, torch.device("cpu"), picture_width=8000)
    assert tile.height <= tile.rows == 65


@pytest.mark.parametrize("side", [-1, 1, SMALLEST_TILE - 1, LARGEST_TILE + 1])
def test_tile_size_out_of_bounds_is_an_input_error_that_names_the_value(side: int) -> None:
    with pytest.raises(UpscalingError, match=f"tile_size is {side}; take 0 .* 32 to 2048") as raised:
        tile_size(side, torch.device("cpu"), picture_width=100)
    assert raised.value.code is Code.INPUT
