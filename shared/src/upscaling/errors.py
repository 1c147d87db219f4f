"""The one error that leaves this package, and the list of its codes."""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """What went wrong, in a word that callers can match on."""

    DECODE = "E_DECODE"
    """The file is damaged, truncated or empty."""
    FORMAT = "E_FORMAT"
    """The file is whole, but of a kind that is not read or not written."""
    TOO_LARGE = "E_TOO_LARGE"
    """The picture, as given or as asked for, is above a limit."""
    INPUT = "E_INPUT"
    """An input other than the picture itself has a value that cannot be used."""
    WEIGHTS = "E_WEIGHTS"
    """The weights of a network cannot be had, or are not what they should be."""
    DEVICE = "E_DEVICE"
    """The device that was insisted on is not usable."""
    MEMORY = "E_MEMORY"
    """Memory ran out, and smaller tiles did not help."""
    NONFINITE = "E_NONFINITE"
    """The network produced NaN or infinity, in fp32 too."""
    ENCODE = "E_ENCODE"
    """The finished picture could not be written."""


class UpscalingError(Exception):
    """A failure that the caller can act on: what was wrong, the value, what to do."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
