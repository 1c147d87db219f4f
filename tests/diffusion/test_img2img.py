"""How many tiles are redrawn at once."""

from __future__ import annotations

import pytest
import torch

from upscaling.diffusion.boxes import Box
from upscaling.diffusion.crops import Crop
from upscaling.diffusion.img2img import batch_size
from upscaling.diffusion.patches import Gradient, Patch
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
        assert batch_size(0, CUDA, crops(side)) == count


def test_a_request_says_how_many_and_a_cpu_takes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    of_memory(monkeypatch, 80, 80)
    assert batch_size(3, CUDA, crops(544)) == 3
    assert batch_size(3, CPU, crops(544)) == 3
    assert batch_size(0, CPU, crops(544)) == 1
