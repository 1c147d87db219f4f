"""Ultimate SD Upscale: its work for the pipeline."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import torch
from PIL import Image as Pillow

from upscaling.diffusion.boxes import Box
from upscaling.diffusion.colour_fix import fix_colours
from upscaling.diffusion.crops import Crop
from upscaling.diffusion.encode import encode
from upscaling.diffusion.enlarging import enlarged
from upscaling.diffusion.guidance import Guidance
from upscaling.diffusion.img2img import Hint, Img2Img, batch_size
from upscaling.diffusion.networks import Library
from upscaling.diffusion.options import Options
from upscaling.diffusion.pictures import as_it_was, in_mask, in_rgb
from upscaling.diffusion.prompts import Embeddings, Prompt, comfyui
from upscaling.diffusion.redraw import Picture, redraw, stretched
from upscaling.diffusion.samplers import ONE_AT_A_TIME, Sampler, sampler
from upscaling.diffusion.sigmas import sigmas
from upscaling.images import Image, Rows, Size
from upscaling.images.image import ROWS_AT_A_TIME
from upscaling.images.transparency import without_hidden_colours
from upscaling.runtime.memory import memory_errors_coded
from upscaling.runtime.progress import Progress
from upscaling.superres.tiling import tile_size
from upscaling.superres.upscalers import Upscalers

logger = logging.getLogger(__name__)

CONTROLNET = "control_v11f1e_sd15_tile_fp16"
VAES = {"Realistic_Vision_V5.1": "vae-ft-mse-840000-ema-pruned"}
"""The autoencoders of checkpoints that are published to be used with another than their own."""
_SEED_BITS = 32  # of a random seed

# TFLOP per megapixel, to divide the progress by: RRDB for its input; UNet and ControlNet for a step of both prompts.
_ENLARGING_WORK, _STEP_WORK = 36.0, 8.0


def work(
    options: Options, mask: Image | None, upscalers: Upscalers, library: Library
) -> Callable[[Image, Size, Progress], Iterator[Rows]]:
    """The work for `Server.predict`, by `checked` options; raises E_INPUT for names that are not known.

    Where the mask is black, the picture is enlarged only; it is stretched over the result.
    """
    prompts = [options.positive_prompt, options.negative_prompt]
    embeddings: Embeddings = library.embeddings() if any("embedding:" in prompt for prompt in prompts) else {}
    positive, negative = (comfyui.tokenize(prompt, embeddings) for prompt in prompts)
    return _Job(
        options,
        sampler(options.sampler_name),
        positive,
        negative,
        secrets.randbits(_SEED_BITS) if options.seed is None else options.seed,
        None if mask is None else in_mask(mask),
        sigmas(options.scheduler, options.steps, options.denoise, options.sampler_name),
        sigmas(options.scheduler, options.steps, options.effective_seam_fix_denoise, options.sampler_name),
        upscalers,
        library,
    ).attempts


@dataclass(frozen=True)
class _Pass:
    """Parts of a canvas that are redrawn along one schedule."""

    crops: Sequence[Crop]
    schedule: torch.Tensor

    @property
    def work(self) -> float:
        """In millionths of a TFLOP."""
        return sum(crop.size.width * crop.size.height for crop in self.crops) * len(self.schedule) * _STEP_WORK


@dataclass(frozen=True)
class _Job:
    """A request: the same for every attempt, so that its noise is too."""

    options: Options
    sampler: Sampler
    positive: Prompt
    negative: Prompt
    seed: int
    only: Pillow.Image | None
    schedule: torch.Tensor
    seam_schedule: torch.Tensor
    upscalers: Upscalers
    library: Library

    def attempts(self, image: Image, size: Size, progress: Progress) -> Iterator[Rows]:
        """Yields the rows of the result in the fast type, then those in fp32 if that is another."""
        # Cog writes whole numbers of more than 63 bits as floats, which round them.
        seed = self.seed if self.seed < 2**63 else str(self.seed)
        progress.figures |= {"seed": seed, "steps": self.options.steps, "retries": 0}
        yield self._rows(image, size, progress, self.library.dtype)
        if self.library.dtype is not torch.float32:
            progress.count("retries")
            yield self._rows(image, size, progress, torch.float32)

    def _rows(self, image: Image, size: Size, progress: Progress, dtype: torch.dtype) -> Rows:
        progress.figures["tiles"] = 0
        if image.bits == 16:
            logger.info("The picture has 16 bit; it is redrawn in 8 bit.")
        passes = self._passes(size)
        enlarging, *redrawing = progress.split(
            image.width * image.height * _ENLARGING_WORK, *(each.work for each in passes)
        )
        image = without_hidden_colours(image)
        # Before the picture is enlarged, so that missing weights are an error at once.
        img2img = self._img2img(image, size, dtype, progress) if passes else None
        started = perf_counter()
        large = self._enlarged(image, size, enlarging)
        canvas, alpha = in_rgb(large), large.alpha
        del large  # the canvas is held once
        progress.figures["seconds_enlarging"] = round(perf_counter() - started, 4)
        started = perf_counter()
        if img2img is not None:
            canvas = self._redrawn(canvas, img2img, passes, redrawing)
        progress.figures["seconds_redrawing"] = round(perf_counter() - started, 4)
        yield from as_it_was(canvas, image, alpha)

    def _passes(self, canvas: Size) -> list[_Pass]:
        layout = self.options.layout
        passes = [_Pass(layout.tiles(canvas), self.schedule), _Pass(layout.seams(canvas), self.seam_schedule)]
        # A schedule without a step, for a denoise of 0, redraws nothing.
        return [each for each in passes if each.crops and len(each.schedule) > 1]

    def _enlarged(self, image: Image, size: Size, progress: Progress) -> Image:
        upscaler = self.upscalers.get(self.options.upscaler)
        tile = tile_size(self.options.tile_size, self.upscalers.device, image.width)
        own = Progress(progress.reach)
        large = enlarged(image, size, upscaler, tile, own)
        # Where the picture is redrawn too, these are of the redraw.
        progress.figures |= own.figures | progress.figures
        progress.reach(1)
        return large

    def _redrawn(
        self, canvas: Picture, img2img: Img2Img, passes: Sequence[_Pass], progress: Sequence[Progress]
    ) -> Picture:
        source = canvas.copy() if self.options.color_fix != "none" else None
        for each, part in zip(passes, progress, strict=True):
            at_once = batch_size(self.options.batch_size, img2img.unet.device, each.crops)
            if self.options.sampler_name in ONE_AT_A_TIME:
                at_once = 1
            tile = max(crop.size for crop in each.crops)
            with memory_errors_coded(f"a tile of {tile.width}×{tile.height} pixels"):
                redrawn = redraw(canvas, each.crops, img2img.at(each.schedule), at_once, part.reach, self.only)
            part.count("tiles", redrawn)
        if source is None:
            return canvas
        fixed = fix_colours(self.options.color_fix, canvas, source)
        return fixed if self.only is None else _where(self.only, fixed, source)

    def _img2img(self, image: Image, canvas: Size, dtype: torch.dtype, progress: Progress) -> Img2Img:
        options = self.options
        has_control = options.use_controlnet_tile and options.controlnet_strength > 0
        networks = self.library.get(
            options.checkpoint,
            CONTROLNET if has_control else None,
            VAES.get(options.checkpoint),
            options.lora_strengths,
            dtype,
        )
        progress.figures |= {
            "device": str(networks.unet.device),
            "dtype": str(networks.unet.dtype).removeprefix("torch."),
            "weights": networks.source,
        }
        positive, negative = (
            encode(prompt, networks.text_encoder, options.clip_skip) for prompt in (self.positive, self.negative)
        )
        return Img2Img(
            unet=networks.unet,
            vae=networks.vae,
            guidance=Guidance(positive, negative, options.cfg),
            hint=networks.controlnet and Hint(networks.controlnet, in_rgb(image), canvas, options.controlnet_strength),
            sampler=self.sampler,
            seed=self.seed,
            count_retry=partial(progress.count, "retries"),
        )


def _where(only: Pillow.Image, redrawn: Picture, source: Picture) -> Picture:
    """The redrawn picture where a mask is not black, and the source elsewhere."""
    height, width = source.shape[:2]
    for top in range(0, height, ROWS_AT_A_TIME):
        rows = Box(0, top, width, min(top + ROWS_AT_A_TIME, height))
        black = stretched(only, Size(width, height), rows) == 0
        redrawn[rows.slices][black] = source[rows.slices][black]
    return redrawn
