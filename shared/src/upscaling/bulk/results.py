"""The table of results, a folder of Parquet files beside the results: one row for each picture.

A picture that is done again has a newer row too, until the parts are tidied up; the last one counts. Until then the
parts are small: a job of a week writes 60,000.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any

import numpy as np

from upscaling.bulk.arrow import arrow, parquet
from upscaling.bulk.places import Place
from upscaling.errors import Code, UpscalingError

logger = logging.getLogger(__name__)

FOLDER = "results.parquet"
CALLERS_CODES = (Code.FORMAT, Code.DECODE, Code.INPUT, Code.TOO_LARGE)
"""Codes that the picture or the inputs cause. A second run would find them again."""
_FIRST, _LONGEST = 1.0, 10.0  # seconds between two parts: a tenth of the time so far, within these limits
_MOST_ROWS = 10_000  # of a part
_MOST_MERGED = 100_000  # rows, each of which takes about 1 KiB of memory while parts are merged
_THREADS = 16  # because a bucket answers slowly
_TEXT, _COUNT, _SECONDS = arrow.string(), arrow.int64(), arrow.float64()
SCHEMA = arrow.schema({
    "input": _TEXT,  # paths are relative to the two places
    "input_bytes": _COUNT,
    "input_modified": _COUNT,  # nanoseconds since 1970
    "input_width": _COUNT,
    "input_height": _COUNT,
    "output": _TEXT,
    "output_bytes": _COUNT,
    "output_width": _COUNT,
    "output_height": _COUNT,
    "outcome": _TEXT,  # done or failed
    "code": _TEXT,  # of the error, as in `errors.Code`
    "error": _TEXT,
    "seconds": _SECONDS,  # from the first byte that is read to the last that is written
    "seconds_decoding": _SECONDS,
    "seconds_computing": _SECONDS,
    "seconds_encoding": _SECONDS,
    "device": _TEXT,
    "dtype": _TEXT,
    "seed": _TEXT,  # up to 2^64 - 1
    "weights": _TEXT,
    "model": _TEXT,
    "arguments": _TEXT,
    "ended": arrow.timestamp("us", "UTC"),
})  # fmt: skip
_ARGUMENTS = "arguments"  # hundreds of bytes, which nearly all rows have in common
_READ = SCHEMA.set(
    SCHEMA.get_field_index(_ARGUMENTS), arrow.field(_ARGUMENTS, arrow.dictionary(arrow.int32(), arrow.string()))
)


class Parts:
    """Adds rows to the table, in a part every few seconds."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._rows: list[dict[str, Any]] = []
        self._written = 0
        self._name = f"{FOLDER}/part-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        self._started = monotonic()
        self._due = self._started + _FIRST
        self._failing = False

    def add(self, row: dict[str, Any]) -> None:
        """Adds a row; keys that are no column are left out."""
        kept = {name: row.get(name) for name in SCHEMA.names}
        self._rows.append(kept if kept["seed"] is None else {**kept, "seed": str(kept["seed"])})

    def write_if_due(self) -> None:
        """Writes the rows that wait, if the last part was written some seconds ago; if that fails, they wait on."""
        if monotonic() < self._due and (self._failing or len(self._rows) < _MOST_ROWS):
            return
        try:
            self._write()
        except UpscalingError as error:
            logger.warning("%s The rows are kept, and written later.", error.message)

    def close(self) -> None:
        """Writes the rows that wait; raises E_ENCODE."""
        waiting = len(self._rows)
        try:
            self._write()
        except UpscalingError as error:
            raise UpscalingError(
                error.code, f"{error.message} The table misses {waiting} pictures: run the job again, which does them."
            ) from error

    def _write(self) -> None:
        self._failing = True  # unless the end is reached
        now = monotonic()
        self._due = now + min(max((now - self._started) / 10, _FIRST), _LONGEST)
        if self._rows:
            table = arrow.Table.from_pylist(self._rows, SCHEMA)
            _put(self._place, f"{self._name}-{self._written:06}.parquet", table)
            self._written += 1
            self._rows = []
        self._failing = False


def read(place: Place, columns: Sequence[str]) -> Any:
    """Some columns of the table, with the last row of each picture; `arguments` is dictionary-encoded."""
    wanted = list(dict.fromkeys(("input", *columns)))
    table = arrow.concat_tables([_fields(wanted).empty_table(), *_each(place, parts(place), wanted)])
    return table.filter(_is_last(table["input"])).select(columns)


def parts(place: Place) -> list[str]:
    """The paths of the parts, in order."""
    paths: list[str] = place.files(FOLDER)["path"].to_pylist()
    return sorted(path for path in paths if path.startswith(f"{FOLDER}/part-") and path.endswith(".parquet"))


def tidy(place: Place) -> None:
    """Merges small parts, without older rows of pictures that have been done again, and with today's columns.

    If it is stopped at any moment, no row is lost, and another run does the rest. Raises E_ENCODE.
    """
    names = parts(place)
    inputs = [table["input"].combine_chunks() for table in _each(place, names, ["input"])]
    is_last = _is_last(arrow.chunked_array(inputs, arrow.string()))
    at, group, rows = 0, list[tuple[str, Any]](), 0
    for name, length in zip(names, map(len, inputs), strict=True):
        kept = is_last.slice(at, length)
        at += length
        if group and rows + length > _MOST_MERGED:
            _merge(place, group)
            group, rows = [], 0
        group.append((name, kept))
        rows += length
    if group:
        _merge(place, group)


def _merge(place: Place, group: list[tuple[str, Any]]) -> None:
    """Makes one part of several that follow each other, each given with the rows that it keeps, as booleans.

    It takes the place of the last one. Until the others are removed, they have older rows of the same pictures.
    """
    names = [name for name, _ in group]
    *others, last = names
    if not others and group[0][1].false_count == 0 and _schema(place, last) == SCHEMA:
        return
    needed = [(name, kept) for name, kept in group if kept.true_count]
    if needed:
        tables = zip(_each(place, [name for name, _ in needed], SCHEMA.names), needed, strict=True)
        _put(place, last, arrow.concat_tables([table.filter(kept) for table, (_, kept) in tables]).cast(SCHEMA))
    else:
        others = names
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(place.remove, others))


def _is_last(inputs: Any) -> Any:
    """For each row, by the pictures of all, whether there is none of the same picture behind it."""
    # Numbers instead of paths take a third of the memory that grouping by paths does.
    numbers = [chunk.indices.to_numpy() for chunk in inputs.dictionary_encode().chunks]
    pictures = np.concatenate([np.empty(0, np.int32), *numbers])
    last_at = np.zeros(len(pictures), np.int64)
    np.maximum.at(last_at, pictures, np.arange(len(pictures)))
    last = np.zeros(len(pictures), bool)
    last[last_at[pictures]] = True
    return arrow.array(last)


def _each(place: Place, names: list[str], columns: Sequence[str]) -> Iterator[Any]:
    with ThreadPoolExecutor(_THREADS) as threads:
        yield from threads.map(partial(_part, place, list(columns)), names)


def _part(place: Place, columns: list[str], name: str) -> Any:
    with _opened(place, name) as file:
        table = parquet.read_table(file, columns=columns, read_dictionary=[_ARGUMENTS])
    return table.cast(_fields(columns))  # seed was a number


def _fields(columns: list[str]) -> Any:
    return arrow.schema([_READ.field(name) for name in columns])


def _schema(place: Place, name: str) -> Any:
    with _opened(place, name) as file:
        return parquet.read_schema(file)


@contextmanager
def _opened(place: Place, name: str) -> Generator[Any]:
    try:
        with place.open(name) as file:
            yield file
    except (OSError, ValueError) as error:
        raise UpscalingError(
            Code.INPUT, f"{name} in {place.address} is no readable part of the table ({error}). Remove it."
        ) from error


def _put(place: Place, name: str, table: Any) -> None:
    buffer = arrow.BufferOutputStream()
    parquet.write_table(table, buffer)
    place.put(name, buffer.getvalue())
