"""One plane of a picture, its colours or its alpha, on its way through a network to the size asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from upscaling.errors import Code, UpscalingError
from upscaling.images.grey import LUMA
from upscaling.images.image import Pixels, recut
from upscaling.images.resampling import margin, resample
from upscaling.superres.networks import Network
from upscaling.superres.networks.stage import Padding
from upscaling.superres.tiling import Plan, Tally, TileSize, bounded, repeating, stream
from upscaling.superres.tiling.geometry import SMALLEST_TILE, Span, pieces

_Positions = NDArray[np.intp]


@dataclass(frozen=True)
class Pass:
    """The network run once over a picture, or over the result of the pass before."""

    plan: Plan
    tile: TileSize
    kept_rows: Span
    """Rows of the output that are handed on; others are of padding."""
    kept_width: int


@dataclass(frozen=True)
class Route:
    """The way of every picture of one size to one target."""

    rows: _Positions
    """The picture's rows that the first pass takes, in its order."""
    columns: _Positions
    """The same of the columns."""
    passes: tuple[Pass, ...]
    enlarged: tuple[int, int]
    """(height, width) that the passes lead to."""
    target: tuple[int, int]
    """(height, width) of the result."""
    margins: tuple[int, int]
    """Rows and columns of the repeated picture that the resampling needs on each side."""

    @property
    def work(self) -> int:
        """Pixels that go into stages, as `Tally.work` counts them."""
        return sum(step.plan.work for step in self.passes)


def bounded_route(
    network: Network, size: tuple[int, int], target: tuple[int, int], tile: TileSize, passes: int
) -> Route:
    """For a picture with borders; it is padded once, at the right and the bottom, as the network wants it.

    size and target are (height, width). More than one pass is for networks whose `multiple` divides their factor.
    """
    padded = _padded(size[0], network), _padded(size[1], network)
    planned, (height, width) = padded, size
    steps: list[Pass] = []
    for _ in range(passes):
        height, width = height * network.scale, width * network.scale
        steps.append(Pass(bounded(network, *planned), tile, Span(0, height), width))
        planned, tile = (height, width), _lower(tile, network.scale)
    return Route(
        rows=_padded_positions(size[0], padded[0], network.padding),
        columns=_padded_positions(size[1], padded[1], network.padding),
        passes=tuple(steps),
        enlarged=(height, width),
        target=target,
        margins=(0, 0),
    )


def repeating_route(
    network: Network, size: tuple[int, int], target: tuple[int, int], tile: TileSize, passes: int
) -> Route:
    """For a picture that continues with itself on all sides.

    size and target are (height, width). Raises E_INPUT for a size that the network would pad.
    """
    height, width = size
    if height % network.multiple or width % network.multiple:
        raise UpscalingError(
            Code.INPUT,
            f"the picture has {width}×{height} pixels, and this network takes a seamless one only where both are"
            f" multiples of {network.multiple}. Crop it, or choose another network.",
        )
    enlarged = height * network.scale**passes, width * network.scale**passes
    margins = margin(enlarged[0], target[0]), margin(enlarged[1], target[1])
    steps: list[Pass] = []
    beyond = margins[0]
    for done in reversed(range(passes)):
        before, after = network.scale**done, network.scale ** (done + 1)
        plan = repeating(network, height * before, width * before, beyond)
        kept = Span(-beyond, height * after + beyond)
        steps.insert(0, Pass(plan, _lower(tile, before), kept, width * after))
        beyond = -plan.taken_rows.start
    rows = np.arange(-beyond, height + beyond) % height
    return Route(rows, np.arange(width), tuple(steps), enlarged, target, margins)


def enlarge(route: Route, network: Network, pixels: Pixels, tally: Tally) -> Iterator[Pixels]:
    """Yields bands of the plane at the size of `route.enlarged`, with the rows of its margin.

    pixels is (height, width, 1 or 3), as are the bands. Raises E_MEMORY and E_NONFINITE.
    """
    first, *others = route.passes
    channels, dtype = pixels.shape[2], pixels.dtype
    run = partial(_through, network=network, tally=tally, channels=channels, dtype=dtype)
    bands = run(first, _source(route, pixels))
    for step in others:
        bands = run(step, recut(bands, step.tile.rows))
    return bands


def unchanged(route: Route, plane: Pixels) -> Iterator[Pixels]:
    """Yields the plane itself in place of what `enlarge` makes of it, for a network that enlarges nothing."""
    height = len(plane)
    yield plane[np.arange(-route.margins[0], height + route.margins[0]) % height]


def resized(route: Route, bands: Iterator[Pixels]) -> Iterator[Pixels]:
    """Yields the bands of `enlarge` at exactly the size of the target."""
    columns = np.arange(-route.margins[1], route.enlarged[1] + route.margins[1]) % route.enlarged[1]
    widened = (band[:, columns] for band in bands) if route.margins[1] else bands
    return resample(widened, route.enlarged, route.target, route.margins)


def _source(route: Route, pixels: Pixels) -> Iterator[Pixels]:
    for span in pieces(Span(0, len(route.rows)), route.passes[0].tile.rows):
        yield pixels[route.rows[span.start : span.end]][:, route.columns]


def _through(
    step: Pass,
    bands: Iterator[Pixels],
    network: Network,
    tally: Tally,
    channels: int,
    dtype: np.dtype[np.uint8 | np.uint16],
) -> Iterator[Pixels]:
    entering = (_to_values(band, network) for band in bands)
    top = step.plan.given_rows.start
    for band in stream(network, entering, step.plan, step.tile, tally):
        first, end = (min(max(row - top, 0), band.shape[2]) for row in (step.kept_rows.start, step.kept_rows.end))
        top += band.shape[2]
        rows = _to_pixels(band[:, :, first:end, : step.kept_width], channels, dtype)
        del band  # this frame stays alive while the rows are resampled and encoded
        if len(rows):
            yield rows


def _lower(tile: TileSize, factor: int) -> TileSize:
    """Bands are as wide as the picture: on one that is wider by a factor they are lower by it."""
    rows = max(tile.rows // factor, min(tile.rows, SMALLEST_TILE))
    return replace(tile, height=min(tile.height, rows), band=rows)


def _padded(length: int, network: Network) -> int:
    return -(-(length + network.least_padding) // network.multiple) * network.multiple


def _padded_positions(length: int, padded: int, padding: Padding) -> _Positions:
    return np.pad(np.arange(length), (0, padded - length), mode=padding)


def _to_values(band: Pixels, network: Network) -> torch.Tensor:
    """Rows as the network takes them: (1, channels, rows, width), 0–1."""
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
        # torch has no arithmetic on uint16, but its int32 holds the range.
        rounded = values.mul(full).round_().to(torch.uint8 if full == 255 else torch.int32)
        return rounded.permute(1, 2, 0).cpu().numpy().astype(dtype, copy=False)
