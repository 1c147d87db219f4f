"""Ours against facexlib, with the same weights in the layout of its files."""

import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import random_faces
import torch
from facexlib.detection.retinaface import RetinaFace
from facexlib.parsing.parsenet import ParseNet
from facexlib.utils import face_restoration_helper
from facexlib.utils.face_restoration_helper import FaceRestoreHelper
from torch import nn

from tiny import StateDict
from upscaling.faces.alignment import align, face_transform
from upscaling.faces.detection import detect, load_detector
from upscaling.faces.face import Face, RestoredFace
from upscaling.faces.masks import paste_mask
from upscaling.faces.parsing import load_parser, parse
from upscaling.faces.pasting import paste
from upscaling.images import Image, Size
from upscaling.images.image import Pixels

CAT = cv2.cvtColor(cv2.imread(str(Path(__file__).parents[1] / "data/cat.png")), cv2.COLOR_BGR2RGB)
PHOTO = cv2.cvtColor(cv2.imread(str(Path(__file__).parents[2] / "samples/cat.jpg")), cv2.COLOR_BGR2RGB)
CPU = torch.device("cpu")
NOISE = np.random.default_rng(0).integers(0, 256, (200, 256, 3), dtype=np.uint8)
SPOTS = random_faces.spotted(248, 160, [(72, 48, 250), (160, 104, 245), (224, 64, 240)])
PICTURES = {
    "random": (random_faces.retinaface(), NOISE),
    "random, of odd size": (random_faces.retinaface(1), NOISE[:133, :75]),
    "random, small": (random_faces.retinaface(2), NOISE[:25, :75]),
    "structured": (random_faces.bright_spots(), SPOTS),
}


def theirs(state: StateDict, pixels: Pixels) -> np.ndarray:
    """(faces, 15): box, score and landmarks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The parameter 'pretrained'")
        warnings.filterwarnings("ignore", "Arguments other than a weight enum")
        network = RetinaFace("resnet50", device=CPU)
    network.load_state_dict({name.removeprefix("module."): value for name, value in state.items()}, strict=True)
    with torch.no_grad():
        return network.eval().detect_faces(pixels[..., ::-1], 0.97)


@pytest.mark.parametrize("name", PICTURES)
def test_the_same_faces_are_found_to_a_thousandth_of_a_pixel(name: str) -> None:
    state, pixels = PICTURES[name]
    expected = theirs(state, pixels)
    expected = expected[np.linalg.norm(expected[:, 5:7] - expected[:, 7:9], axis=1) >= 5]  # as its helper does
    found = detect(Image(pixels), load_detector(state, CPU), min_face_size=0)
    assert len(found) == len(expected) > 1
    np.testing.assert_allclose([face.score for face in found], expected[:, 4], atol=1e-5)
    np.testing.assert_allclose([face.box for face in found], expected[:, :4], atol=1e-3)
    # Random weights put some landmarks 800 pixels away, where the roundings of both networks differ by more.
    np.testing.assert_allclose([face.landmarks.ravel() for face in found], expected[:, 5:], atol=1e-3, rtol=2e-6)


def faces_of(landmarks: list[np.ndarray]) -> list[Face]:
    return [Face((*points.min(axis=0), *points.max(axis=0)), 0.99, points) for points in landmarks]


def seen(rng: np.random.Generator, size: float, picture: Pixels) -> np.ndarray:
    """Landmarks near the middle as a detector gives them: of a turned face, none quite in its place."""
    angle = rng.uniform(-0.6, 0.6)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * size
    points = np.array(random_faces.FACE) @ turn.T + rng.uniform(0.4, 0.6, 2) * picture.shape[1::-1]
    return (points + rng.normal(0, size / 40, (5, 2))).astype(np.float32)


@pytest.fixture
def helper(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FaceRestoreHelper]:
    """facexlib's helper with a parser of its own, at a scale, and with landmarks that are known."""

    def made(scale: float, pixels: Pixels, landmarks: list[np.ndarray], parser: nn.Module | None) -> FaceRestoreHelper:
        monkeypatch.setattr(face_restoration_helper, "init_detection_model", lambda *_, **__: None)
        monkeypatch.setattr(face_restoration_helper, "init_parsing_model", lambda *_, **__: parser)
        result = FaceRestoreHelper(scale, use_parse=parser is not None, device=CPU)
        result.read_image(np.ascontiguousarray(pixels[..., ::-1]))
        result.all_landmarks_5 = list(landmarks)
        return result

    return made


@pytest.mark.parametrize("seed", range(5))
def test_transforms_and_crops_agree(helper: Callable[..., FaceRestoreHelper], seed: int) -> None:
    landmarks = [seen(np.random.default_rng(seed), size, CAT) for size in (30.0, 60.0)]
    expected = helper(2, CAT, landmarks, None)
    expected.align_warp_face()
    aligned = align(Image(CAT), faces_of(landmarks))
    for face, points, transform, crop in zip(
        aligned, landmarks, expected.affine_matrices, expected.cropped_faces, strict=True
    ):
        found = face_transform(points)
        assert found is not None
        np.testing.assert_allclose(found, transform, atol=1e-6)
        inside = cv2.warpAffine(np.full(CAT.shape[:2], 255, np.uint8), transform, (512, 512)) == 255
        assert np.count_nonzero(inside) > 50_000
        # Beyond the border theirs is a flat grey, ours the blurred mirror image. Places differ by OpenCV's rounding.
        apart = np.abs(face.crop.astype(int) - crop[..., ::-1])[inside]
        assert apart.max() <= 4
        assert apart.mean() < 0.05


def test_parts_agree() -> None:
    state = random_faces.parsenet()
    face = cv2.resize(CAT, (256, 256))  # both take any multiple of 16
    network = ParseNet(in_size=512, out_size=512, parsing_ch=19)
    network.load_state_dict(state, strict=True)
    values = torch.from_numpy(face).permute(2, 0, 1)[None].float() / 255 * 2 - 1
    with torch.no_grad():
        expected = network.eval()(values)[0].argmax(dim=1)[0].numpy()
    (found,) = parse([face], load_parser(state, torch.float32, CPU))
    assert len(np.unique(expected)) > 3
    assert np.count_nonzero(found != expected) <= 5  # where two parts are equally likely


class Oval(nn.Module):
    """Sees skin in an oval and background around it; in the form of ParseNet's result."""

    def forward(self, faces: torch.Tensor) -> tuple[torch.Tensor]:
        scores = torch.zeros(len(faces), 19, *faces.shape[2:])
        scores[:, 1] = torch.from_numpy(OVAL).float() * 2 - 1
        return (scores,)


_ROWS, _COLUMNS = np.mgrid[:512, :512]
OVAL = ((_COLUMNS - 256) / 170) ** 2 + ((_ROWS - 270) / 200) ** 2 < 1


def sharper(crop: Pixels) -> Pixels:
    """What stands for a network: more contrast in details, and another tint."""
    soft = cv2.GaussianBlur(crop, (0, 0), 3)
    return np.clip(crop * 2.0 - soft + (12, 0, -12), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("scale", "offset", "least_db"),
    [
        (1, 0.0, 42),  # theirs skips pixels of a face that has more than its place, ours averages
        (2, 0.0, 36),  # theirs lies half a pixel too far right and down
        (
            2,
            0.5,
            50,
        ),  # with that put right, OpenCV's places are left, multiples of 1/32, and fractions that are cut off
    ],
)
def test_pasted_pictures_agree(
    helper: Callable[..., FaceRestoreHelper], scale: int, offset: float, least_db: float
) -> None:
    landmarks = [seen(np.random.default_rng(seed), size, PHOTO) for seed, size in ((1, 120.0), (2, 70.0))]
    height, width = PHOTO.shape[:2]
    behind = cv2.resize(PHOTO, (width * scale, height * scale), interpolation=cv2.INTER_CUBIC)

    theirs = helper(scale, PHOTO, landmarks, Oval())
    theirs.align_warp_face()
    for crop in theirs.cropped_faces:
        theirs.add_restored_face(np.ascontiguousarray(sharper(crop[..., ::-1])[..., ::-1]))
    theirs.get_inverse_affine()
    for matrix in theirs.inverse_affine_matrices:
        matrix[:, 2] -= offset
    expected = theirs.paste_faces_to_input_image(upsample_img=np.ascontiguousarray(behind[..., ::-1]))[..., ::-1]

    faces = []
    for aligned in align(Image(PHOTO), faces_of(landmarks)):
        restored = sharper(aligned.crop)
        mask = paste_mask(OVAL.astype(np.uint8), aligned.crop, restored)
        faces.append(RestoredFace(aligned.face, aligned.transform, restored, mask))
    ((found, _),) = paste(iter([(behind, None)]), faces, Size(width, height), Size(width * scale, height * scale))

    def decibels(one: Pixels, other: Pixels) -> float:
        return 10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2))

    assert decibels(behind, expected) < 33  # the faces are there
    assert decibels(found, expected) >= least_db
