"""ControlNet tile on its canvas: its geometry, what its networks are shown, its memory, its cancel."""

from __future__ import annotations

import ctypes
import threading
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from diffusion.jobs import USUAL_TILES, Cancelled, TileJob, cancelled_at
from hypothesis import example, given, settings
from hypothesis import strategies as st
from images.samples import noise
from numpy.typing import NDArray
from torch.nn import functional

from upscaling.diffusion import controlnet_tile, img2img, inpainting
from upscaling.diffusion.controlnet_tile import CONTROLNET, STRUCTURE_CONTROLNETS, passes
from upscaling.diffusion.crops import Crop
from upscaling.diffusion.guidance import Control
from upscaling.diffusion.img2img import Hint, Img2Img
from upscaling.diffusion.noise import noise_source
from upscaling.diffusion.pictures import continued
from upscaling.diffusion.redraw import Picture, opacity
from upscaling.diffusion.structure import STRUCTURES
from upscaling.diffusion.vae import SCALE
from upscaling.images import Image, Size, collect
from upscaling.images.resampling import resized

pytestmark = pytest.mark.usefixtures("in_fp32")

multiples = st.integers(1, 300).map(lambda count: 8 * count)


def enlarged(picture: Image, size: Size) -> NDArray[np.uint8]:
    return collect(picture, size, resized(picture, size)).pixels


@given(st.builds(Size, multiples, multiples), st.just(0) | st.integers(128, 2048))
@example(Size(2056, 2056), 2048)
@example(Size(3200, 2048), 0)
@settings(max_examples=12)
def test_masks_of_both_passes_sum_to_one_everywhere(size: Size, largest: int) -> None:
    # What is left of the canvas is the product of what the masks leave: nothing, where one of them is white.
    for each in passes(replace(USUAL_TILES, redraw_tile_size=largest), size):
        is_covered = np.zeros((size.height, size.width), bool)
        for crop in each.crops:
            is_covered[crop.box.slices] |= opacity(crop, size, None) == 255
        assert is_covered.all()


@pytest.mark.parametrize(
    ("size", "largest", "tile", "context"),
    [
        (Size(2056, 2056), 2048, Size(1028, 1028), 514),  # tiles of half of what was asked for
        (Size(2048, 2048), 512, Size(512, 512), 256),
        (Size(2056, 2048), 2048, Size(1028, 2048), 514),  # one row of tiles: its height has no neighbours
        (Size(200, 3000), 2048, Size(200, 1500), 750),
        (Size(3000, 1000), 600, Size(600, 500), 250),
    ],
)
def test_tiles_see_half_of_their_shorter_side_that_is_cut(size: Size, largest: int, tile: Size, context: int) -> None:
    first = passes(replace(USUAL_TILES, redraw_tile_size=largest), size)[0].crops[0]
    ends = [min(own + context, side) for own, side in zip(tile, size, strict=True)]
    assert all(0 <= side - end < 8 for side, end in zip(first.size, ends, strict=True))
    mask = opacity(first, size, None)
    assert (mask[: tile.height, : tile.width] == 255).all()
    beyond = np.flatnonzero(mask[0] if tile.width < size.width else mask[:, 0]).max() + 1
    cut = tile.width if tile.width < size.width else tile.height
    assert context // 4 < beyond - cut <= context // 2  # a quarter of the tile at most


def shown_to(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Crop, torch.Tensor]]:
    """What ControlNets are shown from now on: which network, of which crop, and the hint."""
    shown: list[tuple[int, Crop, torch.Tensor]] = []
    of = Hint.of

    def recorded(self: Hint, pictures: Picture, crops: Sequence[Crop]) -> Control:
        control = of(self, pictures, crops)
        shown.extend((id(self.network), crop, hint) for crop, hint in zip(crops, control.hint, strict=True))
        return control

    monkeypatch.setattr(Hint, "of", recorded)
    return shown


@pytest.mark.parametrize("structure", STRUCTURES)
def test_structure_is_that_of_the_enlarged_picture_in_both_passes(
    tile_job: TileJob, monkeypatch: pytest.MonkeyPatch, structure: str
) -> None:
    shown = shown_to(monkeypatch)
    tile_job.pixels(structure=structure)
    size = tile_job.size
    source = continued(enlarged(tile_job.picture, size), Size(144, 104))
    hint = STRUCTURES[structure](source)
    assert hint.any()
    names = [CONTROLNET, STRUCTURE_CONTROLNETS[structure]]
    networks = tile_job.library.get("Realistic_Vision_V5.1", names).controlnets
    second = passes(USUAL_TILES, Size(144, 104))[1].crops
    tiles = passes(USUAL_TILES, Size(144, 104))[0].crops
    tile_net, structure_net = map(id, networks)
    assert [(network, crop) for network, crop, _ in shown] == [
        *((network, crop) for crop in tiles for network in (tile_net, structure_net)),
        *((structure_net, crop) for crop in second),
    ]
    for network, crop, found in shown:
        if network == structure_net:
            expected = hint[crop.box.slices].repeat(3, 2)
            assert np.array_equal((found * 255).round().permute(1, 2, 0).numpy(), expected)


class Packing:
    """An autoencoder whose latents are the pixels, 64 of each channel in 192 channels: it loses nothing."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self) -> None:
        self.latents = torch.empty(0)
        """Those of the last picture, as the sampler sees them."""

    def encoder(self, pictures: torch.Tensor) -> torch.Tensor:
        packed = functional.pixel_unshuffle(pictures, 8)
        self.latents = packed * SCALE
        return packed

    def quant_conv(self, packed: torch.Tensor) -> torch.Tensor:
        return torch.cat([packed, torch.zeros_like(packed)], dim=1)

    def post_quant_conv(self, latents: torch.Tensor) -> torch.Tensor:
        return latents

    def decoder(self, latents: torch.Tensor) -> torch.Tensor:
        return functional.pixel_shuffle(latents, 8)


@pytest.fixture
def noisy_seen(tile_job: TileJob, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Has the networks know the picture, and give it at every step; returns how noisy what they see is."""
    vae = Packing()
    seen: list[float] = []
    get = type(tile_job.library).get

    def knowing(*_: Any) -> Callable[[torch.Tensor, float], torch.Tensor]:
        clean = vae.latents

        def denoise(noisy: torch.Tensor, sigma: float) -> torch.Tensor:
            seen.append(((noisy - clean).std() / sigma).item())
            return clean

        return denoise

    monkeypatch.setattr(type(tile_job.library), "get", lambda *given: replace(get(*given), vae=vae))
    monkeypatch.setattr(img2img, "guided", knowing)
    monkeypatch.setattr(inpainting, "noise_source", partial(noise_source, channels=192))
    return seen


@pytest.mark.parametrize(
    ("scheduler", "guidance_scale"),
    [("DDIM", 0), ("DDIM", 7), ("K_EULER_ANCESTRAL", 7), ("DPMSolverMultistep", 7)],
)
@pytest.mark.parametrize("parts", [1, 6])
@pytest.mark.parametrize("has_mask", [False, True])
def test_networks_that_know_the_picture_leave_it_as_it_is_enlarged(
    tile_job: TileJob,
    noisy_seen: list[float],
    monkeypatch: pytest.MonkeyPatch,
    scheduler: str,
    guidance_scale: float,
    parts: int,
    has_mask: bool,
) -> None:
    size = Size(301, 270)
    if parts > 1:
        monkeypatch.setattr(controlnet_tile, "_WHOLE", 200)
        monkeypatch.setattr(controlnet_tile, "_LARGEST_PART", 136)
        monkeypatch.setattr(controlnet_tile, "_PART_CONTEXT", 40)
    mask = Image(noise(5, 4, 1)) if has_mask else None
    found = tile_job.pixels(
        size=size, mask=mask, scheduler=scheduler, guidance_scale=guidance_scale, creativity=0.6, redraw_tile_size=128
    )
    assert np.abs(found.astype(int) - enlarged(tile_job.picture, size)).max() <= 1
    assert tile_job.progress.figures["tiles"] == 9 + parts
    assert len(noisy_seen) >= 4 * 9 + parts
    assert min(noisy_seen) > 0.5


def test_a_panorama_takes_the_memory_of_five_pictures_of_8_bit(
    tile_job: TileJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Img2Img, "at", lambda self, sigmas: lambda pictures, crops, reach: pictures)
    size = Size(4001, 1001)
    changes: dict[str, Any] = {
        "hdr": 0.8,
        "color_fix": "wavelet",
        "structure": "lineart",
        "mask": Image(noise(9, 9, 1)),
    }
    tile_job.pixels(size=Size(64, 64), **changes)  # loads what is loaded once
    tracemalloc.start()
    for rows, _ in next(tile_job.attempts(size=size, **changes)):
        assert len(rows) <= 256
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * 3 * size.width * size.height


def test_a_cancel_from_outside_ends_it_after_a_step_at_most(tile_job: TileJob, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = cancelled_at(0, monkeypatch)  # none: it counts them
    ended: list[type[BaseException]] = []

    def run() -> None:
        try:
            tile_job.pixels(steps=200, creativity=1, guidance_scale=7)
        except BaseException as error:
            ended.append(type(error))

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive() and len(steps) < 3:
        thread.join(0.001)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Cancelled))
    begun = len(steps)
    thread.join(30)
    assert ended == [Cancelled]
    assert len(steps) - begun <= 1
