"""From a picture to faces ready to be pasted: with networks that are known, and faces that fail."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Never

import cv2
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


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [8, 16])
def test_faces_of_grey_and_of_16_bit_pictures_are_restored_in_their_own_depth(
    channels: int, bits: int, detector: Detector
) -> None:
    levels = 257 if bits == 16 else 1
    picture = THREE[..., :channels].astype(f"uint{bits}") * levels
    assert (pasted(picture, networks(detector, torch.clone)) == picture).all()
    result = pasted(picture, networks(detector, torch.neg))
    assert (result.dtype, result.shape) == (picture.dtype, picture.shape)
    assert abs(int(result[52, 76, 0]) - (255 * levels - int(picture[52, 76, 0]))) <= 2 * levels


# The crop of each reaches beyond one border or two; the last two lie over each other.
AT_BORDERS = random_faces.spotted(
    320, 240, [(16, 16, 250), (296, 120, 247), (160, 216, 249), (128, 80, 246), (152, 104, 244)]
)


def test_faces_at_borders_and_over_each_other_are_restored(detector: Detector) -> None:
    _, outcomes = enhance_faces(Image(AT_BORDERS), networks(detector, torch.neg), FaceOptions())
    assert [outcome.outcome for outcome in outcomes] == ["restored"] * 5
    result = pasted(AT_BORDERS, networks(detector, torch.neg))
    for outcome in outcomes:
        x, y = (round(value) for value in outcome.face.centre)
        assert (np.abs(result[y, x].astype(int) - (255 - AT_BORDERS[y, x])) <= 3).all()
    assert (pasted(AT_BORDERS, networks(detector, torch.clone)) == AT_BORDERS).all()


OUT_OF_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to …"),
    cv2.error("OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes in function"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("step", ["detect", "align", "parse", "paste_mask", "restore"])
def test_memory_that_runs_out_in_any_step_is_a_coded_error(
    step: str, error: Exception, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Never:
        raise error

    if step == "restore":
        failing_networks = networks(detector, fails)
    else:
        failing_networks = networks(detector, torch.neg)
        monkeypatch.setattr(enhancement, step, fails)
    with pytest.raises(UpscalingError, match="memory ran out for the faces") as raised:
        enhance_faces(Image(THREE), failing_networks, FaceOptions())
    assert raised.value.code is Code.MEMORY
    assert raised.value.__cause__ is error


def test_other_errors_stay_what_they_are(detector: Detector) -> None:
    def fails(_: torch.Tensor) -> Never:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        enhance_faces(Image(THREE), networks(detector, fails), FaceOptions())


def test_faces_that_do_not_fit_into_memory_together_are_restored_one_by_one(detector: Detector) -> None:
    def run(batch: torch.Tensor) -> torch.Tensor:
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return -batch

    _, outcomes = enhance_faces(Image(THREE), networks(detector, run), FaceOptions())
    assert [outcome.outcome for outcome in outcomes] == ["restored"] * 3
    assert (pasted(THREE, networks(detector, run)) == pasted(THREE, networks(detector, torch.neg))).all()


def test_two_pictures_at_once_give_what_each_gives_alone(detector: Detector) -> None:
    shared = networks(detector, torch.neg)
    pictures = [THREE, THREE[::-1, ::-1].copy()]
    alone = [pasted(picture, shared) for picture in pictures]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda picture: pasted(picture, shared), pictures * 3))
    assert all((result == alone[index % 2]).all() for index, result in enumerate(together))
