"""From process start to READY, the first prediction and the second; written to benchmarks/README.md.

Usage: PYTHONPATH=tools python benchmarks/start.py MODEL [--network NAME] [--size 64] [--starts 3] [--no-write]
"""

from __future__ import annotations

import argparse
import base64
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

from local_server import running
from machine import description, kind, load
from networks import ROOT
from pictures import write_photo
from predict import predict
from report import README, put, table

from upscaling import weights


@dataclass(frozen=True)
class Start:
    """Seconds of one server's beginning."""

    ready: float
    first: float
    second: float


def start(model: str, network: str, picture: Path) -> Start:
    """Starts the model's server and has the picture enlarged twice."""
    content = base64.b64encode(picture.read_bytes()).decode()
    inputs = {"image": f"data:image/png;base64,{content}", "model": network}
    begun = perf_counter()
    with running(model) as server:
        ready = perf_counter()
        predict(server.url, inputs)
        first = perf_counter()
        predict(server.url, inputs)
        second = perf_counter()
    return Start(ready=ready - begun, first=first - ready, second=second - first)


def main(arguments: list[str]) -> int:
    options = _parsed(arguments)
    network = options.network or weights.of_model(options.model)[0].name
    baked = (ROOT / "models" / options.model / "weights" / network).exists()
    busy = load()
    with tempfile.TemporaryDirectory() as folder:
        picture = write_photo(Path(folder) / "photo.png", options.size, options.size)
        starts = [start(options.model, network, picture) for _ in range(options.starts)]
    measured = "\n\n".join(
        [
            f"{options.model} with {network}, {'baked weights' if baked else 'weights from the cache, not baked'},"
            f" {options.size}×{options.size}, over HTTP on loopback, median of {options.starts} (least–most), files in"
            f" the disk's cache; load before the run {busy}.",
            table(
                ["", "seconds"],
                [
                    ["process start to READY", _spread([each.ready for each in starts])],
                    ["first prediction, which loads the network", _spread([each.first for each in starts])],
                    ["second prediction", _spread([each.second for each in starts])],
                ],
            ),
            description("torch", "cog", "coglet"),
        ]
    )
    print(measured)
    if options.write:
        put(README, "start", kind(), measured)
    return 0


def _spread(seconds: list[float]) -> str:
    return f"{median(seconds):.2f} ({min(seconds):.2f}–{max(seconds):.2f})"


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench PART=start", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--network", help="one of the model's networks; by default its first")
    parser.add_argument("--size", type=int, default=64, help="side of the picture in pixels")
    parser.add_argument("--starts", type=int, default=3, help="how often the server is started")
    parser.add_argument("--no-write", dest="write", action="store_false", help="prints only")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
