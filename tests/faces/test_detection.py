"""Which faces are found, in pictures of any size."""

from itertools import pairwise

import numpy as np
import pytest
import random_faces
import torch
from hypothesis import given
from hypothesis import strategies as st

from upscaling.errors import Code, UpscalingError
from upscaling.faces import detection
from upscaling.faces.detection import Detector, detect, load_detector, nearest_to_centre
from upscaling.images import Image
from upscaling.images.image import Pixels

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector(random_faces.bright_spots(), CPU)


def centres(image: Image, detector: Detector, min_face_size: float = 10) -> list[tuple[float, float]]:
    found = detect(image, detector, min_face_size)
    return sorted((round(x), round(y)) for x, y in (face.centre for face in found))


def test_a_face_has_the_place_the_size_and_the_landmarks_that_the_network_says(detector: Detector) -> None:
    (face,) = detect(Image(random_faces.spotted(240, 160, [(72, 48, 250)])), detector)
    np.testing.assert_allclose(face.box, (60, 36, 92, 68), atol=1e-3)
    np.testing.assert_allclose(face.landmarks, np.array(random_faces.FACE) * 32 + (76, 52), atol=1e-3)
    assert 0.97 < face.score < 1


def test_the_surest_face_comes_first(detector: Detector) -> None:
    found = detect(Image(random_faces.spotted(240, 160, [(72, 48, 242), (160, 104, 250)])), detector)
    assert [round(face.centre[0]) for face in found] == [164, 76]


def test_a_picture_without_faces_gives_none(detector: Detector) -> None:
    assert detect(Image(np.zeros((40, 50, 3), np.uint8)), detector) == ()


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3)])
def test_pictures_of_any_shape_are_looked_at(detector: Detector, size: tuple[int, int]) -> None:
    assert detect(Image(np.zeros((*size, 3), np.uint8)), detector) == ()


def test_16_bit_and_grey_pictures_show_the_same_faces(detector: Detector) -> None:
    pixels = random_faces.spotted(240, 160, [(72, 48, 250)])
    (expected,) = detect(Image(pixels), detector)
    for other in (pixels[..., :1], pixels.astype(np.uint16) * 257):
        (face,) = detect(Image(other), detector)
        np.testing.assert_allclose(face.box, expected.box, atol=1e-3)
        assert face.score == pytest.approx(expected.score, abs=1e-5)


def scaled(factor: int, pixels: Pixels) -> Pixels:
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def test_large_faces_of_large_pictures_are_found_on_the_reduced_copy(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection, "LARGEST_TILE", 320)
    image = Image(scaled(3, random_faces.spotted(320, 160, [(72, 48, 250)])))
    (face,) = detect(image, detector, min_face_size=40)
    np.testing.assert_allclose(face.box, np.array((60, 36, 92, 68)) * 3, atol=0.1)


def test_faces_that_are_too_small_on_the_copy_are_found_on_the_picture(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection, "LARGEST_TILE", 320)
    # Reduced to a third, these spots are grey; the third lies where two tiles overlap.
    spots = [(72, 48, 245), (888, 400, 245), (312, 200, 245)]
    image = Image(random_faces.spotted(960, 480, spots))
    assert centres(image, detector, min_face_size=31) == []
    assert centres(image, detector) == [(76, 52), (316, 204), (892, 404)]


def test_a_face_in_a_face_that_a_smaller_copy_showed_is_not_counted_again(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection, "LARGEST_TILE", 320)
    image = Image(scaled(3, random_faces.spotted(320, 160, [(72, 48, 250)])))
    assert len(detect(image, detector)) == 1


@given(length=st.integers(1, 70_000), overlap=st.integers(20, 160))
def test_tiles_cover_all_overlap_by_what_a_small_face_needs_and_are_not_larger_than_needed(
    length: int, overlap: int
) -> None:
    spans = detection._spans(length, overlap)
    assert spans[0][0] == 0
    assert spans[-1][1] == length
    assert all(0 < end - start <= detection.LARGEST_TILE for start, end in spans)
    assert all(end - start >= overlap for (_, end), (start, _) in pairwise(spans))
    assert sum(end - start for start, end in spans) < length + len(spans) * (overlap + 32)


@given(width=st.integers(1, 40_000), height=st.integers(1, 20), least=st.floats(0, 500))
def test_copies_grow_until_the_smallest_face_is_10_pixels_wide(width: int, height: int, least: float) -> None:
    copies = list(detection._copies(np.zeros((height, width, 1), np.uint8), least))
    widths = [copy.shape[1] for copy, _ in copies]
    assert widths[0] == min(width, 1280)
    assert all(one < other <= one * 8 + 8 for one, other in pairwise(widths))
    for (smaller, _), (larger, overlap) in pairwise(copies):  # twice what is 10 pixels wide in the smaller one
        assert 20 * (larger.shape[1] - 0.5) <= overlap * (smaller.shape[1] + 0.5) <= 180 * smaller.shape[1]
    assert widths[-1] == width or max(least, 10) * (widths[-1] + 0.5) / width >= 10


def test_faces_with_eyes_closer_than_five_pixels_are_left_out(detector: Detector) -> None:
    state = random_faces.bright_spots()
    state["module.LandmarkHead.0.conv1x1.bias"] *= 0.3
    near = load_detector(state, CPU)
    assert detect(Image(random_faces.spotted(240, 160, [(72, 48, 250)])), near) == ()


def test_the_face_nearest_to_the_centre_is_the_only_one_kept(detector: Detector) -> None:
    image = Image(random_faces.spotted(240, 160, [(72, 48, 250), (128, 88, 245)]))
    (face,) = nearest_to_centre(detect(image, detector), image)
    assert round(face.centre[0]) == 132
    assert nearest_to_centre((), image) == ()


def test_nan_from_the_network_is_an_error(detector: Detector) -> None:
    state = random_faces.bright_spots()
    state["module.BboxHead.0.conv1x1.bias"][0] = torch.nan
    with pytest.raises(UpscalingError) as raised:
        detect(Image(np.zeros((40, 50, 3), np.uint8)), load_detector(state, CPU))
    assert raised.value.code is Code.NONFINITE


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(UpscalingError, match="RetinaFace") as raised:
        load_detector(random_faces.parsenet(), CPU)
    assert raised.value.code is Code.WEIGHTS
