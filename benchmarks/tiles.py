"""Time over tile widths × heights, from which the automatic tile is chosen; written to benchmarks/README.md.

Usage: python benchmarks/tiles.py MODEL [--size 512] [--pairs 3] [--widths …] [--heights …] [--no-write]

An RRDBNet is timed with one block and with a few; the whole is reckoned from both, since all blocks are alike.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from itertools import product
from statistics import median

from machine import description, device, kind, load
from networks import blocks, changed, name_of, picture, seconds, shortened, upscalers
from report import README, put, table

from upscaling import weights
from upscaling.images import Image
from upscaling.superres.tiling import AUTOMATIC, TileSize, tile_size
from upscaling.superres.upscaler import Upscaler

_BLOCKS_MORE = 2
_SIDES = {"cpu": ((64, 128, 192, 256, 384, 512), (32, 64, 128, 256, 512)),
          "cuda": ((256, 512, 1024, 2048), (128, 256, 512, 1024, 2048))}  # fmt: skip


def whole(upscaler: Upscaler, image: Image, tile: TileSize) -> float:
    """Seconds of the whole network, from a part of it where that will do."""
    count = blocks(upscaler.load(upscaler.dtype))
    if count <= 1 + _BLOCKS_MORE:
        return seconds(upscaler, image, tile)
    one, few = (
        seconds(changed(upscaler, partial(shortened, kept=kept)), image, tile) for kept in (1, 1 + _BLOCKS_MORE)
    )
    return one + (few - one) / _BLOCKS_MORE * (count - 1)


def main(arguments: list[str]) -> int:
    options = _parsed(arguments)
    entry = weights.entry(options.network) if options.network else weights.of_model(options.model)[0]
    opened = upscalers(options.model)
    upscaler = opened.get(entry.name)
    image = picture(options.size, options.size)
    automatic = tile_size(AUTOMATIC, opened.device, image.width)
    tiles = [TileSize(*sides, automatic.band) for sides in product(options.widths, options.heights)]
    busy = load()
    ratios: dict[TileSize, list[float]] = {tile: [] for tile in tiles}
    automatic_seconds: list[float] = []
    whole(upscaler, picture(64, 64), automatic)  # warms up
    for done in range(options.pairs):
        for tile in tiles:
            base, own = whole(upscaler, image, automatic), whole(upscaler, image, tile)
            automatic_seconds.append(base)
            ratios[tile].append(own / base)
            print(f"pair {done + 1}, {tile.width}×{tile.height}: {own / base:.2f}", file=sys.stderr, flush=True)
    dtype = name_of(upscaler.load(upscaler.dtype).dtype)
    measured = "\n\n".join(
        [
            f"{entry.name} in {dtype}, {options.size}×{options.size}: how many times as long as the"
            f" automatic tile, {automatic.width}×{automatic.height}, run just before and"
            f" {median(automatic_seconds):.2f} s long; median of {options.pairs}; load before the run {busy}.",
            table(
                ["tile width ↓ height →", *map(str, options.heights)],
                [[str(width), *(f"{median(ratios[tile]):.2f}" for tile in tiles if tile.width == width)]
                 for width in options.widths],
            ),
            description("torch"),
        ]
    )  # fmt: skip
    print(measured)
    if options.write:
        put(README, "tiles", kind(), measured)
    return 0


def _parsed(arguments: list[str]) -> argparse.Namespace:
    widths, heights = _SIDES[device()]
    parser = argparse.ArgumentParser(prog="make bench PART=tiles", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--network", help="one of the model's networks; by default its first")
    parser.add_argument("--size", type=int, default=512, help="side of the picture in pixels")
    parser.add_argument("--pairs", type=int, default=3, help="runs of each tile")
    parser.add_argument("--widths", type=int, nargs="+", default=widths)
    parser.add_argument("--heights", type=int, nargs="+", default=heights)
    parser.add_argument("--no-write", dest="write", action="store_false", help="prints only")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
