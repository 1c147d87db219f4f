"""RealESRGANer from the package realesrgan, as its own script calls it: untiled, fp32 on a CPU, fp16 on a GPU."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from types import ModuleType

import torch
from torchvision.transforms import functional

from contenders.contender import Contender, Job, Pixels, on_bgr


def build(job: Job, half: bool) -> Contender:
    restore_functional_tensor()
    from basicsr.archs.rrdbnet_arch import RRDBNet
    from realesrgan import RealESRGANer

    state = job.load_weights().state
    blocks = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("body."))
    channels = state["conv_first.weight"].shape[1]
    scale = {3: 4, 12: 2}[channels]
    model = RRDBNet(num_in_ch=3, num_out_ch=3, num_feat=64, num_block=blocks, num_grow_ch=32, scale=scale)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "weights.pth"
        torch.save({"params_ema": state}, checkpoint)
        upsampler = RealESRGANer(
            scale=scale, model_path=str(checkpoint), model=model, tile=0, tile_pad=10, pre_pad=0, half=half
        )

    def enlarge(pixels: Pixels) -> Pixels:
        return upsampler.enhance(pixels, outscale=scale)[0]

    return on_bgr(job, "float16" if half else "float32", enlarge)


def restore_functional_tensor() -> None:
    # basicsr imports a module that torchvision removed.
    module = ModuleType("torchvision.transforms.functional_tensor")
    module.rgb_to_grayscale = functional.rgb_to_grayscale  # pyright: ignore[reportAttributeAccessIssue]
    sys.modules[module.__name__] = module
