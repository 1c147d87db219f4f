"""ControlNet tile: its own inputs, and its work for the pipeline.

What it does is that of batouresearch/high-resolution-controlnet-tile: a checkerboard of tiles with the tile
ControlNet, then the whole picture once more without it. A ControlNet for structure stays on in both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from upscaling.diffusion.checkerboard import checkerboard, tile_of
from upscaling.diffusion.colour_fix import COLOUR_FIXES
from upscaling.diffusion.hdr import fused
from upscaling.diffusion.hints import Shown, as_they_are, parts_of
from upscaling.diffusion.inputs import InputLimits, within_limits
from upscaling.diffusion.networks import Library
from upscaling.diffusion.pictures import in_mask
from upscaling.diffusion.prompts import Embeddings
from upscaling.diffusion.prompts.a1111 import tokenize, without_loras
from upscaling.diffusion.redraw import Picture, size_of
from upscaling.diffusion.sigmas import last_steps, lcm_levels, sigmas
from upscaling.diffusion.structure import STRUCTURES
from upscaling.diffusion.work import ControlNet, Pass, Request, Work, chosen_seed, redrawing
from upscaling.images import Image, Size
from upscaling.superres.upscalers import Upscalers
from upscaling.values import one_of

RESOLUTIONS = (2048, 2560, 4096)
"""Pixels of the result's shorter side."""
SAMPLERS = {
    "DDIM": "ddim",
    "DPMSolverMultistep": "dpmpp_2m",
    "K_EULER_ANCESTRAL": "euler_ancestral",
    "K_EULER": "euler",
}
"""The samplers of diffusers' schedulers, by the choices of the input."""
UPSCALERS = (
    "automatic",
    "Lanczos",
    "RealESRGAN_x2plus",
    "RealESRGAN_x4plus",
    "RealESRGAN_x4plus_anime_6B",
    "4x_NMKD-Siax_200k",
)
CONTROLNET = "control_v11f1e_sd15_tile_fp16"
STRUCTURE_CONTROLNETS = {"canny": "control_v11p_sd15_canny_fp16", "lineart": "control_v11p_sd15_lineart_fp16"}
LCM_LORA, SHARPNESS_LORA = "lcm-lora-sdv1-5", "add_sharpness"
DETAILS_LORAS = ("add_detail", "more_details")

_SMALL = 512  # pixels of a side, below which a picture is enlarged by a network
_TILES = 4  # along the shorter side
_SMALLEST_TILE, _LARGEST_TILE = 128, 2048  # pixels of a side
_NO_GUIDANCE = 1.0  # the largest guidance_scale that does not compute the negative prompt (diffusers)

# The pass over the whole picture.
_WHOLE = 3100  # pixels of the longer side, up to which it is one sample
_WHOLE_STRENGTH, _PARTS_STRENGTH = 0.25, 0.15
_LARGEST_PART, _PART_CONTEXT = 2048, 200  # pixels
_WHOLE_OPACITY = 125  # of 255


@dataclass(frozen=True)
class Options:
    """The inputs that other models do not have; `checked` says whether they are valid."""

    prompt: str
    resolution: int
    resemblance: float
    creativity: float
    hdr: float
    scheduler: str
    steps: int
    guidance_scale: float
    seed: int | None
    """None is a random one."""
    negative_prompt: str
    guess_mode: bool
    lora_sharpness_strength: float
    lora_details_strength: float
    redraw_tile_size: int
    """Largest side of the tiles that are redrawn, in pixels of the result; 0 is a quarter of the shorter side."""
    structure: str
    structure_strength: float
    color_fix: str
    checkpoint: str
    upscaler: str
    tile_size: int
    """Side of the tiles of the network that enlarges, in pixels of the input, 32–2048; 0 is automatic."""

    @property
    def is_lcm(self) -> bool:
        """Whether the LCM LoRA is on: where guidance is off, since guidance is distilled into it.

        Other networks give dull pictures without guidance, and the LoRA gives oversaturated ones with it.
        """
        return self.guidance_scale <= _NO_GUIDANCE

    @property
    def sampler_name(self) -> str:
        """The sampler in ComfyUI's words; with the LCM LoRA, the default is LCM's own."""
        return "lcm" if self.is_lcm and self.scheduler == "DDIM" else SAMPLERS[self.scheduler]


_LIMITS = InputLimits(
    numbers={
        "resemblance": (0, 1),
        "creativity": (0.1, 1),
        "hdr": (0, 1),
        "guidance_scale": (0, 30),
        "lora_sharpness_strength": (-5, 10),
        "lora_details_strength": (-5, 3),
        "structure_strength": (0, 2),
    },
    whole_numbers={"steps": (1, 1000), "redraw_tile_size": (_SMALLEST_TILE, _LARGEST_TILE)},
    automatic=("redraw_tile_size",),
    choices={
        "scheduler": SAMPLERS,
        "structure": ("none", *STRUCTURES),
        "color_fix": COLOUR_FIXES,
        "upscaler": UPSCALERS,
    },
    truths=("guess_mode",),
    texts=("prompt", "negative_prompt", "checkpoint"),
)


def checked(options: Options) -> Options:
    """The values in their declared types; raises E_INPUT for an invalid one, by its name and with its limits."""
    resolution = one_of("resolution", options.resolution, RESOLUTIONS)
    return within_limits(replace(options, resolution=resolution), _LIMITS)


def passes(options: Options, canvas: Size) -> list[Pass]:
    """What is redrawn of a canvas: its tiles, then all of it in one sample, or in a few parts where it is large.

    Raises E_INPUT for more steps than the LCM LoRA has.
    """
    levels = lcm_levels(options.steps) if options.is_lcm else sigmas("ddim_uniform", options.steps, 1, "ddim")
    largest = options.redraw_tile_size or max(min(canvas) // _TILES, _SMALLEST_TILE)
    # Only where tiles have neighbours do they need context.
    tile = min((own for own, side in zip(tile_of(canvas, largest), canvas, strict=True) if own < side), default=0)
    if max(canvas) <= _WHOLE:
        parts, strength = checkerboard(canvas, _WHOLE, 0, 0), _WHOLE_STRENGTH
    else:
        parts = checkerboard(canvas, _LARGEST_PART, _PART_CONTEXT, _PART_CONTEXT // 2)
        strength = _PARTS_STRENGTH
    return [
        Pass(
            checkerboard(canvas, largest, context=tile // 2, fade=tile // 4),
            last_steps(levels, options.steps, options.creativity),
        ),
        Pass(
            parts,
            last_steps(levels, options.steps, strength),
            without=(CONTROLNET,),
            opacity=_WHOLE_OPACITY,
            other_noise=1,
        ),
    ]


def work(options: Options, mask: Image | None, upscalers: Upscalers, library: Library) -> Work:
    """The work for `Server.predict`, by `checked` options; raises E_INPUT for names that are not known.

    Where the mask is black, the picture is enlarged only; it is stretched over the result.
    """
    prompt, loras = without_loras(options.prompt)
    embeddings: Embeddings = library.embeddings()
    request = Request(
        positive=tokenize(prompt, embeddings),
        negative=tokenize(options.negative_prompt, embeddings),
        clip_skip=1,
        cfg=max(options.guidance_scale, _NO_GUIDANCE),
        checkpoint=options.checkpoint,
        loras=[*_loras(options), *loras],
        controlnets=_controlnets(options),
        sampler_name=options.sampler_name,
        seed=chosen_seed(options.seed),
        passes=partial(passes, options),
        upscaler=lambda image: _upscaler(options.upscaler, image),
        tile_size=options.tile_size,
        batch_size=0,
        color_fix=options.color_fix,
        only=None if mask is None else in_mask(mask),
        figures={"steps": options.steps, "sampler": options.sampler_name},
        fits_surroundings=True,
        prepared=partial(fused, hdr=options.hdr) if options.hdr else None,
    )
    return redrawing(request, upscalers, library)


def _loras(options: Options) -> list[tuple[str, float]]:
    return [
        (LCM_LORA, float(options.is_lcm)),
        (SHARPNESS_LORA, options.lora_sharpness_strength),
        *((name, options.lora_details_strength) for name in DETAILS_LORAS),
    ]


def _controlnets(options: Options) -> list[ControlNet]:
    tile = ControlNet(CONTROLNET, options.resemblance, lambda picture, source: as_they_are, options.guess_mode)
    if options.structure == "none":
        return [tile]
    hint_of_all = STRUCTURES[options.structure]

    def shown(picture: Picture, source: Picture) -> Shown:
        return parts_of(hint_of_all(source), size_of(source))

    name = STRUCTURE_CONTROLNETS[options.structure]
    return [tile, ControlNet(name, options.structure_strength, shown, options.guess_mode)]


def _upscaler(chosen: str, image: Image) -> str | None:
    """The network for a picture by the input; None is Lanczos."""
    if chosen == "automatic":
        return "RealESRGAN_x2plus" if min(image.width, image.height) < _SMALL else None
    return None if chosen == "Lanczos" else chosen
