"""The table of results, a folder of Parquet files beside the results: one row for each picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from upscaling.bulk.arrow import arrow, compute, parquet
from upscaling.bulk.places import Place
from upscaling.errors import Code, UpscalingError

FOLDER = "results.parquet"
CALLERS_CODES = (Code.FORMAT, Code.DECODE, Code.INPUT, Code.TOO_LARGE)
"""Codes that the picture or the inputs cause. A second run would find them again."""
_FIRST, _LONGEST = 1.0, 10.0  # seconds between two parts: a tenth of the time so far, within these limits
_MOST_ROWS = 10_000  # of a part
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
    "seed": _COUNT,
    "weights": _TEXT,
    "model": _TEXT,
    "arguments": _TEXT,
    "ended": arrow.timestamp("us", "UTC"),
})  # fmt: skip


class Parts:
    """Adds rows to the table, in a part every few seconds."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._rows: list[dict[str, Any]] = []
        self._written = 0
        self._name = f"{FOLDER}/part-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        self._started = monotonic()
        self._due = self._started + _FIRST

    def add(self, row: dict[str, Any]) -> None:
        """Adds a row; keys that are no column are left out."""
        self._rows.append({name: row.get(name) for name in SCHEMA.names})

    def write_if_due(self) -> None:
        """Writes the rows that wait, if the last part was written some seconds ago; raises E_ENCODE."""
        if monotonic() >= self._due or len(self._rows) >= _MOST_ROWS:
            self.write()

    def write(self) -> None:
        """Writes the rows that wait; raises E_ENCODE."""
        if self._rows:
            table = arrow.Table.from_pylist(self._rows, SCHEMA)
            _put(self._place, f"{self._name}-{self._written:06}.parquet", table)
            self._written += 1
            self._rows = []
        now = monotonic()
        self._due = now + min(max((now - self._started) / 10, _FIRST), _LONGEST)


def read(place: Place, columns: Sequence[str]) -> Any:
    """Some columns of the whole table, in the order of the parts."""
    return arrow.concat_tables([SCHEMA.empty_table().select(columns), *_each(place, parts(place), columns)])


def parts(place: Place) -> list[str]:
    """The paths of the parts, in order."""
    paths: list[str] = place.files(FOLDER)["path"].to_pylist()
    return sorted(path for path in paths if path.startswith(f"{FOLDER}/part-") and path.endswith(".parquet"))


def drop(place: Place, is_dropped: Any) -> None:
    """Removes rows from the table: a boolean for each row of `read`. Every part is replaced at once or not at all."""
    at = 0
    names = parts(place)
    for name, table in zip(names, _each(place, names, SCHEMA.names), strict=True):
        dropped = is_dropped.slice(at, table.num_rows)
        at += table.num_rows
        if not compute.any(dropped).as_py():
            continue
        kept = table.filter(compute.invert(dropped))
        if kept.num_rows:
            _put(place, name, kept)
        else:
            place.remove(name)


def _each(place: Place, names: list[str], columns: Sequence[str]) -> Iterator[Any]:
    for name in names:
        try:
            with place.open(name) as file:
                yield parquet.read_table(file, columns=list(columns))
        except (OSError, ValueError) as error:
            raise UpscalingError(
                Code.INPUT, f"{name} in {place.address} is no readable part of the table ({error}). Remove it."
            ) from error


def _put(place: Place, name: str, table: Any) -> None:
    buffer = arrow.BufferOutputStream()
    parquet.write_table(table, buffer)
    place.put(name, buffer.getvalue())
