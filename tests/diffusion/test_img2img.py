"""How many tiles are redrawn at once, and what they become."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_diffusion
import torch
from images.samples import noise

from upscaling.diffusion.boxes import Box
from upscaling.diffusion.crops import Crop
from upscaling.diffusion.guidance import Guidance
from upscaling.diffusion.hints import as_they_are
from upscaling.diffusion.img2img import Hint, Img2Img, batch_size
from upscaling.diffusion.patches import Gradient, Patch
from upscaling.diffusion.samplers import SAMPLERS
from upscaling.diffusion.sigmas import sigmas
from upscaling.images import Size

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")


def crops(side: int) -> list[Crop]:
    box, size = Box(0, 0, side, side), Size(side, side)
    return [Crop(Patch(box, Gradient.SOLID, 0, 0, size), box, size)]


def of_memory(monkeypatch: pytest.MonkeyPatch, free_gb: float, whole_gb: float) -> None:
    found = int(free_gb * 1e9), int(whole_gb * 1e9)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: found)


@pytest.mark.parametrize(("whole_gb", "side", "count"), [(8, 544, 6), (24, 544, 16), (24, 1088, 5), (4, 2048, 1)])
def test_a_gpu_takes_as_many_tiles_as_half_of_its_memory_holds(
    monkeypatch: pytest.MonkeyPatch, whole_gb: float, side: int, count: int
) -> None:
    for free_gb in (whole_gb, whole_gb / 2, 0.1):  # what else is there changes nothing
        of_memory(monkeypatch, free_gb, whole_gb)
        assert batch_size(0, CUDA, torch.bfloat16, crops(side)) == count


def test_a_gpu_takes_half_as_many_tiles_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    of_memory(monkeypatch, 8, 8)
    assert [batch_size(0, CUDA, dtype, crops(544)) for dtype in (torch.float16, torch.float32)] == [6, 3]


def test_a_request_says_how_many_and_a_cpu_takes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    of_memory(monkeypatch, 80, 80)
    assert batch_size(3, CUDA, torch.float16, crops(544)) == 3
    assert batch_size(3, CPU, torch.float32, crops(544)) == 3
    assert batch_size(0, CPU, torch.float32, crops(544)) == 1


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "dpmpp_sde", "uni_pc"])
def test_a_batch_gives_each_picture_what_it_is_given_alone(sampler: str) -> None:
    positive, negative = torch.randn(2, 1, 77, tiny_diffusion.TEXT_WIDTH, generator=torch.Generator().manual_seed(0))
    img2img = Img2Img(
        unet=tiny_diffusion.unet(),
        vae=tiny_diffusion.vae(),
        guidance=Guidance(positive, negative, 8),
        hints=[Hint(tiny_diffusion.controlnet(), 1, as_they_are)],
        sampler=SAMPLERS[sampler],
        seed=4,
        count_retry=lambda: None,
    )
    redraw_batch = img2img.at(sigmas("normal", 2, 0.5, sampler))
    pictures, alike = np.stack([noise(32, 40, 3, seed=i) for i in range(3)]), crops(40) * 3
    alone = np.concatenate([redraw_batch(pictures[i : i + 1], alike[i : i + 1], lambda share: None) for i in range(3)])
    difference = np.abs(redraw_batch(pictures, alike, lambda share: None).astype(int) - alone)
    assert difference.max() <= 1  # where a kernel sums in another order for a batch
    assert (difference > 0).mean() < 0.01
