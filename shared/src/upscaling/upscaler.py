"""A picture in, a larger picture out: at any size, with its alpha, depth and profile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from upscaling.errors import Code, UpscalingError
from upscaling.images import Image
from upscaling.images.grey import LUMA
from upscaling.images.image import Pixels
from upscaling.images.transparency import fill_hidden, is_flat, restore_solid
from upscaling.networks import Network
from upscaling.networks.stage import Padding
from upscaling.resampling import resample
from upscaling.tiling import Tally, TileSize, stream, total_work
from upscaling.tiling.geometry import Span, pieces
from upscaling.tiling.memory import memory_errors_coded


@dataclass(frozen=True)
class Upscaler:
    """One network, ready for any number of pictures, also at the same time."""

    load: Callable[[torch.dtype], Network]
    """Gives the network in a type; asked for every picture, so it should keep what it loaded."""
    dtype: torch.dtype
    """The fast type, for 8 bit pictures. 16 bit ones take fp32: bf16 holds 8 significant bits, fp16 11."""

    def dtype_for(self, image: Image) -> torch.dtype:
        """The type that a picture is computed in."""
        return torch.float32 if image.bits == 16 else self.dtype

    def upscale(self, image: Image, width: int, height: int, tile: TileSize, tally: Tally | None = None) -> Image:
        """The picture at exactly width × height pixels.

        The network enlarges by its own factor, Lanczos brings that to the size. Alpha is enlarged by
        the same network unless it is flat; colours hidden under zero alpha do not matter.
        Raises E_MEMORY and E_NONFINITE.
        """
        return collect(image, width, height, self.rows(image, width, height, tile, tally or Tally()))

    def rows(
        self, image: Image, width: int, height: int, tile: TileSize, tally: Tally
    ) -> Iterator[tuple[Pixels, Pixels | None]]:
        """Yields consecutive rows of colour, (rows, width, channels), and of alpha, (rows, width) or None.

        Raises E_MEMORY and E_NONFINITE.
        """
        with memory_errors_coded(f"a result of {width}×{height} pixels"):
            network = self.load(self.dtype_for(image))
            has_own_alpha = image.alpha is not None and not is_flat(image.alpha)
            padded = _padded_size(network, image.height, image.width)
            tally.total_work = total_work(network, *padded) * (2 if has_own_alpha else 1)
            size = (height, width)
            if image.alpha is None:
                for rows in self._plane(network, image.pixels, size, tile, tally):
                    yield rows, None
            elif not has_own_alpha:
                for rows in self._plane(network, fill_hidden(image.pixels, image.alpha), size, tile, tally):
                    yield rows, np.full(rows.shape[:2], image.alpha[0, 0])
            else:
                colour = self._plane(network, fill_hidden(image.pixels, image.alpha), size, tile, tally)
                alpha = self._alpha(network, image.alpha, size, tile, tally)
                yield from _side_by_side(colour, alpha)

    def _plane(
        self, network: Network, pixels: Pixels, size: tuple[int, int], tile: TileSize, tally: Tally
    ) -> Iterator[Pixels]:
        enlarged = self._enlarged(network, pixels, tile, tally)
        source = (pixels.shape[0] * network.scale, pixels.shape[1] * network.scale)
        return resample(enlarged, source, size)

    def _alpha(
        self, network: Network, alpha: Pixels, size: tuple[int, int], tile: TileSize, tally: Tally
    ) -> Iterator[Pixels]:
        enlarged = self._enlarged(network, alpha[..., None], tile, tally)
        source = (alpha.shape[0] * network.scale, alpha.shape[1] * network.scale)
        return resample(_solid(enlarged, alpha, network.scale), source, size)

    def _enlarged(self, network: Network, pixels: Pixels, tile: TileSize, tally: Tally) -> Iterator[Pixels]:
        """The network's own enlargement of (height, width, 1 or 3), in bands of whole input rows."""
        height, width, channels = pixels.shape
        padded = _padded_size(network, height, width)
        bands = stream(
            network,
            _bands(network, pixels, padded, tile.height),
            *padded,
            tile,
            tally,
            in_fp32=lambda: self.load(torch.float32),
        )
        rows_left = height * network.scale
        for band in bands:
            rows = _to_pixels(band[:, :, :rows_left, : width * network.scale], channels, pixels.dtype)
            rows_left -= len(rows)
            del band  # this frame stays alive while the rows are resampled and encoded
            if len(rows):
                yield rows


def collect(image: Image, width: int, height: int, rows: Iterator[tuple[Pixels, Pixels | None]]) -> Image:
    """The rows of `Upscaler.rows` as one picture like `image`; raises E_MEMORY where it does not fit."""
    with memory_errors_coded(f"a result of {width}×{height} pixels"):
        pixels: Pixels = np.empty((height, width, image.pixels.shape[2]), image.pixels.dtype)
        alpha: Pixels | None = None if image.alpha is None else np.empty((height, width), image.alpha.dtype)
    top = 0
    for colour_rows, alpha_rows in rows:
        bottom = top + len(colour_rows)
        pixels[top:bottom] = colour_rows
        if alpha is not None and alpha_rows is not None:
            alpha[top:bottom] = alpha_rows
        top = bottom
    if top != height:
        raise UpscalingError(Code.ENCODE, f"{height - top} of {height} rows are missing; please report this.")
    return Image(pixels, alpha, image.profile, image.resolution)


def _padded_size(network: Network, height: int, width: int) -> tuple[int, int]:
    least, multiple = network.least_padding, network.multiple
    return -(-(height + least) // multiple) * multiple, -(-(width + least) // multiple) * multiple


def _bands(network: Network, pixels: Pixels, padded: tuple[int, int], rows: int) -> Iterator[torch.Tensor]:
    """The picture as the network takes it: (1, channels, rows, width), 0–1, padded to its multiple."""
    height, width, channels = pixels.shape
    taken_rows = _padded_positions(height, padded[0], network.padding)
    taken_columns = _padded_positions(width, padded[1], network.padding)
    full = float(np.iinfo(pixels.dtype).max)
    for span in pieces(Span(0, padded[0]), rows):
        part = pixels[taken_rows[span.start : span.end]][:, taken_columns]
        band = torch.as_tensor(part.astype(np.float32)).to(network.device)
        if channels == 1:
            band = band.expand(-1, -1, network.channels)
        yield band.permute(2, 0, 1)[None].div(full).to(network.dtype)


def _padded_positions(length: int, padded: int, padding: Padding) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    positions = np.arange(length)
    # A single pixel has nothing to reflect.
    return np.pad(positions, (0, padded - length), mode=padding if length > 1 else "edge")


def _to_pixels(band: torch.Tensor, channels: int, dtype: np.dtype[np.uint8 | np.uint16]) -> Pixels:
    with torch.inference_mode():
        values = band[0].float().clamp(0, 1)
        if channels == 1 and len(values) == 3:
            values = (values * values.new_tensor(LUMA)[:, None, None]).sum(dim=0, keepdim=True)
        full = np.iinfo(dtype).max
        # torch has no arithmetic on uint16, but its int32 holds the range.
        rounded = values.mul(full).round_().to(torch.uint8 if full == 255 else torch.int32)
        return rounded.permute(1, 2, 0).cpu().numpy().astype(dtype, copy=False)


def _solid(enlarged: Iterator[Pixels], alpha: Pixels, scale: int) -> Iterator[Pixels]:
    top = 0
    for rows in enlarged:
        yield restore_solid(rows[..., 0], alpha, top, scale)[..., None]
        top += len(rows) // scale


def _side_by_side(colour: Iterator[Pixels], alpha: Iterator[Pixels]) -> Iterator[tuple[Pixels, Pixels]]:
    """Pairs rows of two streams whose bands need not begin at the same rows."""
    held_colour, held_alpha = next(colour), next(alpha)
    while True:
        count = min(len(held_colour), len(held_alpha))
        yield held_colour[:count], held_alpha[:count, :, 0]
        held_colour, held_alpha = held_colour[count:], held_alpha[count:]
        if not len(held_colour):
            following = next(colour, None)
            if following is None:
                return
            held_colour = following
        if not len(held_alpha):
            held_alpha = next(alpha)
