"""SwinIR of random weights, in the layout of the official files."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from spandrel.architectures.SwinIR import SwinIR

StateDict = dict[str, torch.Tensor]

# What the published networks have in common; their sizes of training only set the size of unused masks.
_MEDIUM = {"depths": [6] * 6, "embed_dim": 180, "num_heads": [6] * 6, "mlp_ratio": 2, "window_size": 8}
_RESTORING = _MEDIUM | {"upscale": 1, "upsampler": ""}
_JPEG = _RESTORING | {"window_size": 7, "img_range": 255.0}
# By the names of upstream's tasks: define_model in main_test_swinir.py of JingyunLiang/SwinIR.
TASKS: dict[str, dict[str, Any]] = {
    "real_sr medium": _MEDIUM | {"upscale": 4, "upsampler": "nearest+conv"},
    "real_sr large": {
        "depths": [6] * 9,
        "embed_dim": 240,
        "num_heads": [8] * 9,
        "mlp_ratio": 2,
        "window_size": 8,
        "upscale": 4,
        "upsampler": "nearest+conv",
        "resi_connection": "3conv",
    },
    "gray_dn": _RESTORING | {"in_chans": 1},
    "color_dn": _RESTORING,
    "jpeg_car": _JPEG | {"in_chans": 1},
    "color_jpeg_car": _JPEG,
}

# What the names of the published files begin with.
_FILES = {
    "003_realSR_BSRGAN_DFO_": "real_sr medium",
    "003_realSR_BSRGAN_DFOWMFC_": "real_sr large",
    "004_grayDN_": "gray_dn",
    "005_colorDN_": "color_dn",
    "006_CAR_": "jpeg_car",
    "006_colorCAR_": "color_jpeg_car",
}


def task_of(network: str) -> str:
    """The task of a network in the catalogue."""
    return next(task for beginning, task in _FILES.items() if network.startswith(beginning))


def tiny(task: str, **changes: Any) -> dict[str, Any]:
    """The task's network with two blocks of two layers, and few channels."""
    return TASKS[task] | {"depths": [2, 2], "embed_dim": 12, "num_heads": [2, 2]} | changes


def model(settings: dict[str, Any]) -> SwinIR:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.meshgrid")
        return SwinIR(img_size=2 * settings["window_size"], **settings).eval()


def state(settings: dict[str, Any], seed: int = 0) -> StateDict:
    """Weights that make every part matter and spread results over 0–1; spandrel's own leave attention flat."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(name: str, value: torch.Tensor) -> torch.Tensor:
        if name.endswith(("relative_position_index", "attn_mask")):
            return value
        noise = torch.randn(value.shape, generator=generator)
        if "norm" in name:
            return value + 0.2 * noise
        if name.endswith("bias"):
            return 0.1 * noise
        if name.endswith("relative_position_bias_table"):
            return noise
        return noise * value[0].numel() ** -0.5

    weights = {name: drawn(name, value) for name, value in model(settings).state_dict().items()}
    last = "upsample.0.weight" if settings["upsampler"] == "pixelshuffledirect" else "conv_last.weight"
    weights[last] *= 0.6 if settings["upsampler"] else 0.15
    if "start_unshuffle" in settings:  # files name the convolution by its place behind the unshuffling
        weights = {name.replace("conv_first.", "conv_first.1."): value for name, value in weights.items()}
    return weights
