"""Ours beside the others: the same weights, picture and output; written to benchmarks/README.md.

Usage: python benchmarks/bench.py MODEL [--size PIXELS] [--pairs 5] [--minutes 25] [--contenders NAME …]
       [--pictures NAME …] [--no-write]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from math import inf, log10
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from contenders import ALL, OURS
from contenders.contender import Job
from harness import Ratio, Timing, measure, ratio
from machine import description, device, kind, load, threads
from pictures import write_photo
from report import README, put, table
from subjects import PHOTO, SUBJECTS, Subject

_WARM_UP = 64  # pixels a side, on a CPU
_PACKAGES = ("torch", "spandrel", "realesrgan", "basicsr", "openvino", "ncnn", "opencv-python-headless")


def psnr(picture: Path, reference: Path) -> str:
    """How far the pixels of two PNG are apart."""
    ours, theirs = (cv2.imread(str(path), cv2.IMREAD_COLOR) for path in (picture, reference))
    if ours is None or theirs is None or ours.shape != theirs.shape:
        return "not the same size"
    error = float(np.square(ours.astype(np.float32) - theirs.astype(np.float32)).mean())
    decibels = 10 * log10(255**2 / error) if error else inf
    return "the same pixels" if decibels == inf else f"{decibels:.1f} dB"


def results(timings: list[Timing], compared_with: str) -> str:
    """One row for each contender: how many times as long as ours it took."""
    ours = next((timing for timing in timings if timing.name == OURS), timings[0])
    reference = next((timing for timing in timings if timing.name == compared_with and timing.path_to_path), None)
    rows: list[list[str]] = []
    for timing in timings:
        if not timing.path_to_path:
            rows.append([timing.name, timing.precision, f"not measured: {timing.failure}", "", "", "", ""])
            continue
        rows.append(
            [
                timing.name,
                timing.precision,
                _written(timing, ours, ratio(timing.path_to_path, ours.path_to_path)),
                _written(timing, ours, ratio(timing.network, ours.network)),
                f"{median(timing.path_to_path.values()):.2f}",
                psnr(timing.target, reference.target) if reference else "",
                f"{timing.peak_memory / 2**20:,.0f}",
            ]
        )
    memory = "GPU memory" if device() == "cuda" else "memory"
    head = ["contender", "computes in", f"path to path ÷ {ours.name}", f"network only ÷ {ours.name}",
            "seconds, path to path", "PSNR to fp32", f"peak {memory}, MiB"]  # fmt: skip
    return table(head, rows)


def main(arguments: list[str]) -> int:
    options = _parsed(arguments)
    subject = SUBJECTS[options.model]
    networks = [options.network] if options.network else subject.networks
    with tempfile.TemporaryDirectory() as folder:
        baked = subject.place_weights(Path(folder) / "weights")
        for picture in options.pictures or subject.pictures:
            own = Path(folder) / picture
            tables = [_table(network, picture, baked, subject, options, own / network) for network in networks]
            measured = "\n\n".join([*tables, description(*_PACKAGES)])
            print(measured)
            if options.write:
                put(README, subject.part, kind() if picture == PHOTO else f"{kind()} {picture}", measured)
    return 0


def _table(network: str, picture: str, baked: Path, subject: Subject, options: argparse.Namespace, folder: Path) -> str:
    """What was measured with one network and picture, under a line that says how."""
    folder.mkdir(parents=True)
    size = options.size or subject.size
    job = Job(
        network=network,
        baked=baked,
        source=subject.pictures[picture](folder / f"{picture}.png", size),
        # A GPU's libraries choose and compile for a size, a CPU's need waking only.
        warm_up=(subject.warm_up or _warm_up_picture)(folder / "warm-up.png", size),
        target=folder,
    )
    source = job.load_weights().source
    busy = load()
    names = options.contenders or subject.contenders[device()]
    environment = {"OMP_NUM_THREADS": str(options.threads)}
    timings, rounds = measure(names, job, options.pairs, options.minutes, environment, say=_say)
    return (
        f"{network}, {picture}, {size}×{size} → PNG, median of {rounds} rounds (least–most),"
        f" {options.threads} threads; weights: {source}; load before the run {busy}.\n\n"
        f"{results(timings, subject.reference)}"
    )


def _warm_up_picture(path: Path, size: int) -> Path:
    side = size if device() == "cuda" else min(size, _WARM_UP)
    return write_photo(path, side, side)


def _written(timing: Timing, ours: Timing, found: Ratio | None) -> str:
    return "1" if timing is ours else str(found or "")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("model", choices=SUBJECTS)
    parser.add_argument("--network", help="one of the model's networks; by default its usual ones")
    parser.add_argument("--pictures", nargs="+", help="some of the model's pictures; by default all")
    parser.add_argument("--size", type=int, help="side of the picture in pixels")
    parser.add_argument("--pairs", type=int, default=5, help="most runs of each contender")
    parser.add_argument(
        "--minutes", type=float, default=25, help="for each network; no further round begins that would not fit these"
    )
    parser.add_argument("--contenders", nargs="+", choices=ALL, help="instead of the usual ones of this machine")
    parser.add_argument("--threads", type=int, default=threads(), help="of each contender")
    parser.add_argument("--no-write", dest="write", action="store_false", help="prints only")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
