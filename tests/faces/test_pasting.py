"""What pasting changes, and what it must not."""

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_faces import face_at

from upscaling.faces.alignment import align, scale_of
from upscaling.faces.face import AlignedFace, Mask, RestoredFace, Transform
from upscaling.faces.masks import paste_mask
from upscaling.faces.parsing import Part
from upscaling.faces.pasting import paste
from upscaling.images import Image, Rows, Size, collect
from upscaling.images.image import Pixels
from upscaling.images.resampling import resample

SKIN = np.full((512, 512), Part.SKIN, np.uint8)


def cloudy(width: int, height: int, channels: int = 3, bits: int = 8) -> Pixels:
    """A picture without detail, so that enlarging it loses none: what moves by half a pixel changes by many levels."""
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(columns / 20 + 1) * np.cos(rows / 25), np.sin((columns + rows) / 40), np.cos((columns - rows) / 35)]
    whole = 2**bits - 1
    return np.rint((np.stack(waves, axis=-1)[..., :channels] * 0.45 + 0.5) * whole).astype(f"uint{bits}")


def enlarged(pixels: Pixels, size: Size) -> Pixels:
    height, width = pixels.shape[:2]
    return np.concatenate(list(resample(iter([pixels]), (height, width), (size.height, size.width))))


def cut(pixels: Pixels, heights: list[int]) -> Rows:
    top = 0
    for height in [*heights, len(pixels)]:
        if band := len(pixels[top : top + height]):
            yield pixels[top : top + band], None
            top += band


def pasted(pixels: Pixels, faces: list[RestoredFace], source: Size, heights: list[int] | None = None) -> Pixels:
    size = Size(pixels.shape[1], pixels.shape[0])
    return collect(Image(pixels), size, paste(cut(pixels, heights or []), faces, source, size)).pixels


def shift(pixels: float) -> Transform:
    return np.array([[0, 0, pixels], [0, 0, 0]])


def restored(face: AlignedFace, crop: Pixels, mask: Mask | None = None) -> RestoredFace:
    """A face as if a network had made `crop` of it; shown wherever it is skin, unless a mask says otherwise."""
    # As if it had been of another colour: else nothing has changed, and nothing is pasted.
    shown = (
        paste_mask(SKIN, np.zeros_like(crop), np.full_like(crop, np.iinfo(crop.dtype).max)) if mask is None else mask
    )
    return RestoredFace(face.face, face.transform, crop, shown)


def size_of(pixels: Pixels) -> Size:
    return Size(pixels.shape[1], pixels.shape[0])


PLACES = [
    ((80.0, 70.0), 90.0, 0.2),
    ((10.0, 12.0), 60.0, -0.4),
    ((150.0, 60.0), 70.0, 0.0),
    ((70.0, 118.0), 200.0, 3.0),
]


@pytest.mark.parametrize("scale", [1, 2, 4, 1.7, 0.6])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [3, 1])
def test_faces_that_are_pasted_as_they_were_change_no_pixel_by_more_than_a_level(
    scale: float, bits: int, channels: int
) -> None:
    source = cloudy(160, 120, channels, bits)
    behind = enlarged(source, Size(round(160 * scale), round(120 * scale)))
    faces = [restored(aligned, aligned.crop) for place in PLACES for aligned in align(Image(source), [face_at(*place)])]
    result = pasted(behind, faces, size_of(source))
    assert result.dtype == behind.dtype
    level = (2**bits - 1) / 255
    assert np.abs(result.astype(int) - behind).max() <= level
    # The test sees a shift: half a pixel of the source would change far more.
    moved = [replace(face, transform=face.transform + shift(0.5 * scale_of(face.transform))) for face in faces]
    assert np.abs(pasted(behind, moved, size_of(source)).astype(int) - behind).max() > 1.9 * level


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_network_that_gives_back_what_it_got_changes_nothing_in_any_picture(scale: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    faces = [
        RestoredFace(aligned.face, aligned.transform, aligned.crop, paste_mask(SKIN, aligned.crop, aligned.crop))
        for place in PLACES
        for aligned in align(Image(noise), [face_at(*place)])
    ]
    behind = noise.repeat(scale, axis=0).repeat(scale, axis=1)
    assert (pasted(behind, faces, size_of(noise)) == behind).all()


@settings(max_examples=25)
@given(heights=st.lists(st.integers(1, 150), max_size=20), channels=st.sampled_from([1, 3]))
def test_the_result_does_not_depend_on_how_rows_are_cut(heights: list[int], channels: int) -> None:
    source = cloudy(160, 120, channels)
    behind = enlarged(source, Size(320, 240))
    colour = np.random.default_rng(1).integers(0, 256, (512, 512, 3), np.uint8)
    faces = [restored(aligned, colour) for place in PLACES for aligned in align(Image(source), [face_at(*place)])]
    expected = pasted(behind, faces, size_of(source))
    assert (expected != behind).any()
    assert (pasted(behind, faces, size_of(source), heights) == expected).all()


def flat(place: tuple[tuple[float, float], float, float], value: int, source: Pixels) -> RestoredFace:
    (aligned,) = align(Image(source), [face_at(*place)])
    return restored(aligned, np.full((512, 512, 3), value, np.uint8))


def test_smaller_faces_lie_over_larger_ones_in_whatever_order_they_come() -> None:
    source = np.zeros((120, 160, 3), np.uint8)
    large, small = flat(((70, 60), 100, 0), 100, source), flat(((90, 60), 40, 0), 200, source)
    result = pasted(source, [small, large], Size(160, 120))
    assert (result == pasted(source, [large, small], Size(160, 120))).all()
    assert result[60, 90, 0] == 200
    assert result[60, 60, 0] == 100


def test_the_edge_of_a_face_is_soft() -> None:
    source = np.zeros((600, 600, 3), np.uint8)
    result = pasted(source, [flat(((300, 300), 512, 0), 20, source)], Size(600, 600)).astype(int)
    assert result[300, 300, 0] == 20
    steps = max(np.abs(np.diff(result, axis=axis)).max() for axis in (0, 1))
    assert steps <= 3


def test_outside_of_its_crop_a_face_changes_nothing() -> None:
    source = cloudy(160, 120)
    result = pasted(source, [flat(((80, 60), 60, 0), 0, source)], Size(160, 120))
    changed = np.argwhere((result != source).any(axis=2))
    assert changed.min(axis=0).tolist() >= [30, 50]
    assert (changed.max(axis=0) <= [90, 110]).all()


def test_grey_rows_get_the_luma_of_a_face() -> None:
    source = np.zeros((120, 160, 1), np.uint8)
    (aligned,) = align(Image(source), [face_at((80, 60), 100, 0)])
    red = np.zeros((512, 512, 3), np.uint8)
    red[..., 0] = 200
    assert pasted(source, [restored(aligned, red)], Size(160, 120))[60, 80, 0] == 60  # 0.299 × 200


def test_a_face_that_was_enlarged_comes_to_the_same_place() -> None:
    source = cloudy(160, 120)
    behind = enlarged(source, Size(640, 480))
    (aligned,) = align(Image(source), [face_at((80, 60), 100, 0.3)])
    larger = cv2.resize(aligned.crop, (1024, 1024), interpolation=cv2.INTER_LINEAR)
    face = replace(restored(aligned, aligned.crop), restored=larger)
    assert np.abs(pasted(behind, [face], size_of(source)).astype(int) - behind).max() <= 1


def test_a_sharp_face_in_a_small_place_is_reduced_not_sampled() -> None:
    source = np.full((120, 160, 3), 127, np.uint8)
    (aligned,) = align(Image(source), [face_at((80, 60), 64, 0)])
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(pasted(source, [restored(aligned, stripes)], Size(160, 120)).astype(int) - 127).max() <= 1


def test_strength_blends_with_the_enlarged_picture() -> None:
    source = np.zeros((120, 160, 3), np.uint8)
    (aligned,) = align(Image(source), [face_at((80, 60), 100, 0)])
    white = np.full((512, 512, 3), 200, np.uint8)
    for strength, expected in ((0.0, 0), (0.25, 50), (1.0, 200)):
        mask = paste_mask(SKIN, aligned.crop, white, strength)
        assert pasted(source, [restored(aligned, white, mask)], Size(160, 120))[60, 80, 0] == expected


def test_alpha_and_the_given_rows_stay_as_they_are() -> None:
    source = cloudy(160, 120)
    alpha = np.arange(120 * 160, dtype=np.uint8).reshape(120, 160)
    kept = source.copy()
    ((colour, handed_on),) = paste(
        iter([(source, alpha)]), [flat(((80, 60), 60, 0), 0, source)], Size(160, 120), Size(160, 120)
    )
    assert (source == kept).all()
    assert (colour != source).any()
    assert handed_on is alpha


def test_bands_come_out_before_the_next_is_asked_for() -> None:
    asked = 0

    def endless() -> Iterator[tuple[Pixels, None]]:
        nonlocal asked
        while True:
            asked += 1
            yield np.zeros((8, 160, 3), np.uint8), None

    rows = paste(endless(), [], Size(160, 120), Size(160, 120))
    for band in range(1, 4):
        next(rows)
        assert asked == band
