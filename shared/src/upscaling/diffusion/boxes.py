"""Boxes on a canvas, in pixels."""

from __future__ import annotations

from dataclasses import dataclass

from upscaling.images import Size


@dataclass(frozen=True)
class Box:
    """A rectangle from (left, top) up to, not including, (right, bottom)."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> Size:
        return Size(self.right - self.left, self.bottom - self.top)

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """The box as Pillow takes it."""
        return self.left, self.top, self.right, self.bottom

    @property
    def slices(self) -> tuple[slice, slice]:
        """The box as rows and columns of an array."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def widened(self, margin: int, canvas: Size) -> Box:
        """The box with a margin on all four sides, as far as the canvas goes."""
        return Box(
            max(self.left - margin, 0),
            max(self.top - margin, 0),
            min(self.right + margin, canvas.width),
            min(self.bottom + margin, canvas.height),
        )

    def moved(self, right: int, down: int) -> Box:
        return Box(self.left + right, self.top + down, self.right + right, self.bottom + down)


def nearest_multiple(value: float, multiple: int = 8) -> int:
    """The multiple next to a length; halfway between two, the even one, and at least one."""
    return max(round(value / multiple), 1) * multiple
