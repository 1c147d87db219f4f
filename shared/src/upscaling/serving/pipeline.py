"""The pipeline of every request: decode, the model's work, encode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import starmap
from pathlib import Path
from time import perf_counter
from typing import TypeVar

from upscaling.images import (
    Image,
    Limits,
    OutputFormat,
    PngHeader,
    Rows,
    Size,
    check_format,
    collect,
    decode,
    encode,
    probe,
    with_alpha,
    write_png,
)
from upscaling.runtime.attempts import first_finite
from upscaling.runtime.memory import give_back, keep_freed_memory, memory_errors_coded
from upscaling.runtime.progress import Figure, Progress
from upscaling.serving.output import Output

_Item = TypeVar("_Item")

Work = Callable[[Image, Size, Progress], Iterable[Rows]]
"""What a model does with a picture. It yields the rows of the result, at a size.

It can yield several results, in the fastest type first: if the rows of one raise E_NONFINITE, the next one is used.
"""
Record = Callable[[str, Figure], None]


def as_it_is(image: Image) -> Image:
    """Returns the picture unchanged, for models that accept any picture."""
    return image


def process(
    source: Path,
    folder: Path,
    output: Output,
    work: Work,
    record: Record,
    progress: Progress,
    prepare: Callable[[Image], Image] = as_it_is,
) -> Path:
    """Processes the picture in `source` and writes the result to a new file output.<ext> in `folder`.

    record receives metrics by name. prepare converts the decoded picture to one that the work accepts; the result has
    the same channels, profile and resolution. The output and the header of the file are checked before decoding.
    """
    limits = Limits.from_environment()
    output = output.checked(limits)
    header = probe(source, limits)
    size = output.size(header.width, header.height)
    limits.check_output(size.width, size.height, header.width, header.height)
    path = folder / f"output.{check_format(output.format, output.quality, size.width, size.height)}"
    for name, (width, height) in (("input", (header.width, header.height)), ("output", size)):
        record(f"{name}_width", width)
        record(f"{name}_height", height)
    keep_freed_memory()
    try:
        with memory_errors_coded(f"a result of {size.width}×{size.height} pixels"):
            started = perf_counter()
            image = prepare(decode(source, limits))
            record("seconds_decoding", _since(started))

            started, computing = perf_counter(), _Stopwatch()
            write = partial(_write, path, image, size, output, computing)
            # Also around the attempts: some models compute before they have rows.
            first_finite(computing.around(iter(work(image, size, progress))), write)
            record("seconds_computing", round(computing.seconds, 4))
            record("seconds_encoding", round(perf_counter() - started - computing.seconds, 4))
    finally:
        give_back()
    for name, figure in progress.figures.items():
        record(name, figure)
    return path


def _write(path: Path, image: Image, size: Size, output: Output, computing: _Stopwatch, rows: Rows) -> None:
    """Encodes the rows: PNG while they are computed, other formats from the whole result."""
    rows = computing.around(rows)
    output_format = OutputFormat(output.format)
    if output_format is OutputFormat.PNG:
        write_png(path, PngHeader.of(image, *size), starmap(with_alpha, rows))
    else:
        encode(collect(image, size, rows), path, output_format, output.quality)


def _since(started: float) -> float:
    return round(perf_counter() - started, 4)


class _Stopwatch:
    """Measures the time spent inside an iterator, without the time between its items."""

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
            del item  # frees its memory while the next one is made
