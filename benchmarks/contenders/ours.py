"""This repository's own upscaler."""

from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter

from contenders.contender import Contender, Job, Run
from upscaling import weights
from upscaling.serving.job import Request, upscale_file
from upscaling.superres.library import Library


def build(job: Job, dtype: str | None) -> Contender:
    """Automatic in everything, or in the type that is named."""
    if dtype is not None:
        os.environ["UPSCALING_DTYPE"] = dtype
    library = Library(weights.entry(job.network).models[0], baked=job.baked)
    upscaler = library.upscaler(job.network)
    scale = upscaler.load(upscaler.dtype).scale

    def run(source: Path) -> Run:
        figures: dict[str, float | int | str] = {}
        request = Request(job.network, scale)
        started = perf_counter()
        made = upscale_file(source, job.target.parent, request, library, figures.__setitem__, progress=_ignore)
        seconds = perf_counter() - started
        made.replace(job.target)
        return Run(path_to_path=seconds, network=float(figures["seconds_computing"]))

    return Contender(
        precision=str(upscaler.dtype).removeprefix("torch."),
        warm_up=lambda: run(job.warm_up),
        run=lambda: run(job.source),
    )


def _ignore(*_: object) -> None:
    pass
