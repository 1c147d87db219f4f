"""What each model is measured with: networks, weights, picture and company."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import random_swinir
from networks import ROOT

from upscaling import weights
from upscaling.weights.store import write

_SWINIR = ("003_realSR_BSRGAN_DFO_s64w8_SwinIR-M_x4_GAN", "003_realSR_BSRGAN_DFOWMFC_s64w8_SwinIR-L_x4_GAN")


@dataclass(frozen=True)
class Subject:
    """One model's benchmark."""

    part: str
    """The part of README.md that its tables are written to."""
    networks: tuple[str, ...]
    size: int
    """Side of the picture in pixels, unless the command line says otherwise."""
    contenders: dict[str, tuple[str, ...]]
    """The usual ones, for the CPU and for a GPU; ours first: it is what every round's ratios are taken to."""
    reference: str
    """The contender that the others' pixels are compared with."""
    place_weights: Callable[[Path], Path]
    """Returns the folder of the weights; takes an empty one, for those that are made for this."""


def _own_weights(_: Path) -> Path:
    return ROOT / "models" / "real-esrgan" / "weights"


def _random_weights(folder: Path) -> Path:
    # The real files are on the authors' site only, and how long a network takes does not depend on its values.
    for network in _SWINIR:
        state = random_swinir.state(random_swinir.TASKS[random_swinir.task_of(network)])
        write(state, weights.entry(network), "random, in the true configuration", folder)
    return folder


SUBJECTS = {
    "real-esrgan": Subject(
        part="contenders",
        networks=("RealESRGAN_x4plus",),
        size=512,
        contenders={
            "cpu": (
                "ours",
                "ours-fp32",
                "ours-bf16",
                "realesrganer-fp32",
                "plain-fp32",
                "plain-bf16",
                "openvino-bf16",
                "ncnn-fp32",
            ),
            "cuda": (
                "ours",
                "ours-fp32",
                "realesrganer-fp16",
                "plain-fp32",
                "plain-fp16",
                "plain-fp16-channels-last",
                "compiled-fp16",
            ),
        },
        reference="plain-fp32",
        place_weights=_own_weights,
    ),
    "swinir": Subject(
        part="swinir",
        networks=_SWINIR,
        size=256,
        contenders={"cpu": ("ours", "predictor"), "cuda": ("ours", "ours-fp32", "predictor")},
        reference="predictor",
        place_weights=_random_weights,
    ),
}
