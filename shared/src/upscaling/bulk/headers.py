"""A look at the headers of all pictures, which estimates the work of a job without doing it."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from upscaling.bulk import results
from upscaling.bulk.arrow import compute
from upscaling.bulk.places import Place
from upscaling.bulk.report import duration
from upscaling.errors import UpscalingError
from upscaling.images import MEGAPIXEL, Limits, probe

_BEGINNING = 1 << 20  # bytes, in which most files have their header
_THREADS = 16  # because a bucket answers slowly
_AT_ONCE = 1000  # pictures that are given to the threads, which takes memory for each


@dataclass
class Estimate:
    """What the headers say."""

    megapixels: float = 0.0
    readable: int = 0
    failed: Counter[str] = field(default_factory=Counter[str])
    """By error code."""


def estimate(source: Place, work: Any) -> Estimate:
    """Reads the header of every picture in a table of `Plan.work`."""
    found = Estimate()
    limits = Limits.from_environment()
    with ThreadPoolExecutor(_THREADS) as threads:
        for some in work.select(["input"]).to_batches(max_chunksize=_AT_ONCE):
            for outcome in threads.map(partial(_look, source, limits), some["input"].to_pylist()):
                if isinstance(outcome, str):
                    found.failed[outcome] += 1
                else:
                    found.readable += 1
                    found.megapixels += outcome
    return found


def text(found: Estimate, target: Place, arguments: str) -> str:
    """The estimate for people, with the time that earlier runs with the same arguments suggest."""
    lines = [f"{found.readable} pictures with a readable header, {found.megapixels:.1f} MP."]
    lines += [f"  {code}: {count}" for code, count in found.failed.most_common()]
    speed = _seconds_per_megapixel(target, arguments)
    if speed is None:
        lines.append("The time is not known: no earlier run with these inputs has done a picture.")
    else:
        lines.append(f"At {speed:.2f} s per MP, as before: {duration(speed * found.megapixels)} of one worker's time.")
    return "\n".join(lines)


def _look(source: Place, limits: Limits, path: str) -> float | str:
    """The megapixels of a picture, or the code of an error."""
    try:
        with tempfile.NamedTemporaryFile() as copy:
            copy.writelines(_beginning(source.read(path)))
            copy.flush()
            try:
                header = probe(Path(copy.name), limits)
            except UpscalingError:
                # The header may be further behind.
                copy.seek(0)
                copy.writelines(source.read(path))
                copy.flush()
                header = probe(Path(copy.name), limits)
    except UpscalingError as error:
        return str(error.code)
    return header.width * header.height / MEGAPIXEL


def _beginning(parts: Iterator[bytes]) -> Iterator[bytes]:
    read = 0
    for part in parts:
        yield part
        read += len(part)
        if read >= _BEGINNING:
            return


def _seconds_per_megapixel(target: Place, arguments: str) -> float | None:
    table = results.read(target, ["seconds", "input_width", "input_height", "outcome", "arguments"])
    for column, value in (("outcome", "done"), ("arguments", arguments)):
        table = table.filter(compute.equal(table[column], value))
    if not table.num_rows:
        return None
    pixels = compute.sum(compute.multiply(table["input_width"], table["input_height"])).as_py()
    return compute.sum(table["seconds"]).as_py() / (pixels / MEGAPIXEL)
