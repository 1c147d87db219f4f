"""Our PNG writer beside others', on an enlarged photograph; written to benchmarks/README.md.

Usage: python benchmarks/png.py MODEL [--size 4096] [--pairs 5] [--no-write]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter

import cv2
import numpy as np
import PIL.Image
from harness import ratio
from machine import description, kind, load, threads
from networks import picture, upscalers
from numpy.typing import NDArray
from report import README, put, table

from upscaling.images import PngHeader, write_png
from upscaling.images.vips import pyvips
from upscaling.superres.tiling import AUTOMATIC, tile_size

Pixels = NDArray[np.uint8]
Writer = Callable[[Pixels, Path], object]

_NETWORK = "realesr-animevideov3"  # the fastest
_SCALE = 4
_BAND = 512  # rows that come at a time, as a network of ×4 hands them on with tiles of 128
_OURS = "ours"


def enlarged_photo(model: str, size: int) -> Pixels:
    """Content as it is written in earnest: sharp edges and smooth areas that a network made."""
    opened = upscalers(model)
    image = picture(size // _SCALE, size // _SCALE)
    upscaler = opened.get(_NETWORK)
    pixels = upscaler.upscale(image, size, size, tile_size(AUTOMATIC, opened.device, image.width)).pixels
    return pixels.astype(np.uint8, copy=False)


def writers() -> dict[str, Writer]:
    """Everyone by name, ours first once it is there."""
    others: dict[str, Writer] = {
        "Pillow, default (6)": lambda pixels, path: PIL.Image.fromarray(pixels).save(path),
        "Pillow, level 1": lambda pixels, path: PIL.Image.fromarray(pixels).save(path, compress_level=1),
        "OpenCV, default": lambda pixels, path: cv2.imwrite(str(path), pixels[..., ::-1]),
        "OpenCV, level 1": _opencv_at_level_1,
        "pyvips, compression 1": lambda pixels, path: _with_pyvips(pixels, path, 1),
        "pyvips, default (6)": lambda pixels, path: _with_pyvips(pixels, path, 6),
    }
    return {_OURS: _with_ours, **others} if find_spec("upscaling.images.png") else others


def main(arguments: list[str]) -> int:
    options = _parsed(arguments)
    pixels = enlarged_photo(options.model, options.size)
    busy = load()
    taken: dict[str, dict[int, float]] = {name: {} for name in writers()}
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "written.png"
        for index in range(-1, options.pairs):  # the first warms up
            for name, write in writers().items():
                path.unlink(missing_ok=True)
                started = perf_counter()
                write(pixels, path)
                taken[name][index] = perf_counter() - started
                if index < 0:
                    sizes[name] = path.stat().st_size
                    if not np.array_equal(np.asarray(PIL.Image.open(path)), pixels):
                        raise AssertionError(f"{name} wrote other pixels")
    for each in taken.values():
        del each[-1]
    base = next(iter(taken))
    measured = "\n\n".join(
        [
            f"{options.size}×{options.size} RGB, {pixels.nbytes / 1e6:.1f} MB of pixels made by {_NETWORK}, to a file,"
            f" median of {options.pairs} (least–most), {threads()} threads; load before the run {busy}.",
            table(
                ["writer", "seconds", f"÷ {base}", "MB"],
                [
                    [name, f"{median(each.values()):.3f}", str(ratio(each, taken[base])), f"{sizes[name] / 1e6:.1f}"]
                    for name, each in taken.items()
                ],
            ),
            description("isal", "pillow", "opencv-python-headless", "pyvips", "pyvips-binary"),
        ]
    )
    print(measured)
    if options.write:
        put(README, "png", kind(), measured)
    return 0


def _with_ours(pixels: Pixels, path: Path) -> None:
    height, width, channels = pixels.shape
    write_png(path, PngHeader(width, height, channels, bits=8), _bands(pixels))


def _bands(pixels: Pixels) -> Iterator[Pixels]:
    for top in range(0, len(pixels), _BAND):
        yield pixels[top : top + _BAND]


def _opencv_at_level_1(pixels: Pixels, path: Path) -> None:
    cv2.imwrite(str(path), pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])


def _with_pyvips(pixels: Pixels, path: Path, compression: int) -> None:
    height, width, bands = pixels.shape
    pyvips.Image.new_from_memory(pixels.data, width, height, bands, "uchar").pngsave(str(path), compression=compression)


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench PART=png", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--size", type=int, default=4096, help="side of the picture that is written, in pixels")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each writer")
    parser.add_argument("--no-write", dest="write", action="store_false", help="prints only")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
