"""A picture far larger than memory would hold as tensors; its peak memory is written to benchmarks/README.md.

Usage: python benchmarks/large.py MODEL [--width 8000] [--height 6000] [--tile WIDTH HEIGHT] [--to png] [--no-write]

Memory follows the width, so that --height 600 tells nearly the same in a tenth of the time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

from machine import description, kind, load, peak_resident_memory
from networks import name_of, upscalers
from pictures import write_photo
from report import README, put, table

from upscaling.images import Limits, PngHeader, Rows, Size, decode, write_png
from upscaling.runtime.attempts import first_finite
from upscaling.runtime.progress import Progress
from upscaling.superres.tiling import AUTOMATIC, TileSize, tile_size

_NETWORK = "realesr-animevideov3"
_SCALE = 4


@dataclass(frozen=True)
class Seen:
    """What one process took for one picture."""

    seconds: float
    peak_before: int
    """Bytes that Python, torch and the network take before the picture is read."""
    peak: int
    dtype: str
    tile: str
    output: int
    """Bytes of the file; 0 where the rows were dropped."""


def enlarge(model: str, source: Path, target: Path | None, tile: TileSize | None) -> Seen:
    """Enlarges a file by four, in automatic tiles unless told; its rows go into a PNG, or nowhere."""
    opened = upscalers(model)
    upscaler = opened.get(_NETWORK)
    upscaler.load(upscaler.dtype)
    before = peak_resident_memory()
    started = perf_counter()
    image = decode(source, Limits())
    tile = tile or tile_size(AUTOMATIC, opened.device, image.width)
    size = Size(image.width * _SCALE, image.height * _SCALE)

    def take(rows: Rows) -> None:
        colours = (colour for colour, _ in rows)
        if target is None:
            deque(colours, maxlen=0)
        else:
            write_png(target, PngHeader(*size, channels=3, bits=8), colours)

    first_finite(upscaler.attempts(image, size, tile, Progress()), take)
    return Seen(
        seconds=perf_counter() - started,
        peak_before=before,
        peak=peak_resident_memory(),
        dtype=name_of(upscaler.dtype_for(image)),
        tile=f"{tile.width}×{tile.height}",
        output=target.stat().st_size if target is not None else 0,
    )


def main(arguments: list[str]) -> int:
    options = _parsed(arguments)
    busy = load()
    with tempfile.TemporaryDirectory() as folder:
        source = write_photo(Path(folder) / "photo.jpg", options.width, options.height)
        target = Path(folder) / "output.png" if options.to == "png" else None
        tile = TileSize(*options.tile) if options.tile else None
        # A process of its own, which has held nothing else.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            seen = pool.submit(enlarge, options.model, source, target, tile).result()
    megapixels = options.width * options.height * _SCALE**2 / 1e6
    goes = f"a PNG of {seen.output / 1e6:,.0f} MB" if seen.output else "rows that are dropped"
    measured = "\n\n".join(
        [
            f"{_NETWORK} in {seen.dtype}, tiles of {seen.tile}, from a JPEG to {goes}, in a process of its own;"
            f" load before the run {busy}.",
            table(
                ["input", "output", "seconds", "output MP/s", "peak memory, MiB", "of it before the picture"],
                [[f"{options.width}×{options.height}", f"{options.width * _SCALE}×{options.height * _SCALE}",
                  f"{seen.seconds:.0f}", f"{megapixels / seen.seconds:.1f}",
                  f"{seen.peak / 2**20:,.0f}", f"{seen.peak_before / 2**20:,.0f}"]],
            ),
            description("torch", "pyvips-binary"),
        ]
    )  # fmt: skip
    print(measured)
    if options.write:
        put(README, "large", f"{kind()} {options.to}", measured)
    return 0


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench PART=large", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--width", type=int, default=8000, help="of the input, in pixels")
    parser.add_argument("--height", type=int, default=6000, help="of the input, in pixels")
    parser.add_argument("--tile", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="instead of the automatic one")
    parser.add_argument("--to", choices=("rows", "png"), default="rows", help="where the enlarged rows go")
    parser.add_argument("--no-write", dest="write", action="store_false", help="prints only")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
