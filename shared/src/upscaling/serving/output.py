"""The inputs that every model has: size and format of the result."""

from __future__ import annotations

from dataclasses import dataclass, replace

from upscaling.errors import Code, UpscalingError
from upscaling.images import MEGAPIXEL, Limits, Size
from upscaling.values import number, shown, whole, whole_of_64_bits

LARGEST_SCALE = 10.0


@dataclass(frozen=True)
class Output:
    """The requested size and format."""

    scale: float = 4.0
    """Output size over input size, above 0 and at most 10."""
    width: int | None = None
    """Pixels; overrides `scale`. With only one of width and height, the other follows from the aspect ratio."""
    height: int | None = None
    format: str = "png"
    quality: int = 95
    """1–100, for JPEG and WebP."""
    multiple: int = 1
    """Sides that follow from `scale` alone are rounded to a multiple of this."""
    short_side: int | None = None
    """Pixels of the shorter side; overrides `scale`."""

    def checked(self, limits: Limits) -> Output:
        """The values in their declared types; raises E_INPUT and E_TOO_LARGE for invalid ones."""
        if not isinstance(self.format, str):  # pyright: ignore[reportUnnecessaryIsInstance]  a server may not have checked
            raise UpscalingError(Code.INPUT, f"output_format is {shown(self.format)}; take a text such as png.")
        if not 0 < number("scale", self.scale) <= LARGEST_SCALE:
            raise UpscalingError(
                Code.INPUT, f"scale is {shown(self.scale)}; take a factor above 0 and up to {LARGEST_SCALE:g}."
            )
        return replace(
            self,
            width=_side("width", self.width, limits),
            height=_side("height", self.height, limits),
            quality=whole_of_64_bits("output_quality", self.quality),
        )

    def size(self, width: int, height: int) -> Size:
        """The size of the output for an input's width and height: halves round to even, no side is 0."""
        if self.width and self.height:
            return Size(self.width, self.height)
        if self.width:
            return Size(self.width, max(round(height * self.width / width), 1))
        if self.height:
            return Size(max(round(width * self.height / height), 1), self.height)
        if self.short_side:
            return Size(*(max(round(side * self.short_side / min(width, height)), 1) for side in (width, height)))
        return Size(*(max(round(side * self.scale / self.multiple), 1) * self.multiple for side in (width, height)))


def _side(name: str, value: float | None, limits: Limits) -> int | None:
    if value is None:
        return None
    pixels = whole(name, value)
    if pixels < 1:
        raise UpscalingError(Code.INPUT, f"{name} is {shown(pixels)}; take 1 or more, or leave it out.")
    if pixels > limits.output_megapixels * MEGAPIXEL:
        raise UpscalingError(
            Code.TOO_LARGE, f"{name} is {shown(pixels)}; the result can have at most {limits.output_megapixels:g} MP."
        )
    return pixels
