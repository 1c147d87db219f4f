"""Where a face lies in its crop, and what the crop shows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_faces import face_at

from upscaling.faces.alignment import TEMPLATE, align, applied, face_transform, inverse, scale_of
from upscaling.faces.face import CROP_SIDE, Face
from upscaling.images import Image

angles = st.floats(-3.1, 3.1)
sizes = st.floats(20, 3000)  # pixels of the picture that a crop shows
places = st.floats(-500, 5000)


@given(centre=st.tuples(places, places), size=sizes, angle=angles)
def test_landmarks_of_any_similar_face_come_to_the_template(
    centre: tuple[float, float], size: float, angle: float
) -> None:
    face = face_at(centre, size, angle)
    transform = face_transform(face.landmarks)
    assert transform is not None
    assert np.abs(applied(transform, face.landmarks) - TEMPLATE).max() < 0.1
    assert scale_of(transform) == pytest.approx(CROP_SIDE / size, rel=1e-3)
    np.testing.assert_allclose(applied(inverse(transform), TEMPLATE), face.landmarks, atol=0.1)


def ramp(width: int, height: int, dtype: type = np.uint16) -> np.ndarray:
    """Red grows by 10 per column, green by 7 per row; blue is 300."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([100 + 10 * columns, 100 + 7 * rows, np.full_like(rows, 300)], axis=-1).astype(dtype)


@pytest.mark.parametrize("size", [100, 512, 700, 1100, 2000])
@pytest.mark.parametrize("angle", [0, 0.4])
def test_crops_show_the_picture_without_a_shift_at_any_size(size: float, angle: float) -> None:
    face = face_at((1600, 1700), size, angle)
    (aligned,) = align(Image(ramp(3200, 3400)), [face])
    points = np.array([[0.0, 0.0], [511, 0], [0, 511], [511, 511], [256, 256]])
    expected = applied(inverse(aligned.transform), points) * (10, 7) + 100
    shown = np.array([aligned.crop[int(y), int(x)] for x, y in points])
    # A hundredth of a pixel of a crop that is reduced, and OpenCV's places are multiples of 1/32.
    np.testing.assert_allclose(shown[:, :2], expected, atol=0.5 + 10 / 64 * max(512 / size, size / 512) * 2)
    assert set(aligned.crop[..., 2].ravel()) == {300}


def test_fine_stripes_of_a_large_face_turn_grey() -> None:
    stripes = np.zeros((2100, 2100, 3), np.uint8)
    stripes[:, ::2] = 255
    (aligned,) = align(Image(stripes), [face_at((1050, 1050), 2048)])
    assert np.abs(aligned.crop[8:-8, 8:-8].astype(float) - 127.5).max() <= 1


def test_grey_gives_three_equal_channels_of_its_own_depth() -> None:
    (aligned,) = align(Image(ramp(300, 300)[..., :1]), [face_at((150, 150), 200)])
    assert aligned.crop.shape == (512, 512, 3)
    assert aligned.crop.dtype == np.uint16
    assert (aligned.crop == aligned.crop[..., :1]).all()


@pytest.mark.parametrize("centre", [(0, 0), (99, 0), (0, 99), (99, 99), (50, 0)])
def test_beyond_the_border_the_crop_shows_nothing_that_the_picture_does_not_have(centre: tuple[float, float]) -> None:
    pixels = np.full((100, 100, 3), 200, np.uint8)
    (aligned,) = align(Image(pixels), [face_at(centre, 120)])
    assert set(aligned.crop.ravel()) == {200}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_beyond_the_border_no_detail_is_mirrored(dtype: type, channels: int) -> None:
    # A face whose crop shows as much beyond the left border as within it.
    whole = np.iinfo(dtype).max
    stripes = np.zeros((512, 512, channels), dtype)
    stripes[(np.arange(512) // 16) % 2 == 1] = whole
    (aligned,) = align(Image(stripes), [face_at((0, 256), 512)])
    assert aligned.crop.dtype == dtype
    beyond, within = aligned.crop[64:-64, :200, 0], aligned.crop[64:-64, 260:, 0]
    assert np.ptp(within.astype(float)) == whole
    assert np.ptp(beyond.astype(float)) < 0.05 * whole


def test_pictures_wider_than_opencv_takes_are_cropped() -> None:
    pixels = np.full((40, 40_000, 1), 90, np.uint8)
    (aligned,) = align(Image(pixels), [face_at((39_900, 20), 30)])
    assert set(aligned.crop.ravel()) == {90}


def test_landmarks_that_fit_no_face_are_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    same = Face((0, 0, 9, 9), 0.99, np.full((5, 2), 5, np.float32))
    outside = face_at((-900, 50), 100)
    (aligned,) = align(Image(np.zeros((100, 100, 3), np.uint8)), [same, face_at((50, 50), 100), outside])
    assert aligned.face.centre == (50, 50)
    assert len(caplog.records) == 2
