"""A group picture of 24 megapixels with 60 faces; its peak memory is written to benchmarks/README.md.

Usage: python benchmarks/group.py MODEL [--faces 60] [--width 6000] [--height 4000] [--no-write]
where MODEL is gfpgan or codeformer. It takes some ten minutes; smaller pictures take less memory.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import random_faces
from contenders import faces
from contenders.contender import Job
from crowds import write_crowd
from machine import description, kind, load, peak_resident_memory
from report import README, put, table
from subjects import SUBJECTS

from upscaling.faces.detection import detect, load_detector
from upscaling.images import Limits, decode
from upscaling.runtime.device import choose_device


@dataclass(frozen=True)
class Seen:
    """What one process took for one picture: seconds, and the most memory until then in bytes."""

    detecting: float
    restoring: float
    memory_before: int
    memory_detecting: int
    memory: int
    precision: str


def restore(job: Job) -> Seen:
    """Looks for faces, restores those that are known, and pastes them onto the background, enlarged by its network."""
    before = peak_resident_memory()
    device = choose_device()
    detector = load_detector(random_faces.bright_spots(), device)
    started = perf_counter()
    # Random weights find none of the faces; they take the time and the memory that others take.
    detect(decode(job.source, Limits()), detector)
    detected, memory_detecting = perf_counter(), peak_resident_memory()
    contender = faces.build(job, dtype=None)
    seconds = contender.run().path_to_path
    return Seen(
        detecting=detected - started,
        restoring=seconds,
        memory_before=before,
        memory_detecting=memory_detecting,
        memory=peak_resident_memory(),
        precision=contender.precision,
    )


def main(arguments: list[str]) -> int:
    options = _parsed(arguments)
    subject = SUBJECTS[options.model]
    busy = load()
    with tempfile.TemporaryDirectory() as folder:
        source = write_crowd(Path(folder) / "group.png", options.width, options.height, options.faces)
        (network,) = subject.networks
        baked = subject.place_weights(Path(folder) / "weights")
        job = Job(network, baked, source=source, warm_up=source, target=Path(folder) / "result" / "output.png")
        job.target.parent.mkdir()
        # A process of its own, which has held nothing else.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            seen = pool.submit(restore, job).result()
    measured = "\n\n".join(
        [
            f"{network} in {seen.precision}, {options.faces} faces, {options.width}×{options.height} → PNG enlarged by"
            f" {faces.SCALE}, in a process of its own; load before the run {busy}.",
            table(
                ["seconds, detection", "seconds, all else", "peak memory, MiB", "of it in detection", "before"],
                [[f"{seen.detecting:.0f}", f"{seen.restoring:.0f}", f"{seen.memory / 2**20:,.0f}",
                  f"{seen.memory_detecting / 2**20:,.0f}", f"{seen.memory_before / 2**20:,.0f}"]],
            ),
            description("torch", "pyvips-binary", "opencv-python-headless"),
        ]
    )  # fmt: skip
    print(measured)
    if options.write:
        put(README, "group", f"{kind()} {options.model}", measured)
    return 0


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench PART=group", description=__doc__)
    parser.add_argument("model", choices=("gfpgan", "codeformer"))
    parser.add_argument("--faces", type=int, default=60)
    parser.add_argument("--width", type=int, default=6000, help="of the input, in pixels")
    parser.add_argument("--height", type=int, default=4000, help="of the input, in pixels")
    parser.add_argument("--no-write", dest="write", action="store_false", help="prints only")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
