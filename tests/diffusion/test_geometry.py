"""The grid, its order, its crops and its masks: the tables of Ultimate SD Upscale, and Pillow's own arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusion import plain
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from upscaling.diffusion import masks
from upscaling.diffusion.boxes import Box
from upscaling.diffusion.crops import Crop, crop
from upscaling.diffusion.hints import hint_box
from upscaling.diffusion.masks import blend, mask
from upscaling.diffusion.patches import Grid, Order, Patch, SeamFix, redraw_patches, seam_patches
from upscaling.diffusion.scale_steps import scale_steps
from upscaling.diffusion.waves import batches, waves
from upscaling.images import Size

WORKED_EXAMPLE = Grid(Size(1280, 960), Size(512, 512))
SQUARE = Grid(Size(2048, 2048), Size(512, 512))


def patches(grid: Grid, s: plain.Settings) -> list[Patch]:
    return redraw_patches(grid, Order(s.order), s.padding, s.blur) + seam_patches(
        grid, SeamFix(s.seam_fix), s.seam_width, s.seam_padding, s.seam_blur
    )


def crops(grid: Grid, s: plain.Settings) -> list[Crop]:
    return [crop(patch, grid.canvas, uniform=s.uniform) for patch in patches(grid, s)]


sides = st.integers(8, 400)
tile_sides = st.integers(64, 200)
canvases = st.tuples(sides, sides)
any_settings = st.builds(
    plain.Settings,
    tile_width=tile_sides,
    tile_height=tile_sides,
    padding=st.integers(0, 80),
    blur=st.integers(0, 64),
    order=st.sampled_from([order.value for order in Order]),
    seam_fix=st.sampled_from([mode.value for mode in SeamFix]),
    seam_width=st.integers(8, 90),
    seam_padding=st.integers(4, 40),
    seam_blur=st.integers(0, 64),
    uniform=st.booleans(),
)


@pytest.mark.parametrize(
    ("factor", "steps"),
    [(1, []), (2, [2]), (3, [3]), (4, [4]), (5, [3, 2]), (6, [3, 2]), (7, [4, 2]), (8, [4, 2]), (9, [3, 3]),
     (10, [4, 3]), (11, [4, 3]), (12, [4, 3]), (13, [4, 4]), (14, [4, 4]), (15, [4, 4]), (16, [4, 4])],
)  # fmt: skip
def test_scale_steps_reach_the_factor(factor: int, steps: list[int]) -> None:
    assert scale_steps(Size(100, 80), Size(100 * factor, 80 * factor)) == steps


@pytest.mark.parametrize(
    ("picture", "canvas", "steps"),
    [((45, 26), (48, 24), []), ((45, 26), (48, 32), [2]), ((45, 26), (56, 32), [2]), ((3, 3), (8, 8), [])],
)
def test_a_canvas_that_is_rounded_to_multiples_of_8_is_no_enlargement(
    picture: tuple[int, int], canvas: tuple[int, int], steps: list[int]
) -> None:
    assert scale_steps(Size(*picture), Size(*canvas)) == steps


@pytest.mark.parametrize(
    ("picture", "canvas", "steps"),
    [((400, 100), (400, 400), [4]), ((100, 400), (200, 200), [2]), ((1000, 21), (968, 24), [])],
)
def test_a_picture_grows_if_one_of_its_sides_does(
    picture: tuple[int, int], canvas: tuple[int, int], steps: list[int]
) -> None:
    assert scale_steps(Size(*picture), Size(*canvas)) == steps


def test_a_picture_that_does_not_grow_has_no_scale_steps() -> None:
    assert scale_steps(Size(100, 80), Size(48, 40)) == []


@pytest.mark.parametrize(
    ("uniform", "boxes"),
    [
        (True, [(0, 0, 544, 544), (480, 0, 1056, 576), (736, 0, 1280, 544),
                (0, 416, 544, 960), (480, 384, 1056, 960), (800, 480, 1280, 960)]),
        (False, [(0, 0, 544, 544), (480, 0, 1056, 544), (992, 0, 1280, 544),
                 (0, 480, 544, 960), (480, 480, 1056, 960), (992, 480, 1280, 960)]),
    ],
)  # fmt: skip
def test_crops_of_the_worked_example(uniform: bool, boxes: list[plain.Corners]) -> None:
    made = [
        crop(p, WORKED_EXAMPLE.canvas, uniform=uniform) for p in redraw_patches(WORKED_EXAMPLE, Order.LINEAR, 32, 8)
    ]
    assert [c.box.corners for c in made] == boxes
    assert [c.size for c in made] == ([(544, 544)] * 6 if uniform else [c.box.size for c in made])


def test_crops_of_a_square() -> None:
    made = [crop(p, SQUARE.canvas, uniform=True).box.corners for p in redraw_patches(SQUARE, Order.LINEAR, 32, 8)]
    assert [made[i] for i in (1, 7, 5)] == [(480, 0, 1056, 576), (1472, 480, 2048, 1056), (480, 480, 1056, 1056)]


def test_a_tile_larger_than_the_canvas_is_made_from_all_of_it() -> None:
    grid = Grid(Size(200, 120), Size(512, 512))
    (patch,) = redraw_patches(grid, Order.LINEAR, 32, 8)
    assert crop(patch, grid.canvas, uniform=True) == Crop(patch, Box(0, 0, 200, 120), Size(544, 544))
    assert crop(patch, grid.canvas, uniform=False) == Crop(patch, Box(0, 0, 200, 120), Size(200, 120))


def test_chess_redraws_white_fields_before_black_ones() -> None:
    assert Grid(Size(30, 30), Size(10, 10)).tiles(Order.CHESS) == [
        (0, 0), (2, 0), (1, 1), (0, 2), (2, 2), (1, 0), (0, 1), (2, 1), (1, 2)
    ]  # fmt: skip


def test_no_order_redraws_no_tile() -> None:
    assert redraw_patches(SQUARE, Order.NONE, 32, 8) == []


@pytest.mark.parametrize(
    ("mode", "count"),
    [(SeamFix.NONE, 0), (SeamFix.BAND_PASS, 6), (SeamFix.HALF_TILE, 24), (SeamFix.INTERSECTIONS, 33)],
)
def test_seams_of_four_by_four_tiles(mode: SeamFix, count: int) -> None:
    assert len(seam_patches(SQUARE, mode, 64, 16, 8)) == count


@pytest.mark.parametrize("mode", SeamFix)
def test_one_tile_has_no_seams(mode: SeamFix) -> None:
    assert seam_patches(Grid(Size(500, 512), Size(512, 512)), mode, 64, 16, 8) == []


def test_bands_of_no_width_are_none() -> None:
    assert seam_patches(SQUARE, SeamFix.BAND_PASS, 0, 16, 8) == []


def test_a_blurred_mask_falls_from_white_to_black_across_the_border() -> None:
    first = redraw_patches(SQUARE, Order.LINEAR, 32, 8)[0]
    row = mask(first, Box(0, 100, 600, 101), SQUARE.canvas)[0]
    assert [int(row[512 + d]) for d in (-24, -16, -8, 0, 8, 16, 24)] == [255, 251, 216, 133, 47, 6, 0]
    assert row[0] == 255, "the blur repeats the pixels at the canvas's edge"


def test_gradients_of_the_seams() -> None:
    down, intersection = (seam_patches(SQUARE, SeamFix.INTERSECTIONS, 64, 16, 0)[i] for i in (0, 24))
    column = mask(down, Box(0, 0, 1, 2048), SQUARE.canvas)[:, 0]
    assert [int(column[256 + d]) for d in (0, 128, 256, 384, 511)] == [0, 128, 255, 127, 0]
    radial = mask(intersection, Box(256, 256, 768, 768), SQUARE.canvas)
    assert [int(radial[y, x]) for y, x in ((256, 256), (0, 0), (0, 256), (256, 0))] == [255, 0, 74, 74]


@given(canvases, any_settings)
@settings(max_examples=150)
def test_crops_and_masks_are_those_of_whole_canvas_masks(canvas: tuple[int, int], s: plain.Settings) -> None:
    grid = Grid(Size(*canvas), Size(s.tile_width, s.tile_height))
    expected = list(plain.regions(canvas, s))
    made = crops(grid, s)
    assert [(c.box.corners, c.size) for c in made] == [plain.crop(region, s.uniform) for region in expected]
    for c, region in zip(made, expected, strict=True):
        whole = region.mask.filter(ImageFilter.GaussianBlur(region.blur)) if region.blur else region.mask
        assert np.array_equal(mask(c.patch, c.box, grid.canvas), np.asarray(whole.crop(c.box.corners)))


def test_tiles_that_no_edge_cuts_share_one_mask() -> None:
    made = [crop(p, SQUARE.canvas, uniform=True) for p in redraw_patches(SQUARE, Order.LINEAR, 32, 8)]
    corner, *inner = (mask(made[i].patch, made[i].box, SQUARE.canvas) for i in (0, 5, 6, 9, 10))
    assert all(other is inner[0] for other in inner)
    assert not inner[0].flags.writeable
    assert not np.array_equal(corner, inner[0])


def test_a_mask_of_no_gradient_takes_the_memory_of_what_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn_blocks: list[Size] = []
    monkeypatch.setattr(masks, "_block", lambda gradient, size: drawn_blocks.append(size))
    grid = Grid(Size(100, 60), Size(8192, 8192))
    (made,) = [crop(p, grid.canvas, uniform=False) for p in redraw_patches(grid, Order.LINEAR, 32, 8)]
    assert mask(made.patch, made.box, grid.canvas).shape == (60, 100)
    assert drawn_blocks == []


@given(canvases, any_settings)
def test_crops_lie_on_the_canvas_and_are_sampled_in_whole_latents(canvas: tuple[int, int], s: plain.Settings) -> None:
    grid = Grid(Size(*canvas), Size(s.tile_width, s.tile_height))
    for c in crops(grid, s):
        assert c.box.widened(0, grid.canvas) == c.box
        assert min(c.box.size) >= 1
        assert all(side % 8 == 0 and side >= 8 for side in c.size)


@given(canvases, any_settings)
def test_tiles_cover_the_canvas(canvas: tuple[int, int], s: plain.Settings) -> None:
    grid = Grid(Size(*canvas), Size(s.tile_width, s.tile_height))
    seen = np.zeros((canvas[1], canvas[0]), dtype=bool)
    for patch in redraw_patches(grid, Order.CHESS, s.padding, 0):
        box = crop(patch, grid.canvas, uniform=s.uniform).box
        seen[box.slices] |= mask(patch, box, grid.canvas) == 255
    assert seen.all()


@given(st.integers(0, 255))
@settings(max_examples=20)
def test_blending_rounds_as_pillow_does(below: int) -> None:
    over, opacity = np.mgrid[0:256, 0:256].astype(np.uint8)
    canvas = np.full((256, 256, 3), below, dtype=np.uint8)
    redrawn = np.repeat(over[..., np.newaxis], 3, axis=2)
    expected = Image.fromarray(canvas).convert("RGBA")
    expected.alpha_composite(Image.fromarray(np.dstack([redrawn, opacity])))
    found = blend(*map(torch.tensor, (canvas, redrawn, opacity)))
    assert np.array_equal(found.numpy(), np.asarray(expected.convert("RGB")))


def test_a_hint_gives_every_pixel_that_its_crop_touches() -> None:
    assert hint_box(Box(480, 0, 1056, 576), Size(1280, 960), Size(640, 480)) == Box(240, 0, 528, 288)
    assert hint_box(Box(5, 5, 11, 11), Size(40, 40), Size(10, 10)) == Box(1, 1, 3, 3)
    assert hint_box(Box(0, 0, 40, 40), Size(40, 40), Size(7, 9)) == Box(0, 0, 7, 9)


def meet(one: Box, other: Box) -> bool:
    """Whether two boxes have a pixel in common."""
    return (
        max(one.left, other.left) < min(one.right, other.right)
        and max(one.top, other.top) < min(one.bottom, other.bottom)
    )  # fmt: skip


def plain_waves(made: list[Crop]) -> list[list[Crop]]:
    """Each crop in the first group after all earlier crops that it meets."""
    groups: list[int] = []
    for number, c in enumerate(made):
        groups.append(max((groups[i] for i in range(number) if meet(made[i].box, c.box)), default=-1) + 1)
    return [[c for c, own in zip(made, groups, strict=True) if own == group] for group in sorted(set(groups))]


@given(canvases, any_settings)
@settings(deadline=None)
def test_waves_are_those_of_the_plain_rule(canvas: tuple[int, int], s: plain.Settings) -> None:
    made = crops(Grid(Size(*canvas), Size(s.tile_width, s.tile_height)), s)
    assert waves(made) == plain_waves(made)


@given(canvases, any_settings)
def test_waves_keep_the_order_of_crops_that_meet(canvas: tuple[int, int], s: plain.Settings) -> None:
    grid = Grid(Size(*canvas), Size(s.tile_width, s.tile_height))
    made = crops(grid, s)
    groups = waves(made)
    assert sorted(made.index(c) for group in groups for c in group) == list(range(len(made)))
    group_of = {made.index(c): number for number, group in enumerate(groups) for c in group}
    for i, earlier in enumerate(made):
        for j in range(i + 1, len(made)):
            if meet(earlier.box, made[j].box):
                assert group_of[i] < group_of[j]


def test_half_a_row_of_tiles_is_a_wave() -> None:
    grid = Grid(Size(4096, 4096), Size(512, 512))

    def lengths(order: Order) -> list[int]:
        return [len(w) for w in waves([crop(p, grid.canvas, uniform=True) for p in redraw_patches(grid, order, 32, 8)])]

    assert lengths(Order.LINEAR) == [1, 1, 2, 2, 3, 3, *[4] * 10, 3, 3, 2, 2, 1, 1]
    assert lengths(Order.CHESS) == [4, 4, *[8] * 6, 4, 4]


def test_batches_are_of_one_size_and_no_longer_than_asked_for() -> None:
    grid = Grid(Size(1100, 500), Size(128, 128))
    made = [crop(p, grid.canvas, uniform=False) for p in redraw_patches(grid, Order.CHESS, 16, 8)]
    cut = batches(made, 2)
    assert all(len(batch) <= 2 and len({c.size for c in batch}) == 1 for batch in cut)
    assert sorted(c.patch.block.corners for batch in cut for c in batch) == sorted(c.patch.block.corners for c in made)
