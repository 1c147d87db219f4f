"""Checks of the values of inputs, by tables of their limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from upscaling.diffusion.noise import LARGEST_SEED
from upscaling.errors import Code, UpscalingError
from upscaling.superres.tiling import check_tile_size
from upscaling.values import number, shown, truth, whole_of_64_bits

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Options = TypeVar("_Options", bound="DataclassInstance")
_Number = TypeVar("_Number", bound=float)

_LONGEST_PROMPT = 100_000  # characters


@dataclass(frozen=True)
class InputLimits:
    """What each of a model's inputs may be, by name; `seed` and `tile_size`, which all have, are not listed."""

    numbers: Mapping[str, tuple[float, float]]
    whole_numbers: Mapping[str, tuple[int, int]]
    choices: Mapping[str, Collection[str]]
    truths: Collection[str]
    texts: Collection[str]
    automatic: Collection[str] = field(default=())
    """Whole numbers that may be 0 too, which is below their limits."""


def within_limits(options: _Options, limits: InputLimits) -> _Options:
    """The options in their declared types; raises E_INPUT for an invalid one, by its name and with its limits.

    Names of samplers, schedulers, checkpoints and LoRAs are checked where they are looked up.
    """
    given = asdict(options)
    numbers = {name: _within(name, number(name, given[name]), *most) for name, most in limits.numbers.items()}
    whole_numbers = {
        name: _whole_within(name, given[name], most, name in limits.automatic)
        for name, most in limits.whole_numbers.items()
    }
    for name in limits.truths:
        truth(name, given[name])
    for name in (*limits.texts, *limits.choices):
        _check_text(name, given[name])
    for name, choices in limits.choices.items():
        if given[name] not in choices:
            raise UpscalingError(Code.INPUT, f"{name} is {shown(given[name])}; take one of {', '.join(choices)}.")
    tile_size = whole_of_64_bits("tile_size", given["tile_size"])
    check_tile_size(tile_size)
    seed = given["seed"]
    if seed is not None:
        seed = _within("seed", whole_of_64_bits("seed", seed), 0, LARGEST_SEED)
    return replace(options, **numbers, **whole_numbers, tile_size=tile_size, seed=seed)


def _whole_within(name: str, given: Any, limits: tuple[int, int], may_be_0: bool) -> int:
    value = whole_of_64_bits(name, given)
    if may_be_0 and value == 0:
        return 0
    return _within(name, value, *limits, "0 for automatic, or " if may_be_0 else "")


def _within(name: str, value: _Number, least: float, most: float, otherwise: str = "") -> _Number:
    if not least <= value <= most:
        raise UpscalingError(Code.INPUT, f"{name} is {shown(value)}; take {otherwise}{least} to {most}.")
    return value


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise UpscalingError(Code.INPUT, f"{name} is {shown(value)}; take a text.")
    if len(value) > _LONGEST_PROMPT:
        raise UpscalingError(Code.INPUT, f"{name} has {len(value)} characters; take {_LONGEST_PROMPT} at most.")
