"""Where the time of our network goes, and of OpenVINO's with the same weights; written to benchmarks/README.md.

Usage: python benchmarks/profiles.py MODEL [--size 192] [--openvino f32 bf16] [--no-write]
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contenders.contender import Job
from machine import description, kind, load, threads
from networks import ROOT, changed, name_of, picture, seconds, upscalers
from report import README, put, table
from torch.profiler import ProfilerActivity, profile, record_function

from upscaling import weights
from upscaling.images import Image
from upscaling.superres.networks import Network
from upscaling.superres.tiling import AUTOMATIC, tile_size
from upscaling.superres.upscaler import Upscaler

_STAGE, _MERGE = "stage", "merge"
_REST = "Python, and what is not listed"
_OPERATORS = {
    "aten::mkldnn_convolution": "convolutions",
    "aten::cudnn_convolution": "convolutions",
    "aten::_slow_conv2d_forward": "convolutions",
    "aten::cat": "concatenation",
    "aten::leaky_relu": "activation",
    "aten::leaky_relu_": "activation",
    "aten::_prelu_kernel": "activation",
    "aten::mul": "residuals",
    "aten::add": "residuals",
    "aten::upsample_nearest2d": "nearest enlargement",
    "aten::pixel_shuffle": "pixel shuffle",
    "aten::copy_": "copies",
}
_TILING = {"aten::cat": "joining tiles", "aten::copy_": "cutting tiles and halos", "aten::sum": "looking for NaN"}
_OPENVINO = {
    "Convolution": "convolutions",
    "Concatenation": "concatenation",
    "Concat": "concatenation",
    "Interpolate": "nearest enlargement",
    "Add": "residuals",
    "Subgraph": "residuals",
    "Reorder": "copies",
}


def ours(upscaler: Upscaler, image: Image) -> Counter[str]:
    """Seconds by kind of work, what no operator accounts for included."""
    tile = tile_size(AUTOMATIC, upscaler.load(upscaler.dtype).device, image.width)
    marked = changed(upscaler, _marked)
    seconds(marked, image, tile)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        whole = seconds(marked, image, tile)
    taken: Counter[str] = Counter()
    for event in profiled.events():
        if event.name in (_STAGE, _MERGE):
            continue
        taken[_kind(event)] += event.self_cpu_time_total / 1e6
    named = Counter({name: spent for name, spent in taken.items() if name != _REST})
    named[_REST] = whole - named.total()
    return named


def openvino(job: Job, image: Image, precision: str) -> tuple[str, Counter[str]]:
    """The type that was computed in, and seconds by kind of work as OpenVINO counts them."""
    from contenders.with_openvino import compiled, converted

    planes = np.ascontiguousarray(image.pixels.transpose(2, 0, 1)[None], dtype=np.float32) / 255
    model = compiled(converted(job), planes.shape, {"INFERENCE_PRECISION_HINT": precision, "PERF_COUNT": "YES"})
    request = model.create_infer_request()
    for _ in range(2):
        request.infer([planes])
    taken: Counter[str] = Counter()
    for node in request.profiling_info:
        taken[_OPENVINO.get(node.node_type, _REST)] += node.real_time.total_seconds()
    return model.get_property("INFERENCE_PRECISION_HINT").to_string(), taken


def main(arguments: list[str]) -> int:
    options = _parsed(arguments)
    entry = weights.entry(options.network) if options.network else weights.of_model(options.model)[0]
    baked = ROOT / "models" / options.model / "weights"
    image = picture(options.size, options.size)
    busy = load()
    upscaler = upscalers(options.model).get(entry.name)
    columns = {f"ours, {name_of(upscaler.load(upscaler.dtype).dtype)}": ours(upscaler, image)}
    for precision in options.openvino:
        job = Job(network=entry.name, baked=baked, source=Path(), warm_up=Path(), target=Path())
        used, taken = openvino(job, image, precision)
        columns[f"OpenVINO, {used}"] = taken
    kinds = sum(columns.values(), Counter[str]())
    rows = [[name, *(_share(taken, name) for taken in columns.values())] for name, _ in kinds.most_common()]
    measured = "\n\n".join(
        [
            f"{entry.name}, {options.size}×{options.size}, the network only, {threads()} threads: milliseconds, and"
            f" their share; load before the run {busy}.",
            table(
                ["", *columns],
                [*rows, ["together", *(f"{taken.total() * 1000:,.0f}" for taken in columns.values())]],
            ),
            description("torch", "openvino"),
        ]
    )
    print(measured)
    if options.write:
        put(README, "profile", kind(), measured)
    return 0


def _marked(network: Network) -> Network:
    """The same network, its stages under names of their own in a profile."""
    stages = tuple(
        replace(stage, run=_under(_STAGE, stage.run), merge=stage.merge and _under(_MERGE, stage.merge))
        for stage in network.stages
    )
    return replace(network, stages=stages)


def _under(name: str, run: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def marked(*given: torch.Tensor) -> torch.Tensor:
        with record_function(name):
            return run(*given)

    return marked


def _kind(event: Any) -> str:
    above = event.cpu_parent
    while above is not None and above.name not in (_STAGE, _MERGE):
        above = above.cpu_parent
    return (_OPERATORS if above is not None else _TILING).get(event.name, _REST)


def _share(taken: Counter[str], name: str) -> str:
    return f"{taken[name] * 1000:,.0f} ({taken[name] / taken.total():.1%})" if name in taken else ""


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench PART=profiles", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--network", help="one of the model's networks; by default its first")
    parser.add_argument("--size", type=int, default=192, help="side of the picture in pixels")
    parser.add_argument("--openvino", nargs="*", choices=("f32", "bf16", "f16"), default=["f32", "bf16"])
    parser.add_argument("--no-write", dest="write", action="store_false", help="prints only")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
