"""Ours against facexlib, with the same weights in the layout of its files."""

import warnings

import numpy as np
import pytest
import random_faces
import torch
from facexlib.detection.retinaface import RetinaFace

from tiny import StateDict
from upscaling.faces.detection import detect, load_detector
from upscaling.images import Image
from upscaling.images.image import Pixels

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
    assert len(found) == len(expected) > 2
    np.testing.assert_allclose([face.score for face in found], expected[:, 4], atol=1e-5)
    np.testing.assert_allclose([face.box for face in found], expected[:, :4], atol=1e-3)
    np.testing.assert_allclose([face.landmarks.ravel() for face in found], expected[:, 5:], atol=1e-3)
