"""Checks input values, because a server without its schema accepts any JSON."""

from __future__ import annotations

from upscaling.errors import Code, UpscalingError

_MOST_BITS = 64  # bits


def number(name: str, value: float) -> float:
    """Returns the value if it is a number; raises E_INPUT otherwise."""
    if not isinstance(value, int | float) or isinstance(value, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  a server may not have checked
        raise UpscalingError(Code.INPUT, f"{name} is {shown(value)}; take a number.")
    return value


def whole(name: str, value: float) -> int:
    """Returns the value as an integer if it is a whole number such as 64 or 64.0; raises E_INPUT otherwise."""
    # JSON Schema, and clients in some languages, treat 64.0 as an integer.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UpscalingError(Code.INPUT, f"{name} is {shown(value)}; take a whole number.")
    return value


def whole_of_64_bits(name: str, value: float) -> int:
    """Returns the value as an integer if it is a whole number of at most 64 bits; raises E_INPUT otherwise."""
    chosen = whole(name, value)
    if chosen.bit_length() > _MOST_BITS:
        raise UpscalingError(Code.INPUT, f"{name} is {shown(chosen)}; take a smaller number.")
    return chosen


def truth(name: str, value: bool) -> bool:
    """Returns the value if it is true or false; raises E_INPUT otherwise."""
    if not isinstance(value, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  a server may not have checked
        raise UpscalingError(Code.INPUT, f"{name} is {shown(value)}; take true or false.")
    return value


def one_of(name: str, value: float, choices: tuple[int, ...]) -> int:
    """Returns the value as an integer if it is one of the choices; raises E_INPUT otherwise."""
    chosen = whole(name, value)
    if chosen not in choices:
        *others, last = map(str, choices)
        raise UpscalingError(Code.INPUT, f"{name} is {shown(chosen)}; take {', '.join(others)} or {last}.")
    return chosen


def shown(value: object) -> str:
    """Returns a value as text for a message, shortened if it is long."""
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, str):
        return repr(value[:80])
    if isinstance(value, int | float) or value is None:
        return repr(value)
    return f"a {type(value).__name__}"
