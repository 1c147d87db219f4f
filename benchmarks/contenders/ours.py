"""This repository's own upscaler."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from time import perf_counter

from contenders.contender import Contender, Job, Run
from upscaling.runtime.device import choose_device
from upscaling.runtime.memory import keep_freed_memory
from upscaling.runtime.progress import Progress
from upscaling.serving.output import Output
from upscaling.serving.pipeline import process
from upscaling.superres.tiling import AUTOMATIC
from upscaling.superres.upscalers import Upscalers
from upscaling.weights.catalogue import catalogue


def build(job: Job, dtype: str | None) -> Contender:
    """Automatic in everything, or in the type that is named."""
    if dtype is not None:
        os.environ["UPSCALING_DTYPE"] = dtype
    keep_freed_memory()
    model = next(model for model, names in catalogue().models.items() if job.network in names)
    upscalers = Upscalers(model, job.baked, choose_device())
    upscaler = upscalers.get(job.network)
    network = upscaler.load(upscaler.dtype)

    def run(source: Path) -> Run:
        figures: dict[str, float | int | str] = {}
        started = perf_counter()
        work = partial(upscalers.attempts, upscaler, AUTOMATIC)
        made = process(source, job.target.parent, Output(network.scale), work, figures.__setitem__, Progress())
        seconds = perf_counter() - started
        made.replace(job.target)
        return Run(path_to_path=seconds, network=float(figures["seconds_computing"]))

    return Contender(
        precision=str(network.dtype).removeprefix("torch."),
        warm_up=lambda: run(job.warm_up),
        run=lambda: run(job.source),
    )
