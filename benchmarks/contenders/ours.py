"""This repository's own upscaler."""

from __future__ import annotations

import os
from pathlib import Path

from machine import clock

from contenders.contender import Contender, Job, Run
from upscaling.images import Limits, decode
from upscaling.job import Request, upscale_file
from upscaling.library import Library
from upscaling.tiling import AUTOMATIC, Tally, tile_size


def build(job: Job, dtype: str | None) -> Contender:
    """Automatic in everything, or in the type that is named."""
    if dtype is not None:
        os.environ["UPSCALING_DTYPE"] = dtype
    library = Library(baked=job.baked)
    upscaler = library.upscaler(job.network)
    scale = upscaler.load(upscaler.dtype).scale

    def path_to_path() -> float:
        started = clock()
        made = upscale_file(
            job.source, job.target.parent, Request(job.network, scale), library, record=_ignore, progress=_ignore
        )
        seconds = clock() - started
        made.replace(job.target)
        return seconds

    def network_only(source: Path) -> float:
        picture = decode(source, Limits())
        size = picture.width * scale, picture.height * scale
        tile = tile_size(AUTOMATIC, library.device, picture.width)
        started = clock()
        for _ in upscaler.rows(picture, *size, tile, Tally()):
            pass
        return clock() - started

    return Contender(
        precision=str(upscaler.dtype).removeprefix("torch."),
        warm_up=lambda: network_only(job.warm_up),
        run=lambda: Run(path_to_path=path_to_path(), network=network_only(job.source)),
    )


def _ignore(*_: object) -> None:
    pass
