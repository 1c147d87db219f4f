"""This repository's own restoration of faces, with landmarks given: what the models gfpgan and codeformer do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from time import perf_counter

import crowds
import torch

from contenders.contender import Contender, Job, Run
from upscaling import weights
from upscaling.faces import enhancement
from upscaling.faces.enhancement import FaceNetworks, FaceOptions, enhance_faces
from upscaling.faces.parsing import load_parser
from upscaling.faces.pasting import paste
from upscaling.faces.restoration import load_restorer
from upscaling.images import Image, Rows, Size
from upscaling.runtime.device import choose_device, choose_dtype
from upscaling.runtime.memory import keep_freed_memory
from upscaling.runtime.progress import Progress
from upscaling.serving.output import Output
from upscaling.serving.pipeline import process
from upscaling.superres.tiling import AUTOMATIC
from upscaling.superres.upscalers import Upscalers

BACKGROUNDS = {"GFPGANv1.4": "realesr-general-x4v3", "codeformer": "RealESRGAN_x2plus"}
"""What enlarges the picture behind the faces, by the network for faces."""
SCALE = 2


def build(job: Job, dtype: str | None) -> Contender:
    """Automatic in everything, or in the type that is named."""
    if dtype is not None:
        os.environ["UPSCALING_DTYPE"] = dtype
    keep_freed_memory()
    device = choose_device()
    networks = face_networks(job.network, job.baked, device)
    upscalers = Upscalers("real-esrgan", job.baked, device)
    upscaler = upscalers.get(BACKGROUNDS[job.network], denoise_strength(job.network))

    def work(source: Path, image: Image, size: Size, progress: Progress) -> Iterator[Rows]:
        enhancement.detect = lambda *_: crowds.faces(source)
        faces, _ = enhance_faces(image, networks, FaceOptions())
        for rows in upscalers.attempts(upscaler, AUTOMATIC, image, size, progress):
            yield paste(rows, faces, Size(image.width, image.height), size)

    def run(source: Path) -> Run:
        figures: dict[str, float | int | str] = {}
        started = perf_counter()
        made = process(source, job.target.parent, Output(SCALE), partial(work, source), figures.__setitem__, Progress())
        seconds = perf_counter() - started
        made.replace(job.target)
        return Run(path_to_path=seconds, network=float(figures["seconds_computing"]))

    return Contender(
        precision=str(networks.dtype).removeprefix("torch."),
        warm_up=lambda: run(job.warm_up),
        run=lambda: run(job.source),
    )


def denoise_strength(network: str) -> float | None:
    """GFPGANer's background network is the one that denoises most, not a mixture."""
    return 1.0 if BACKGROUNDS[network] == "realesr-general-x4v3" else None


def face_networks(name: str, baked: Path, device: torch.device) -> FaceNetworks:
    """The networks that faces need, loaded once; there is no detector."""

    def load(entry: str) -> dict[str, torch.Tensor]:
        return weights.load(weights.entry(entry), baked).state

    chosen = choose_dtype(device)
    dtype = torch.bfloat16 if chosen is torch.float16 else chosen
    return FaceNetworks(
        detector=lambda: None,  # pyright: ignore[reportArgumentType]  nothing is detected
        parser=cache(lambda: load_parser(load("parsing_parsenet"), dtype, device)),
        restorer=cache(lambda wanted: load_restorer(load(name), wanted, device)),
        dtype=dtype,
    )
