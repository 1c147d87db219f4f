"""Structure hints against controlnet-aux's detectors, at sizes that these do not change."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from upscaling.diffusion.redraw import Picture
from upscaling.diffusion.structure import canny, lineart

CAT = Path(__file__).parent.parent / "data" / "cat.png"
SIDE = 320  # pixels; detectors resize to multiples of 64


@pytest.fixture(scope="module", autouse=True)
def detectors() -> Iterator[None]:
    """The package as a whole imports what all of its detectors need; those of weightless hints stand alone."""
    found = importlib.util.find_spec("controlnet_aux")
    assert found is not None
    package = ModuleType("controlnet_aux")
    package.__path__ = list(found.submodule_search_locations or [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, package.__name__, package)
        yield


def detector(module: str, name: str) -> Any:
    return getattr(import_module(f"controlnet_aux.{module}"), name)()


@pytest.fixture
def picture() -> Picture:
    with Image.open(CAT) as cat:
        return np.asarray(cat.convert("RGB").resize((SIDE + 64, SIDE), Image.Resampling.LANCZOS))


def test_edges_are_those_of_the_canny_detector(picture: Picture) -> None:
    expected = detector("canny", "CannyDetector")(picture, detect_resolution=SIDE, image_resolution=SIDE)
    assert expected.any()
    assert np.array_equal(canny(picture).repeat(3, 2), expected)


def test_lines_are_those_of_the_standard_lineart_detector(picture: Picture) -> None:
    expected = detector("lineart_standard", "LineartStandardDetector")(
        picture, detect_resolution=SIDE, output_type="np"
    )
    assert expected.any()
    assert np.abs(lineart(picture).astype(int) - expected).max() <= 1
