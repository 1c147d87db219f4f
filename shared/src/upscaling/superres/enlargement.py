"""Enlarges a plane of a picture, its colours or its alpha: first the passes of the network, then Lanczos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from upscaling.images.grey import LUMA
from upscaling.images.image import Border, Pixels
from upscaling.images.resampling import needed_margin, resample
from upscaling.images.rows import recut
from upscaling.images.transparency import restore_solid
from upscaling.runtime.progress import Progress
from upscaling.superres.networks import Network
from upscaling.superres.networks.stage import Padding
from upscaling.superres.tiling import Plan, TileSize, bounded, padded, repeating, stream
from upscaling.superres.tiling.geometry import Span, pieces


@dataclass(frozen=True)
class Enlargement:
    """How the planes of one picture are brought to a target size: the passes of a network, then resampling."""

    network: Network
    border: Border
    plans: tuple[Plan, ...]
    """One for each pass."""
    enlarged: tuple[int, int]
    """(height, width) after the passes."""
    target: tuple[int, int]
    """(height, width) of the result."""
    margins: tuple[int, int]
    """Rows and columns of a repeating picture that the resampling needs beyond each side."""

    @classmethod
    def of(
        cls,
        network: Network,
        border: Border,
        passes: int,
        size: tuple[int, int],
        target: tuple[int, int],
        tile: TileSize,
    ) -> Enlargement:
        """From size to target, both (height, width).

        Raises E_INPUT for a repeating picture with a size that the network would have to pad.
        """
        factor = network.scale**passes
        enlarged = size[0] * factor, size[1] * factor
        if border == "edge":
            plans = bounded(network, padded(network, size), size, tile, passes)
            return cls(network, border, plans, enlarged, target, margins=(0, 0))
        margins = needed_margin(enlarged[0], target[0]), needed_margin(enlarged[1], target[1])
        return cls(network, border, repeating(network, size, tile, passes, margins[0]), enlarged, target, margins)

    def computed(self, plane: Pixels, progress: Progress) -> Iterator[Pixels]:
        """Yields the plane in bands, enlarged by the network, with the rows of the margin.

        The plane is (height, width, 1 or 3), and the bands have the same form. Raises E_MEMORY and E_NONFINITE.
        """
        first, *others = self.plans
        part, *parts = progress.split(*(plan.work for plan in self.plans))
        run_pass = partial(_run_pass, self.network, channels=plane.shape[2], dtype=plane.dtype)
        bands = run_pass(first, _input(self.network, first, self.border, plane), progress=part)
        for plan, part in zip(others, parts, strict=True):
            bands = run_pass(plan, recut(bands, plan.tile.rows), progress=part)
        return bands

    def unchanged(self, plane: Pixels) -> Iterator[Pixels]:
        """Yields the plane itself, for networks that do not enlarge, with the rows of the margin."""
        height = len(plane)
        yield plane[np.arange(-self.margins[0], height + self.margins[0]) % height]

    def restored(self, bands: Iterator[Pixels], alpha: Pixels) -> Iterator[Pixels]:
        """Yields bands of computed alpha, set to exact values where `alpha`, (height, width), is clear or opaque."""
        scale = self.enlarged[0] // len(alpha)
        top = -self.margins[0]
        for rows in bands:
            yield restore_solid(rows[..., 0], alpha, top, scale, self.border)[..., None]
            top += len(rows)

    def resized(self, bands: Iterator[Pixels]) -> Iterator[Pixels]:
        """Yields bands of the target size."""
        columns = np.arange(-self.margins[1], self.enlarged[1] + self.margins[1]) % self.enlarged[1]
        widened = (band[:, columns] for band in bands) if self.margins[1] else bands
        return resample(widened, self.enlarged, self.target, self.margins)


def _input(network: Network, plan: Plan, border: Border, pixels: Pixels) -> Iterator[Pixels]:
    """The rows and columns that a plan needs, including padding or repetition."""
    height, width = pixels.shape[:2]
    mode = "wrap" if border == "wrap" else network.padding
    rows = _positions(height, plan.input_rows, mode)
    columns = _positions(width, Span(0, plan.input_width), mode)
    for span in pieces(Span(0, len(rows)), plan.tile.rows):
        yield pixels[rows[span.start : span.end]][:, columns]


def _positions(length: int, span: Span, mode: Padding | Literal["wrap"]) -> NDArray[np.intp]:
    """For each row or column of a longer span, its index in the picture, 0 to length; mode as in numpy.pad."""
    return np.pad(np.arange(length, dtype=np.intp), (-span.start, span.end - length), mode=mode)


def _run_pass(
    network: Network,
    plan: Plan,
    bands: Iterator[Pixels],
    channels: int,
    dtype: np.dtype[np.uint8 | np.uint16],
    progress: Progress,
) -> Iterator[Pixels]:
    """Yields the output of one pass, without its padding."""
    entering = (_to_values(band, network) for band in bands)
    top = plan.computed_rows.start
    for band in stream(network, entering, plan, progress):
        first, end = (min(max(row - top, 0), band.shape[2]) for row in (plan.output_rows.start, plan.output_rows.end))
        top += band.shape[2]
        rows = _to_pixels(band[:, :, first:end, : plan.output_width], channels, dtype)
        del band  # frees its memory while the rows are resampled and encoded
        if len(rows):
            yield rows


def _to_values(band: Pixels, network: Network) -> torch.Tensor:
    """Rows in the form that the network needs: (1, channels, rows, width), 0–1."""
    values = torch.as_tensor(band.astype(np.float32)).to(network.device)
    if band.shape[2] == 1:
        values = values.expand(-1, -1, network.channels)
    return values.permute(2, 0, 1)[None].div(float(np.iinfo(band.dtype).max)).to(network.dtype)


def _to_pixels(band: torch.Tensor, channels: int, dtype: np.dtype[np.uint8 | np.uint16]) -> Pixels:
    with torch.inference_mode():
        values = band[0].float().clamp(0, 1)
        if channels == 1 and len(values) == 3:
            values = (values * values.new_tensor(LUMA)[:, None, None]).sum(dim=0, keepdim=True)
        full = np.iinfo(dtype).max
        # torch has no arithmetic for uint16, so 16 bit is rounded in int32.
        rounded = values.mul(full).round_().to(torch.uint8 if full == 255 else torch.int32)
        return rounded.permute(1, 2, 0).cpu().numpy().astype(dtype, copy=False)
