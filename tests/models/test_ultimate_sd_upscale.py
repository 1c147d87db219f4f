"""The runner of Ultimate SD Upscale hands every input to its place."""

from __future__ import annotations

import gc
import importlib.util
import weakref
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from upscaling.diffusion.options import Options
from upscaling.diffusion.pictures import in_mask
from upscaling.images import Image, Size
from upscaling.serving.output import Output

ROOT = Path(__file__).parent.parent.parent
# No two of a type are equal, so none can be in another's place.
OPTIONS: dict[str, Any] = {
    "positive_prompt": "a cat", "negative_prompt": "a dog", "upscaler": "RealESRGAN_x4plus", "upscale_by": 1.25,
    "use_controlnet_tile": True, "controlnet_strength": 0.75, "seed": 11, "steps": 12, "cfg": 6.5,
    "sampler_name": "heun", "scheduler": "karras", "denoise": 0.375, "mode_type": "Chess", "tile_width": 72,
    "tile_height": 80, "mask_blur": 13, "tile_padding": 14, "seam_fix_mode": "Half Tile", "seam_fix_denoise": 0.625,
    "seam_fix_width": 15, "seam_fix_mask_blur": 16, "seam_fix_padding": 17, "force_uniform_tiles": False,
    "checkpoint": "stable-diffusion-v1-5", "batch_size": 5, "color_fix": "adain", "clip_skip": 2,
    "loras": "add_detail:0.5", "tile_size": 64,
}  # fmt: skip
REST: dict[str, Any] = {
    "image": "picture", "exact_size": True, "width": 301, "height": 202, "output_format": "webp", "output_quality": 71,
}  # fmt: skip


@pytest.fixture
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run", ROOT / "models" / "ultimate-sd-upscale" / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Server:
    """What a runner asks of its server."""

    def __init__(self) -> None:
        self.pictures: list[weakref.ref[Any]] = []
        self.alive: list[bool] = []
        self.given: list[Any] = []

    def picture(self, name: str, given: object) -> Image:
        assert (name, given) == ("mask", "mask file")
        picture = Image(np.zeros((6, 8, 3), np.uint8))
        self.pictures.append(weakref.ref(picture))
        return picture

    def predict(self, image: object, output: Output, done: object, record: Callable[..., None]) -> str:
        gc.collect()
        self.alive = [picture() is not None for picture in self.pictures]
        self.given = [image, output, done]
        return "result.png"


def run(module: ModuleType, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> tuple[Server, list[Any]]:
    """The server, and what the runner gives the package."""
    worked: list[Any] = []

    def work(options: Options, mask: Image | None, upscalers: object, library: object) -> str:
        worked.extend([options, None if mask is None else in_mask(mask), upscalers, library])
        return "the work"

    monkeypatch.setattr(module, "work", work)
    server = Server()
    runner = SimpleNamespace(server=server, upscalers="upscalers", library="library", record_metric=None)
    assert module.Runner.run(runner, **{**OPTIONS, **REST, "mask": None, **changes}) == Path("result.png")
    return server, worked


def test_every_input_is_in_its_place(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    server, (options, mask, upscalers, library) = run(module, monkeypatch)
    assert asdict(options) == OPTIONS
    assert (mask, upscalers, library) == (None, "upscalers", "library")
    image, output, done = server.given
    assert (image, done) == ("picture", "the work")
    assert output == Output(1.25, 301, 202, "webp", 71, 1)
    server, _ = run(module, monkeypatch, exact_size=False)
    assert server.given[1] == Output(1.25, 301, 202, "webp", 71, 8)


def test_every_option_of_tiles_and_seams_is_in_its_place() -> None:
    layout = Options(**OPTIONS).layout
    assert asdict(layout) == {
        "order": "Chess", "tile": Size(72, 80), "padding": 14, "blur": 13, "seam_fix": "Half Tile", "seam_width": 15,
        "seam_padding": 17, "seam_blur": 16, "uniform": False,
    }  # fmt: skip


def test_of_a_mask_only_its_luma_stays(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    server, (_, mask, *_) = run(module, monkeypatch, mask="mask file")
    assert (mask.mode, mask.size) == ("L", (8, 6))
    assert server.alive == [False]
