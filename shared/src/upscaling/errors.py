"""The error that this package raises, and its codes."""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """The kind of an error, which clients can check."""

    DECODE = "E_DECODE"
    """The file is damaged, truncated or empty."""
    FORMAT = "E_FORMAT"
    """The file has a format or content that is not supported."""
    TOO_LARGE = "E_TOO_LARGE"
    """The input or the requested output is above a limit."""
    INPUT = "E_INPUT"
    """An input other than the picture has an invalid value."""
    WEIGHTS = "E_WEIGHTS"
    """The weights of a network are not available, or do not match their checksum."""
    DEVICE = "E_DEVICE"
    """The requested device is not usable."""
    MEMORY = "E_MEMORY"
    """Memory ran out, and smaller tiles did not help."""
    NONFINITE = "E_NONFINITE"
    """The network produced NaN or infinity, even in fp32."""
    ENCODE = "E_ENCODE"
    """The result could not be written."""


class UpscalingError(Exception):
    """An error for the client. The message says what was wrong, the value, and what to do."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
