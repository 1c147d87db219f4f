"""Pictures redrawn by Stable Diffusion: to latents, noised, denoised under a prompt, and back (img2img)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from upscaling.diffusion.crops import Crop
from upscaling.diffusion.guidance import Control, Guidance, guided
from upscaling.diffusion.hints import Shown
from upscaling.diffusion.inpainting import Surroundings, inpainted
from upscaling.diffusion.noise import noise_source, noised
from upscaling.diffusion.redraw import Picture, RedrawBatch
from upscaling.diffusion.room import Room
from upscaling.diffusion.samplers import Sampler
from upscaling.diffusion.vae import decoded, encoded
from upscaling.errors import Code, UpscalingError
from upscaling.runtime.memory import is_out_of_memory, release

_GPU_VALUES = 1_000  # of a pixel that is sampled: 0.6 GB for a tile of 544 × 544 in 16 bit, as bf16 was seen to need
_MOST_AT_ONCE = 16  # tiles; larger batches are no faster


def batch_size(requested: int, device: torch.device, dtype: torch.dtype, crops: Sequence[Crop]) -> int:
    """How many crops are redrawn at once: as many as requested; where that is 0, as many as are fast and fit.

    It follows a GPU's whole memory, not what is free: the same request is cut to the same batches, and gives the same
    bytes, whatever else was there. A batch that finds no room is halved.
    """
    if requested or device.type == "cpu":  # on a CPU batches win nothing
        return max(requested, 1)
    largest = max(crop.size.width * crop.size.height for crop in crops) * _GPU_VALUES * dtype.itemsize
    _, whole = torch.cuda.mem_get_info(device)
    return min(max(whole // 2 // largest, 1), _MOST_AT_ONCE)  # the other half is the networks'


@dataclass(frozen=True)
class Hint:
    """A ControlNet and its hint."""

    network: ControlNetModel
    strength: float
    shown: Shown
    guess_mode: bool = False

    def of(self, pictures: Picture, crops: Sequence[Crop]) -> Control:
        """The hints for pictures of one size."""
        return Control(self.network, _to_values(self.shown(pictures, crops)), self.strength, self.guess_mode)


@dataclass(frozen=True)
class Img2Img:
    """What all tiles of a redraw share."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    guidance: Guidance
    hints: Sequence[Hint]
    sampler: Sampler
    seed: int
    count_retry: Callable[[], None]
    """Called when a batch, or what the autoencoder computes at once, is halved because memory ran out."""
    surroundings: Surroundings | None = None
    """What crops fit themselves to. Without it, all crops of one size start from the same noise, as in ComfyUI."""
    room: Room = field(default_factory=Room)
    """What fits into memory, as far as it is known; passes of one request share it."""

    def at(self, sigmas: torch.Tensor) -> RedrawBatch:
        """A redraw along a schedule; its largest sigma decides how much may change.

        If memory runs out, the batch is halved, and so are later ones of as many pixels. The redraw raises E_NONFINITE
        if the networks give NaN or infinity, and torch's own error if memory runs out for a single tile.
        """

        return partial(self._redrawn_as_fits, sigmas)

    def _redrawn_as_fits(
        self, sigmas: torch.Tensor, pictures: Picture, crops: Sequence[Crop], reach: Callable[[float], None]
    ) -> Picture:
        pixels = pictures.shape[1] * pictures.shape[2]
        half = len(crops) // 2
        if half == 0 or len(crops) * pixels <= self.room.batch:
            try:
                return self._redrawn(pictures, crops, sigmas, reach)
            except (RuntimeError, MemoryError) as error:
                if half == 0 or not is_out_of_memory(error):
                    raise
            # Outside the block: the error holds on to the memory of what failed.
            release(self.unet.device)
            self.count_retry()
            self.room.batch = (len(crops) - half) * pixels
        first = self._redrawn_as_fits(sigmas, pictures[:half], crops[:half], lambda share: reach(share / 2))
        second = self._redrawn_as_fits(sigmas, pictures[half:], crops[half:], lambda share: reach((1 + share) / 2))
        return np.concatenate([first, second])

    def _redrawn(
        self, pictures: Picture, crops: Sequence[Crop], sigmas: torch.Tensor, reach: Callable[[float], None]
    ) -> Picture:
        # Pictures go through the autoencoder one by one: it needs the most memory, and a batch is no faster.
        latents = torch.cat(
            [encoded(_to_values(picture[None]), self.vae, self.count_retry, self.room) for picture in pictures]
        )
        denoise = guided(self.unet, self.guidance, *(hint.of(pictures, crops) for hint in self.hints))
        size, device = (latents.shape[2], latents.shape[3]), latents.device
        around = self.surroundings
        noise = around.noise(self.seed, crops, device) if around else noise_source(self.seed, size, device)
        drawn = noise.draw()
        if around:
            denoise = inpainted(denoise, latents, drawn, around.mask(crops, device))
        noisy = noised(latents, sigmas[0].item(), drawn)
        sampled = self.sampler(denoise, noisy, sigmas, noise, lambda step: reach(step / len(sigmas)))
        each_decoded = (decoded(_finite(each), self.vae, self.count_retry, self.room) for each in sampled[:, None])
        return np.concatenate([_to_pixels(values) for values in each_decoded])


def _to_values(pictures: Picture) -> torch.Tensor:
    """Pictures (n, height, width, 3) as the networks take them: (n, 3, height, width), 0–1."""
    return torch.tensor(pictures).permute(0, 3, 1, 2) / 255


def _to_pixels(values: torch.Tensor) -> Picture:
    """Pictures from the networks' values; raises E_NONFINITE, also for an infinity, which clamping would hide."""
    return (_finite(values).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def _finite(values: torch.Tensor) -> torch.Tensor:
    if not values.isfinite().all():
        raise UpscalingError(Code.NONFINITE, "the diffusion networks gave NaN or infinity.")
    return values
