"""What each model is measured with: networks, weights, picture and company."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import random_faces
import random_swinir
from crowds import write_crowd
from networks import ROOT
from pictures import write_photo

import tiny
from upscaling import weights
from upscaling.weights.store import write

PHOTO = "photo"
"""The picture of all subjects that say nothing else."""

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
    pictures: Mapping[str, Callable[[Path, int], Path]] = field(default_factory=lambda: {PHOTO: _photo})
    """What writes each picture, to a path and with a side, by its name."""
    warm_up: Callable[[Path, int], Path] | None = None
    """What writes the picture to warm up with; None where a smaller photo does."""


def _photo(path: Path, side: int) -> Path:
    return write_photo(path, side, side)


def _crowd(count: int, path: Path, side: int) -> Path:
    return write_crowd(path, side, side, count)


def _one_face(path: Path, side: int) -> Path:
    # Of another shape than the picture that is measured: by its shape a contender knows whose landmarks to give.
    return write_crowd(path, side, side + 64, 1)


def _own_weights(_: Path) -> Path:
    return ROOT / "models" / "real-esrgan" / "weights"


def _random_weights(folder: Path) -> Path:
    # The real files are on the authors' site only, and how long a network takes does not depend on its values.
    for network in _SWINIR:
        state = random_swinir.state(random_swinir.TASKS[random_swinir.task_of(network)])
        write(state, weights.entry(network), "random, in the true configuration", folder)
    return folder


def _random_faces(network: str, background: str, enlarges: tiny.StateDict, folder: Path) -> Path:
    made = {"GFPGANv1.4": random_faces.gfpgan, "codeformer": random_faces.codeformer}[network]
    for name, state in ((network, made()), (background, enlarges), ("parsing_parsenet", random_faces.parsenet())):
        write(state, weights.entry(name), "random, in the true configuration", folder)
    return folder


def _faces(network: str, background: str, enlarges: Callable[[], tiny.StateDict]) -> Subject:
    return Subject(
        part=network.partition("v")[0].lower(),
        networks=(network,),
        size=512,
        contenders={
            "cpu": ("ours-faces", "published-faces"),
            "cuda": ("ours-faces", "published-faces"),
        },
        reference="published-faces",
        place_weights=lambda folder: _random_faces(network, background, enlarges(), folder),
        pictures={"1-face": partial(_crowd, 1), "8-faces": partial(_crowd, 8)},
        warm_up=_one_face,
    )


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
    "gfpgan": _faces("GFPGANv1.4", "realesr-general-x4v3", lambda: tiny.srvgg(convolutions=32, features=64, scale=4)),
    "codeformer": _faces("codeformer", "RealESRGAN_x2plus", lambda: tiny.rrdb(blocks=23, features=64, channels=12)),
}
