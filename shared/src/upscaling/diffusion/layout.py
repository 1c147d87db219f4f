"""Which parts of a canvas are redrawn: the inputs of Ultimate SD Upscale about tiles and seams, as one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from upscaling.diffusion.crops import Crop, crop
from upscaling.diffusion.patches import Grid, Order, Patch, SeamFix, redraw_patches, seam_patches
from upscaling.images import Size


@dataclass(frozen=True)
class Layout:
    """Which parts of a canvas are redrawn."""

    order: Order
    tile: Size
    padding: int
    """Pixels around a tile that are denoised as context."""
    blur: int
    """Radius that a tile's mask is blurred with, in pixels."""
    seam_fix: SeamFix
    seam_width: int
    """Pixels; for Band Pass only."""
    seam_padding: int
    seam_blur: int
    """Pixels; Band Pass has none."""
    uniform: bool
    """Whether all tiles are sampled at one size."""

    def tiles(self, canvas: Size) -> list[Crop]:
        """The tiles of the grid, in the order in which they are redrawn."""
        return self._crops(redraw_patches(Grid(canvas, self.tile), self.order, self.padding, self.blur), canvas)

    def seams(self, canvas: Size) -> list[Crop]:
        """The seams, in the order in which they are redrawn after the tiles."""
        grid = Grid(canvas, self.tile)
        patches = seam_patches(grid, self.seam_fix, self.seam_width, self.seam_padding, self.seam_blur)
        return self._crops(patches, canvas)

    def _crops(self, patches: Sequence[Patch], canvas: Size) -> list[Crop]:
        return [crop(patch, canvas, uniform=self.uniform) for patch in patches]
