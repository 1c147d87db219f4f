"""One request: a file in, a file out, its figures on the way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import starmap
from pathlib import Path
from time import perf_counter
from typing import TypeVar

from upscaling import weights
from upscaling.errors import Code, UpscalingError
from upscaling.images import (
    MEGAPIXEL,
    Image,
    Limits,
    OutputFormat,
    PngHeader,
    check_output,
    decode,
    encode,
    in_grey,
    probe,
    with_alpha,
    write_png,
)
from upscaling.runtime.memory import give_back, memory_errors_coded
from upscaling.superres.library import Library
from upscaling.superres.tiling import Tally, tile_size
from upscaling.superres.upscaler import Rows, collect
from upscaling.values import number, shown, small, whole

logger = logging.getLogger(__name__)

LARGEST_SCALE = 10.0

_Item = TypeVar("_Item")
Record = Callable[[str, float | int | str], None]


@dataclass(frozen=True)
class Request:
    """What a caller asked for; `upscale_file` checks it, since a server without its schema does not."""

    network: str
    scale: float = 4.0
    """Output size over input size, above 0 and at most 10."""
    width: int | None = None
    """Pixels; overrides `scale`. With only one of width and height, the other follows the aspect."""
    height: int | None = None
    tile_size: int = 0
    """Pixels of the input, 32–2048; 0 is automatic."""
    output_format: str = "png"
    output_quality: int = 95
    denoise_strength: float | None = None
    """0–1, for a network with a twin only; None is 0.5 there."""
    second_pass: bool = False
    """Whether the network runs again on its own result where that is smaller than what was asked for."""
    seamless: bool = False
    """Whether the picture continues with itself on all sides."""


def upscale_file(
    source: Path, folder: Path, request: Request, library: Library, record: Record, progress: Callable[[float], object]
) -> Path:
    """Enlarges the picture in `source` to a new file output.<ext> in `folder`.

    record takes metrics by name, progress the share of the work done, 0–1. All that can be known to
    fail from the request and the file's header fails before the network runs.
    """
    try:
        return _upscaled(source, folder, request, library, record, progress)
    finally:
        give_back()


def _upscaled(
    source: Path, folder: Path, request: Request, library: Library, record: Record, progress: Callable[[float], object]
) -> Path:
    limits = Limits.from_environment()
    request = _checked(request, limits)
    upscaler = replace(
        library.upscaler(request.network, request.denoise_strength),
        passes=2 if request.second_pass else 1,
        beyond="wrap" if request.seamless else "edge",
    )
    header = probe(source, limits)
    input_width, input_height = header.width, header.height
    tile = tile_size(request.tile_size, library.device, input_width)
    width, height = target_size(request, input_width, input_height)
    limits.check_output(width, height, input_width, input_height)
    output_format = check_output(request.output_format, request.output_quality, width, height)
    for name, pixels in (("input", (input_width, input_height)), ("output", (width, height))):
        record(f"{name}_width", pixels[0])
        record(f"{name}_height", pixels[1])

    path = folder / f"output.{output_format}"
    with memory_errors_coded(f"a result of {width}×{height} pixels"):
        started = perf_counter()
        image = _as_taken(decode(source, limits), library.entry(request.network))
        record("seconds_decoding", _since(started))

        started = perf_counter()
        tally, computing = Tally(on_progress=progress), _Stopwatch()

        def write(rows: Rows) -> None:
            rows = computing.around(rows)
            if output_format is OutputFormat.PNG:
                write_png(path, PngHeader.of(image, width, height), starmap(with_alpha, rows))
            else:
                encode(collect(image, width, height, rows), path, output_format, request.output_quality)

        upscaler.into(write, image, width, height, tile, tally)
    record("seconds_computing", round(computing.seconds, 4))
    record("seconds_encoding", round(perf_counter() - started - computing.seconds, 4))
    record("tiles", tally.tiles)
    record("retries", tally.retries)
    record("device", str(library.device))
    record("dtype", str(tally.dtype).removeprefix("torch."))
    record("weights", library.source(request.network, request.denoise_strength))
    return path


def target_size(request: Request, width: int, height: int) -> tuple[int, int]:
    """The output's (width, height) for an input's; halves round to even, no side is below 1."""
    if request.width and request.height:
        return request.width, request.height
    if request.width:
        return request.width, max(round(height * request.width / width), 1)
    if request.height:
        return max(round(width * request.height / height), 1), request.height
    return max(round(width * request.scale), 1), max(round(height * request.scale), 1)


def _as_taken(image: Image, network: weights.Entry) -> Image:
    """The picture with no more channels than the network takes."""
    if image.is_grey or network.channels > 1:
        return image
    logger.info("The picture is in colour and %s takes grey only: it is converted to grey.", network.name)
    return in_grey(image)


def _checked(request: Request, limits: Limits) -> Request:
    """The request with its values in the types they are declared in, as far as they can be had."""
    for name, value in (("model", request.network), ("output_format", request.output_format)):
        if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]  a server may not have checked
            raise UpscalingError(Code.INPUT, f"{name} is {shown(value)}; take one of its names.")
    if not 0 < number("scale", request.scale) <= LARGEST_SCALE:
        raise UpscalingError(
            Code.INPUT, f"scale is {shown(request.scale)}; take a factor above 0 and up to {LARGEST_SCALE:g}."
        )
    for name, value in (("second_pass", request.second_pass), ("seamless", request.seamless)):
        if not isinstance(value, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  as above
            raise UpscalingError(Code.INPUT, f"{name} is {shown(value)}; take true or false.")
    strength = request.denoise_strength
    if strength is not None and not 0 <= number("denoise_strength", strength) <= 1:
        raise UpscalingError(Code.INPUT, f"denoise_strength is {shown(strength)}; take 0 to 1, or leave it out.")
    return replace(
        request,
        width=_side("width", request.width, limits),
        height=_side("height", request.height, limits),
        tile_size=small("tile_size", request.tile_size),
        output_quality=small("output_quality", request.output_quality),
    )


def _side(name: str, value: float | None, limits: Limits) -> int | None:
    if value is None:
        return None
    pixels = whole(name, value)
    if pixels < 1:
        raise UpscalingError(Code.INPUT, f"{name} is {shown(pixels)}; take a number from 1 on, or leave it out.")
    if pixels > limits.output_megapixels * MEGAPIXEL:
        raise UpscalingError(
            Code.TOO_LARGE, f"{name} is {shown(pixels)}; the result has {limits.output_megapixels:g} MP at most."
        )
    return pixels


class _Stopwatch:
    """Counts the time that an iterator takes, while what it gives is used in between."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, items: Iterator[_Item]) -> Iterator[_Item]:
        while True:
            started = perf_counter()
            item = next(items, None)
            self.seconds += perf_counter() - started
            if item is None:
                return
            yield item
            del item  # this frame stays alive while the next one is made


def _since(started: float) -> float:
    return round(perf_counter() - started, 4)
