"""The redraw of a canvas: equal to a plain one that redraws one region after the other through whole masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from diffusion import plain
from diffusion.test_geometry import any_settings
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from upscaling.diffusion.boxes import Box
from upscaling.diffusion.crops import Crop
from upscaling.diffusion.hints import hint_box, hint_of
from upscaling.diffusion.layout import Layout
from upscaling.diffusion.patches import Gradient, Order, Patch, SeamFix
from upscaling.diffusion.redraw import Picture, RedrawBatch, redraw
from upscaling.images import Size

EVERY_MODE = [
    plain.Settings(order=order, seam_fix=seam_fix, uniform=uniform)
    for order, seam_fix, uniform in product(Order, SeamFix, (True, False))
]
every_mode = pytest.mark.parametrize("s", EVERY_MODE, ids=lambda s: f"{s.order}, {s.seam_fix}, {s.uniform}")
canvases = st.tuples(st.integers(9, 260), st.integers(9, 260))


def layout(s: plain.Settings) -> Layout:
    return Layout(
        order=Order(s.order),
        tile=Size(s.tile_width, s.tile_height),
        padding=s.padding,
        blur=s.blur,
        seam_fix=SeamFix(s.seam_fix),
        seam_width=s.seam_width,
        seam_padding=s.seam_padding,
        seam_blur=s.seam_blur,
        uniform=s.uniform,
    )


def crops(s: plain.Settings, canvas: Size) -> list[Crop]:
    return layout(s).tiles(canvas) + layout(s).seams(canvas)


def noise(size: tuple[int, int], seed: int = 0) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def smooth(size: tuple[int, int]) -> Picture:
    """A picture that survives being resized by a twentieth: it changes by a level in six pixels at most."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    waves = [np.sin(x / 900 + y / 700 + channel) for channel in range(3)]
    return np.rint(128 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


def changed(picture: Picture, box: plain.Corners) -> Picture:
    """A made redraw: it depends on what it is given, on its neighbourhood and on where it lies."""
    shifted = np.roll(picture, (box[0] % 7 - 3, box[1] % 5 - 2), axis=(0, 1)).astype(np.uint16)
    return ((shifted * 3 + picture + sum(box) % 251) // 4 % 256).astype(np.uint8)


def one_by_one(change: Callable[[Picture, plain.Corners], Picture]) -> RedrawBatch:
    def redraw_batch(pictures: Picture, crops: Sequence[Crop], _: Callable[[float], None]) -> Picture:
        return np.stack([change(*pair) for pair in zip(pictures, (crop.box.corners for crop in crops), strict=True)])

    return redraw_batch


def redrawn(
    canvas: Picture,
    s: plain.Settings,
    change: Callable[[Picture, plain.Corners], Picture] = changed,
    largest: int = 3,
    only: Image.Image | None = None,
) -> Picture:
    canvas = canvas.copy()
    redraw(canvas, crops(s, Size(*canvas.shape[1::-1])), one_by_one(change), largest, lambda share: None, only)
    return canvas


def plainly_redrawn(canvas: Picture, s: plain.Settings) -> Picture:
    def sample(tile: Image.Image, box: plain.Corners) -> Image.Image:
        return Image.fromarray(changed(np.asarray(tile), box))

    return np.asarray(plain.redraw(Image.fromarray(canvas), s, sample))


@given(canvases, any_settings, st.integers(1, 5))
@settings(max_examples=50)
def test_result_is_that_of_plain_code(size: tuple[int, int], s: plain.Settings, largest: int) -> None:
    canvas = noise(size)
    assert np.array_equal(redrawn(canvas, s, largest=largest), plainly_redrawn(canvas, s))


@every_mode
@pytest.mark.parametrize("size", [(201, 133), (150, 260), (61, 47)])
def test_every_mode_is_that_of_plain_code(s: plain.Settings, size: tuple[int, int]) -> None:
    canvas = noise(size)
    result = redrawn(canvas, s)
    assert np.array_equal(result, plainly_redrawn(canvas, s))
    assert np.array_equal(result, canvas) == (not crops(s, Size(*size)))


@every_mode
def test_no_batch_changes_the_result(s: plain.Settings) -> None:
    canvas = noise((333, 275))
    one, four, all_at_once = (redrawn(canvas, s, largest=largest) for largest in (1, 4, 100))
    assert np.array_equal(one, four)
    assert np.array_equal(one, all_at_once)


@every_mode
@pytest.mark.parametrize("size", [(317, 201), (151, 283), (77, 65)])
def test_what_changes_nothing_leaves_the_picture_unchanged(s: plain.Settings, size: tuple[int, int]) -> None:
    # Crops that are not sampled at their own size are resized there and back, each time rounded to 8 bits, and those
    # over seams once more: only smooth pictures survive that.
    result = redrawn(smooth(size), s, change=lambda picture, box: picture)
    assert np.abs(result.astype(int) - smooth(size)).max() <= 1


@pytest.mark.parametrize("order", [Order.LINEAR, Order.CHESS])
@pytest.mark.parametrize("seam_fix", [SeamFix.NONE, SeamFix.HALF_TILE, SeamFix.INTERSECTIONS])
def test_what_changes_nothing_leaves_every_pixel_where_crops_keep_their_size(order: Order, seam_fix: SeamFix) -> None:
    s = plain.Settings(order=order, seam_fix=seam_fix, uniform=False)
    canvas = noise((304, 200))
    assert np.array_equal(redrawn(canvas, s, change=lambda picture, box: picture), canvas)


@every_mode
def test_nothing_is_redrawn_where_the_mask_is_black(s: plain.Settings) -> None:
    canvas = noise((230, 190))
    only = Image.new("L", (23, 19))
    only.paste(255, (8, 5, 14, 12))
    result = redrawn(canvas, s, only=only)
    outside = np.ones(canvas.shape[:2], dtype=bool)
    outside[40:130, 70:150] = False  # a pixel of the mask is 10 of the canvas, and reaches one further
    assert np.array_equal(result[outside], canvas[outside])
    assert np.array_equal(result, canvas) == (not crops(s, Size(230, 190)))


@every_mode
def test_a_white_mask_redraws_everything(s: plain.Settings) -> None:
    canvas = noise((230, 190))
    assert np.array_equal(redrawn(canvas, s, only=Image.new("L", (3, 7), 255)), redrawn(canvas, s))


def test_tiles_without_a_share_in_the_mask_are_not_sampled() -> None:
    sampled: list[plain.Corners] = []

    def change(picture: Picture, box: plain.Corners) -> Picture:
        sampled.append(box)
        return changed(picture, box)

    only = Image.new("L", (256, 256))
    only.paste(255, (200, 200, 210, 210))
    redrawn(noise((256, 256)), plain.Settings(blur=0), change, only=only)
    assert sampled == [(176, 176, 256, 256)]


def test_opacity_of_the_mask_is_that_of_the_picture() -> None:
    s = plain.Settings(tile_width=200, tile_height=200, blur=0)
    canvas = np.zeros((100, 100, 3), np.uint8)
    only = Image.new("L", (100, 100), 51)
    result = redrawn(canvas, s, change=lambda picture, box: np.full_like(picture, 100), only=only)
    assert (result == 20).all()


def test_progress_grows_to_the_end_over_batches_and_within_them() -> None:
    shares: list[float] = []

    def redraw_batch(pictures: Picture, crops: Sequence[Crop], reach: Callable[[float], None]) -> Picture:
        reach(0.25)
        reach(1.0)
        return pictures

    size = Size(256, 192)
    redraw(noise(size), crops(plain.Settings(), size), redraw_batch, 1, shares.append)
    assert len(shares) == 3 * 12
    assert all(earlier <= later for earlier, later in pairwise(shares))
    assert shares[0] == pytest.approx(0.25 / 12)
    assert shares[-1] == 1


def test_a_cancel_ends_it_within_the_call_it_comes_in() -> None:
    class Cancelled(BaseException):
        pass

    calls: list[int] = []

    def redraw_batch(pictures: Picture, crops: Sequence[Crop], reach: Callable[[float], None]) -> Picture:
        calls.append(len(pictures))
        if len(calls) == 2:
            raise Cancelled
        return pictures

    size = Size(256, 192)
    with pytest.raises(Cancelled):
        redraw(noise(size), crops(plain.Settings(), size), redraw_batch, 1, lambda share: None)
    assert calls == [1, 1]


@given(canvases, canvases, any_settings)
@settings(max_examples=50)
def test_hints_are_cut_and_resized_as_torch_does(
    size: tuple[int, int], hint_size: tuple[int, int], s: plain.Settings
) -> None:
    hint = noise(hint_size, seed=1)
    canvas = Size(*size)
    for crop in crops(s, canvas)[:4]:
        part: NDArray[np.uint8] = hint[hint_box(crop.box, canvas, Size(*hint_size)).slices]
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(part.copy()).permute(2, 0, 1)[None].double(), crop.size[::-1], mode="nearest-exact"
        )
        found = torch.from_numpy(hint_of(crop, canvas, hint)).permute(2, 0, 1)[None]
        # torch computes the place in fp32: where it lies on a border of two pixels, either is right.
        if all(side % other for side, other in zip(crop.size, part.shape[1::-1], strict=True)):
            assert (found != expected).float().mean() < 0.05
        else:
            assert torch.equal(found.double(), expected)


def test_a_hint_of_half_the_size_gives_each_pixel_twice() -> None:
    hint = noise((20, 12))
    patch = Patch(Box(0, 0, 16, 8), Gradient.SOLID, 0, 0, Size(16, 8))
    found = hint_of(Crop(patch, Box(8, 8, 24, 16), Size(16, 8)), Size(40, 24), hint)
    assert np.array_equal(found, hint[4:8, 4:12].repeat(2, axis=0).repeat(2, axis=1))
