"""Noise from a seed, the same on every device.

ComfyUI seeds anew for every tile, so all tiles of one size get the same noise: one draw serves a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torchsde import BrownianTree

from upscaling.diffusion.sigmas import LARGEST
from upscaling.errors import Code, UpscalingError

LARGEST_SEED = 2**64 - 1
_DIGITS = 6  # decimal places that the Brownian tree rounds sigmas to


@dataclass(frozen=True)
class NoiseSource:
    """The noise of one seed for latents of one size; drawn on the CPU in fp32."""

    seed: int
    shape: tuple[int, int, int, int]
    """(1, channels, height, width): it is broadcast over a batch."""
    device: torch.device
    """Where the noise is wanted."""
    generator: torch.Generator
    windows: Sequence[tuple[slice, slice]] = ()
    """Rows and columns of the noise that each of a batch gets; without any, all get all of it."""

    def draw(self) -> torch.Tensor:
        """Normal noise; every call goes on in the generator's stream."""
        return self._cut(torch.randn(self.shape, generator=self.generator, dtype=torch.float32))

    def brownian(self, smallest: float, largest: float) -> Callable[[float, float], torch.Tensor]:
        """Normal noise that belongs to a step between two sigmas of this range.

        It is the increment of a Brownian motion, so noises of overlapping steps agree with each other; it depends on
        the seed and the range, not on what was drawn before (torchsde's tree, as k-diffusion uses it).
        """
        start, end = round(smallest, _DIGITS), round(largest, _DIGITS)
        tree = BrownianTree(start, torch.zeros(self.shape, dtype=torch.float32), end, entropy=self.seed)

        def between(sigma: float, following: float) -> torch.Tensor:
            low, high = sorted((sigma, following))
            increment = tree(max(round(low, _DIGITS), start), min(round(high, _DIGITS), end))
            # The tree runs from low to high; a step goes the other way.
            sign = 1 if sigma < following else -1
            return self._cut(increment * (sign / sqrt(high - low)))

        return between

    def _cut(self, noise: torch.Tensor) -> torch.Tensor:
        if self.windows:
            noise = torch.cat([noise[:, :, rows, columns] for rows, columns in self.windows])
        return noise.to(self.device)


def noise_source(seed: int, size: tuple[int, int], device: torch.device, channels: int = 4) -> NoiseSource:
    """The noise of a seed for latents of a height and width. Raises E_INPUT for a seed outside 0 to 2^64 - 1."""
    if not 0 <= seed <= LARGEST_SEED:
        raise UpscalingError(Code.INPUT, f"seed is {seed}; take 0 to {LARGEST_SEED}.")
    generator = torch.Generator().manual_seed(seed)
    return NoiseSource(seed, (1, channels, *size), device, generator)


def noised(latents: torch.Tensor, sigma: float, noise: torch.Tensor) -> torch.Tensor:
    """The latents that sampling starts from, (n, channels, h, w), at the first sigma of a schedule.

    At the most noise the network is to see noise of standard deviation 1 over the picture (ComfyUI).
    """
    whole = sigma > LARGEST or abs(sigma - LARGEST) <= 1e-5 * LARGEST
    return latents + noise * (sqrt(1 + sigma**2) if whole else sigma)
