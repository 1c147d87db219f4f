"""The work that all models which redraw share: a picture is enlarged, then redrawn part by part in several passes."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from time import perf_counter

import torch
from PIL import Image as Pillow

from upscaling.diffusion.colour_fix import fix_colours
from upscaling.diffusion.crops import LATENT, Crop, check_sampled
from upscaling.diffusion.encode import encode
from upscaling.diffusion.enlarging import enlarged
from upscaling.diffusion.guidance import Guidance
from upscaling.diffusion.hints import Shown
from upscaling.diffusion.img2img import Hint, Img2Img, batch_size
from upscaling.diffusion.inpainting import Surroundings
from upscaling.diffusion.networks import Library, Networks
from upscaling.diffusion.noise import LARGEST_SEED
from upscaling.diffusion.picture_mask import continued_mask, faded, over_source
from upscaling.diffusion.pictures import as_it_was, continued, in_rgb, rows_of
from upscaling.diffusion.prompts import Prompt
from upscaling.diffusion.redraw import Picture, redraw, size_of
from upscaling.diffusion.samplers import ONE_AT_A_TIME, sampler
from upscaling.images import Image, Rows, Size
from upscaling.images.transparency import without_hidden_colours
from upscaling.runtime.memory import memory_errors_coded
from upscaling.runtime.progress import Figure, Progress
from upscaling.superres.tiling import tile_size
from upscaling.superres.upscalers import Upscalers

logger = logging.getLogger(__name__)

Work = Callable[[Image, Size, Progress], Iterator[Rows]]
"""What `Server.predict` takes: the rows of the result, once or several times in wider types."""

VAES = {"Realistic_Vision_V5.1": "vae-ft-mse-840000-ema-pruned"}
"""The autoencoders of checkpoints that are published to be used with another than their own."""
_SEED_BITS = 32  # of a random seed

# TFLOP per megapixel, to divide the progress by: RRDB for its input; UNet and ControlNet for a step of both prompts.
_ENLARGING_WORK, _STEP_WORK = 36.0, 8.0


@dataclass(frozen=True)
class Pass:
    """Parts of a canvas that are redrawn along one schedule."""

    crops: Sequence[Crop]
    schedule: torch.Tensor
    without: Collection[str] = ()
    """The names of ControlNets that do not act on them."""
    opacity: int = 255
    """How much of what is redrawn is laid over the canvas, up to 255."""
    other_noise: int = 0
    """Added to the seed: the same noise once more would sharpen what it made before."""

    @property
    def work(self) -> float:
        """In millionths of a TFLOP."""
        return sum(crop.size.width * crop.size.height for crop in self.crops) * len(self.schedule) * _STEP_WORK


@dataclass(frozen=True)
class ControlNet:
    """A ControlNet that keeps what is redrawn close to something."""

    name: str
    strength: float
    shown: Callable[[Picture, Picture], Shown]
    """From the picture as it came, and as it is before it is redrawn, to what the network is shown."""
    guess_mode: bool = False


@dataclass(frozen=True)
class Request:
    """What is redrawn and how, for all models in the same words."""

    positive: Prompt
    negative: Prompt
    clip_skip: int
    cfg: float
    checkpoint: str
    loras: Sequence[tuple[str, float]]
    controlnets: Sequence[ControlNet]
    sampler_name: str
    seed: int
    passes: Callable[[Size], Sequence[Pass]]
    upscaler: Callable[[Image], str | None]
    """The network that enlarges a picture; None is Lanczos."""
    tile_size: int
    """Side of that network's tiles, in pixels of the input; 0 is automatic."""
    batch_size: int
    color_fix: str
    only: Pillow.Image | None
    """Where it is black, the picture is enlarged only; it is stretched over the result."""
    figures: Mapping[str, Figure]
    """Metrics of the request itself."""
    fits_surroundings: bool = False
    """Whether parts fit themselves to what is around them while they are denoised, beside being blended with it.

    The canvas is then continued to multiples of 8 pixels, so that no part is resized.
    """
    prepared: Callable[[Picture], Picture] | None = None
    """What is done to the enlarged picture before it is redrawn."""

    @property
    def acting(self) -> list[ControlNet]:
        """The ControlNets of any strength."""
        return [controlnet for controlnet in self.controlnets if controlnet.strength > 0]


def chosen_seed(seed: int | None) -> int:
    """A seed, or a random one for None."""
    return secrets.randbits(_SEED_BITS) if seed is None else seed


def redrawing(request: Request, upscalers: Upscalers, library: Library) -> Work:
    """The work for `Server.predict`; raises E_INPUT for names that are not known, whether or not they are needed."""
    sampler(request.sampler_name)
    names = [controlnet.name for controlnet in request.controlnets]
    library.check(request.checkpoint, names, VAES.get(request.checkpoint), request.loras)
    return _Job(request, upscalers, library).attempts


@dataclass(frozen=True)
class _Job:
    """A request and what it is done with: the same for every attempt, so that its noise is too."""

    request: Request
    upscalers: Upscalers
    library: Library

    def attempts(self, image: Image, size: Size, progress: Progress) -> Iterator[Rows]:
        """Yields the rows of the result in the fast type, then those in fp32 if that is another."""
        # Cog writes whole numbers of more than 63 bits as floats, which round them.
        seed = self.request.seed if self.request.seed < 2**63 else str(self.request.seed)
        progress.figures |= {"seed": seed, "retries": 0, **self.request.figures}
        yield self._rows(image, size, progress, self.library.dtype)
        if self.library.dtype is not torch.float32:
            progress.count("retries")
            # The picture is enlarged again, which takes seconds on a GPU. On a CPU it takes minutes, but there bf16 has
            # the range of fp32, so hardly anything comes here; and to keep the picture takes memory of every request.
            yield self._rows(image, size, progress, torch.float32)

    def _rows(self, image: Image, size: Size, progress: Progress, dtype: torch.dtype) -> Rows:
        progress.figures["tiles"] = 0
        multiple = LATENT if self.request.fits_surroundings else 1
        extent = Size(*(ceil(side / multiple) * multiple for side in size))
        # A schedule without a step, for a denoise of 0, redraws nothing.
        passes = [each for each in self.request.passes(extent) if each.crops and len(each.schedule) > 1]
        for each in passes:
            check_sampled(each.crops)
        enlarging, *parts = progress.split(
            image.width * image.height * _ENLARGING_WORK, *(each.work for each in passes)
        )
        image = without_hidden_colours(image)
        with _timed("loading", progress):
            # Before the picture is enlarged, so that missing weights are an error at once.
            networks = self._networks(dtype, progress) if passes else None
        with _timed("enlarging", progress):
            large = self._enlarged(image, size, enlarging)
        if networks is None and self.request.prepared is None:
            progress.figures["seconds_redrawing"] = 0.0
            yield from rows_of(large)
            return
        if image.bits == 16:
            logger.info("The picture has 16 bit; it is redrawn in 8 bit.")
        with _timed("redrawing", progress):
            canvas, alpha = in_rgb(large), large.alpha
            del large  # the canvas is held once
            # One after the other, so that no more than two are held at once.
            if self.request.prepared is not None:
                canvas = over_source(self.request.only, self.request.prepared(canvas), canvas)
            canvas = continued(canvas, extent)
            if networks is not None:
                only = continued_mask(self.request.only, size, extent)
                hints = self._hints(networks, in_rgb(image), canvas)
                img2img = self._img2img(networks, canvas, only, progress)
                source = canvas.copy() if self.request.color_fix != "none" else canvas
                for each, part in zip(passes, parts, strict=True):
                    self._redraw(canvas, only, img2img, hints, each, part)
                visible = None if alpha is None else continued(alpha, extent)
                canvas = fix_colours(self.request.color_fix, canvas, source, only, visible)
        yield from as_it_was(canvas[: size.height, : size.width], image, alpha)

    def _enlarged(self, image: Image, size: Size, progress: Progress) -> Image:
        name = self.request.upscaler(image)
        upscaler = None if name is None else self.upscalers.get(name)
        tile = tile_size(self.request.tile_size, self.upscalers.device, image.width)
        own = Progress(progress.reach, {"retries": progress.figures["retries"]})
        large = enlarged(image, size, upscaler, tile, own)
        # Where the picture is redrawn too, the others are of the redraw.
        progress.figures |= own.figures | progress.figures | {"retries": own.figures["retries"]}
        progress.reach(1)
        return large

    def _redraw(
        self,
        canvas: Picture,
        only: Pillow.Image | None,
        img2img: Img2Img,
        hints: Mapping[str, Hint],
        one: Pass,
        progress: Progress,
    ) -> None:
        """Redraws what a pass redraws of a canvas, in place."""
        request = self.request
        at_once = batch_size(request.batch_size, img2img.unet.device, img2img.unet.dtype, one.crops)
        if request.sampler_name in ONE_AT_A_TIME:
            at_once = 1
        tile = max(crop.size for crop in one.crops)
        own = replace(
            img2img,
            hints=[hint for name, hint in hints.items() if name not in one.without],
            seed=(img2img.seed + one.other_noise) % (LARGEST_SEED + 1),
        )
        redraw_batch = own.at(one.schedule)
        with memory_errors_coded(f"a tile of {tile.width}×{tile.height} pixels"):
            redrawn = redraw(
                canvas, one.crops, redraw_batch, at_once, progress.reach, faded(only, one.opacity), img2img.unet.device
            )
        progress.count("tiles", redrawn)

    def _networks(self, dtype: torch.dtype, progress: Progress) -> Networks:
        request = self.request
        networks = self.library.get(
            request.checkpoint,
            [controlnet.name for controlnet in request.acting],
            VAES.get(request.checkpoint),
            request.loras,
            dtype,
        )
        progress.figures |= {
            "device": str(networks.unet.device),
            "dtype": str(networks.unet.dtype).removeprefix("torch."),
            "weights": networks.source,
        }
        return networks

    def _hints(self, networks: Networks, picture: Picture, canvas: Picture) -> dict[str, Hint]:
        """The ControlNets that act, by name, and what they are shown."""
        return {
            asked.name: Hint(network, asked.strength, asked.shown(picture, canvas), asked.guess_mode)
            for asked, network in zip(self.request.acting, networks.controlnets, strict=True)
        }

    def _img2img(self, networks: Networks, canvas: Picture, only: Pillow.Image | None, progress: Progress) -> Img2Img:
        request = self.request
        positive, negative = (
            encode(prompt, networks.text_encoder, request.clip_skip) for prompt in (request.positive, request.negative)
        )
        return Img2Img(
            unet=networks.unet,
            vae=networks.vae,
            guidance=Guidance(positive, negative, request.cfg),
            hints=(),  # each pass has its own
            sampler=sampler(request.sampler_name),
            seed=request.seed,
            count_retry=partial(progress.count, "retries"),
            surroundings=Surroundings(size_of(canvas), only) if request.fits_surroundings else None,
        )


@contextmanager
def _timed(part: str, progress: Progress) -> Generator[None]:
    started = perf_counter()
    yield
    progress.figures[f"seconds_{part}"] = round(perf_counter() - started, 4)
