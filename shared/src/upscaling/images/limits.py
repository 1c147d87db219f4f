"""Size limits, checked before a picture is decoded or computed."""

from __future__ import annotations

import os
from dataclasses import dataclass

from upscaling.errors import Code, UpscalingError

MEGAPIXEL = 1_000_000  # pixels
LONGEST_SIDE = 100_000
"""Pixels of a side of the result. Some memory grows with the length of one side, even if the area is small."""
_BYTES_PER_PIXEL = 8  # RGB and alpha in 16 bit, uncompressed: the largest format that is read
_METADATA_BYTES = 16 << 20  # profiles, EXIF and others


@dataclass(frozen=True)
class Limits:
    """The largest input and output pictures, in megapixels of 1,000,000 pixels."""

    input_megapixels: float = 200
    output_megapixels: float = 256

    @classmethod
    def from_environment(cls) -> Limits:
        """The limits in UPSCALING_MAX_INPUT_MP and UPSCALING_MAX_OUTPUT_MP, or the defaults.

        Raises E_INPUT if one of them is not a number above 0.
        """
        return cls(
            input_megapixels=_positive("UPSCALING_MAX_INPUT_MP", cls.input_megapixels),
            output_megapixels=_positive("UPSCALING_MAX_OUTPUT_MP", cls.output_megapixels),
        )

    @property
    def input_bytes(self) -> int:
        """The largest possible size of a file with a picture within the limit."""
        return int(self.input_megapixels * MEGAPIXEL * _BYTES_PER_PIXEL) + _METADATA_BYTES

    def check_input(self, width: int, height: int) -> None:
        """Raises E_TOO_LARGE for an input above the limit."""
        if width * height > self.input_megapixels * MEGAPIXEL:
            raise UpscalingError(
                Code.TOO_LARGE,
                f"the picture is {width}×{height}, {width * height / MEGAPIXEL:.1f} MP; the limit is"
                f" {self.input_megapixels:g} MP. Send a smaller picture, or raise UPSCALING_MAX_INPUT_MP.",
            )

    def check_output(self, width: int, height: int, source_width: int, source_height: int) -> None:
        """Raises E_TOO_LARGE for an output above the limit or with a side above LONGEST_SIDE."""
        most = self.output_megapixels * MEGAPIXEL
        if width * height > most:
            longer = max(source_width, source_height)
            percent = int(min((most / (source_width * source_height)) ** 0.5, LONGEST_SIDE / longer) * 100)
            while percent > 0 and _scaled(source_width, percent) * _scaled(source_height, percent) > most:
                percent -= 1  # both sides were rounded up
            fitting = (
                f"The largest scale that fits this picture is {percent / 100:g}" if percent else "No scale fits it"
            )
            raise UpscalingError(
                Code.TOO_LARGE,
                f"the result would be {width}×{height}, {width * height / MEGAPIXEL:.1f} MP; the limit is"
                f" {self.output_megapixels:g} MP. {fitting}; or raise UPSCALING_MAX_OUTPUT_MP.",
            )
        if max(width, height) > LONGEST_SIDE:
            raise UpscalingError(
                Code.TOO_LARGE, f"the result would be {width}×{height}; ask for at most {LONGEST_SIDE} pixels per side."
            )


def _scaled(side: int, percent: int) -> int:
    return max(round(side * percent / 100), 1)


def _positive(variable: str, default: float) -> float:
    text = os.environ.get(variable)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UpscalingError(Code.INPUT, f"{variable} is {text!r}; set it to a number of megapixels above 0.")
    return value
