"""From a picture to faces ready to be pasted: with networks that are known, and faces that fail."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import random_faces
import torch

from upscaling.errors import Code, UpscalingError
from upscaling.faces import enhancement
from upscaling.faces.detection import Detector, load_detector
from upscaling.faces.enhancement import FaceNetworks, FaceOptions, enhance_faces
from upscaling.faces.parsing import Parser, Part
from upscaling.faces.pasting import paste
from upscaling.faces.restoration import Restorer
from upscaling.images import Image, Size
from upscaling.images.image import Pixels

CPU = torch.device("cpu")
Run = Callable[[torch.Tensor], torch.Tensor]
THREE = random_faces.spotted(320, 240, [(72, 48, 250), (240, 80, 247), (160, 176, 244)])


class Skin(torch.nn.Module):
    """Sees skin everywhere."""

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        scores = torch.zeros(len(faces), len(Part), 512, 512)
        scores[:, Part.SKIN] = 1
        return scores


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector(random_faces.bright_spots(), CPU)


def networks(detector: Detector, run: Run) -> FaceNetworks:
    return FaceNetworks(
        detector=lambda: detector,
        parser=lambda: Parser(Skin(), torch.float32, CPU),
        restorer=lambda dtype: Restorer(lambda crops, _: run(crops), dtype, CPU, batch=4),
        dtype=torch.float32,
    )


def pasted(pixels: Pixels, with_networks: FaceNetworks, options: FaceOptions | None = None) -> Pixels:
    faces, _ = enhance_faces(Image(pixels), with_networks, options or FaceOptions())
    size = Size(pixels.shape[1], pixels.shape[0])
    ((result, _),) = paste(iter([(pixels, None)]), faces, size, size)
    return result


def test_every_face_is_restored_and_said_to_be(detector: Detector) -> None:
    faces, outcomes = enhance_faces(Image(THREE), networks(detector, torch.neg), FaceOptions())
    assert [outcome.outcome for outcome in outcomes] == ["restored"] * 3
    assert [face.face for face in faces] == [outcome.face for outcome in outcomes]
    result = pasted(THREE, networks(detector, torch.neg))
    for outcome in outcomes:
        x, y = (round(value) for value in outcome.face.centre)
        assert (np.abs(result[y, x].astype(int) - (255 - THREE[y, x])) <= 2).all()
    assert (result[:, :30] == THREE[:, :30]).all()


def test_a_network_that_changes_nothing_changes_no_pixel(detector: Detector) -> None:
    noise = np.random.default_rng(0).integers(0, 60, THREE.shape, np.uint8)
    picture = np.maximum(THREE, noise)
    assert (pasted(picture, networks(detector, torch.clone)) == picture).all()


def test_strength_zero_changes_no_pixel(detector: Detector) -> None:
    assert (pasted(THREE, networks(detector, torch.neg), FaceOptions(strength=0)) == THREE).all()


def test_a_picture_without_faces_loads_no_other_network(detector: Detector, caplog: pytest.LogCaptureFixture) -> None:
    def never(*_: object) -> Restorer:
        raise AssertionError("it is not needed")

    only = FaceNetworks(lambda: detector, never, never, torch.float32)
    caplog.set_level("INFO")
    assert enhance_faces(Image(np.zeros((90, 90, 3), np.uint8)), only, FaceOptions()) == ((), ())
    assert "Faces found: 0." in caplog.text


def test_only_the_face_in_the_middle_is_restored_where_that_is_asked_for(detector: Detector) -> None:
    _, (outcome,) = enhance_faces(Image(THREE), networks(detector, torch.neg), FaceOptions(only_center_face=True))
    assert tuple(round(value) for value in outcome.face.centre) == (164, 180)


def test_faces_below_the_size_that_is_asked_for_are_left_alone(detector: Detector) -> None:
    assert enhance_faces(Image(THREE), networks(detector, torch.neg), FaceOptions(min_face_size=33)) == ((), ())


def failing(*places: int) -> Run:
    """NaN for some faces of the first batch."""

    def run(batch: torch.Tensor) -> torch.Tensor:
        return torch.stack([face * torch.nan if place in places else -face for place, face in enumerate(batch)])

    return run


def test_a_face_that_failed_is_not_pasted_and_not_said_to_be_restored(detector: Detector) -> None:
    faces, outcomes = enhance_faces(Image(THREE), networks(detector, failing(1)), FaceOptions())
    assert [outcome.outcome for outcome in outcomes] == ["restored", "failed", "restored"]
    assert len(faces) == 2


def test_where_all_faces_fail_it_is_an_error(detector: Detector) -> None:
    with pytest.raises(UpscalingError) as raised:
        enhance_faces(Image(THREE), networks(detector, failing(0, 1, 2)), FaceOptions())
    assert raised.value.code is Code.NONFINITE


def test_a_face_that_cannot_be_aligned_is_said_to_be_so(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = enhancement.align
    monkeypatch.setattr(enhancement, "align", lambda image, faces: whole(image, faces[1:]))
    _, outcomes = enhance_faces(Image(THREE), networks(detector, torch.neg), FaceOptions())
    assert [outcome.outcome for outcome in outcomes] == ["unaligned", "restored", "restored"]


def test_two_pictures_at_once_give_what_each_gives_alone(detector: Detector) -> None:
    shared = networks(detector, torch.neg)
    pictures = [THREE, THREE[::-1, ::-1].copy()]
    alone = [pasted(picture, shared) for picture in pictures]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda picture: pasted(picture, shared), pictures * 3))
    assert all((result == alone[index % 2]).all() for index, result in enumerate(together))
