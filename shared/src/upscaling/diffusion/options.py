"""The inputs of Ultimate SD Upscale, under their published names, and their limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from upscaling.diffusion import lora
from upscaling.diffusion.colour_fix import COLOUR_FIXES
from upscaling.diffusion.layout import Layout
from upscaling.diffusion.noise import LARGEST_SEED
from upscaling.diffusion.patches import Order, SeamFix
from upscaling.errors import Code, UpscalingError
from upscaling.images import Size
from upscaling.superres.tiling import check_tile_size
from upscaling.values import number, shown, truth, whole_of_64_bits

UPSCALERS = ("4x_NMKD-Siax_200k", "4x-UltraSharp", "RealESRGAN_x4plus", "RealESRGAN_x4plus_anime_6B")
"""Networks that enlarge the picture before it is redrawn, by the names of the input's choices."""
USUAL_SEAM_FIX_DENOISE = 1.0
"""The hosted default, at which seams are redrawn with `denoise`: the published code ignores this input.

Redrawn with 1, seams would have nothing in common with the picture.
"""

_Number = TypeVar("_Number", bound=float)

# What ComfyUI and its nodes accept.
_NUMBERS: Mapping[str, tuple[float, float]] = {
    "upscale_by": (0.05, 4),
    "controlnet_strength": (0, 10),
    "cfg": (0, 100),
    "denoise": (0, 1),
    "seam_fix_denoise": (0, 1),
}
_WHOLE_NUMBERS: Mapping[str, tuple[int, int]] = {
    "steps": (1, 10_000),
    "tile_width": (64, 8192),
    "tile_height": (64, 8192),
    "mask_blur": (0, 64),
    "tile_padding": (0, 8192),
    "seam_fix_width": (0, 8192),
    "seam_fix_mask_blur": (0, 64),
    "seam_fix_padding": (0, 8192),
    "batch_size": (0, 64),
    "clip_skip": (1, 12),
}
_CHOICES: Mapping[str, Collection[str]] = {
    "upscaler": UPSCALERS,
    "mode_type": list(Order),
    "seam_fix_mode": list(SeamFix),
    "color_fix": COLOUR_FIXES,
}
_TRUTHS = ("use_controlnet_tile", "force_uniform_tiles")
_TEXTS = ("positive_prompt", "negative_prompt", "loras", "checkpoint", "sampler_name", "scheduler")
_LONGEST_PROMPT = 100_000  # characters


@dataclass(frozen=True)
class Options:
    """The inputs that other models do not have; `check` says whether they are valid."""

    positive_prompt: str
    negative_prompt: str
    upscaler: str
    upscale_by: float
    use_controlnet_tile: bool
    controlnet_strength: float
    seed: int | None
    """None is a random one."""
    steps: int
    cfg: float
    sampler_name: str
    scheduler: str
    denoise: float
    mode_type: str
    tile_width: int
    tile_height: int
    mask_blur: int
    tile_padding: int
    seam_fix_mode: str
    seam_fix_denoise: float
    seam_fix_width: int
    seam_fix_mask_blur: int
    seam_fix_padding: int
    force_uniform_tiles: bool
    checkpoint: str
    batch_size: int
    """Tiles that are redrawn at once, at most; 0 is automatic."""
    color_fix: str
    clip_skip: int
    loras: str
    """`name:weight, …`; empty for none."""
    tile_size: int
    """Side of the tiles of the network that enlarges, in pixels of the input, 32–2048; 0 is automatic."""

    @property
    def layout(self) -> Layout:
        """Where the picture is redrawn."""
        return Layout(
            order=Order(self.mode_type),
            tile=Size(self.tile_width, self.tile_height),
            padding=self.tile_padding,
            blur=self.mask_blur,
            seam_fix=SeamFix(self.seam_fix_mode),
            seam_width=self.seam_fix_width,
            seam_padding=self.seam_fix_padding,
            seam_blur=self.seam_fix_mask_blur,
            uniform=self.force_uniform_tiles,
        )

    @property
    def lora_strengths(self) -> tuple[tuple[str, float], ...]:
        """The LoRAs by name, and the strength of each; raises E_INPUT for other text than `name:weight, …`."""
        return lora.parsed(self.loras)

    @property
    def effective_seam_fix_denoise(self) -> float:
        """What seams are redrawn with."""
        return self.denoise if self.seam_fix_denoise == USUAL_SEAM_FIX_DENOISE else self.seam_fix_denoise


def checked(options: Options) -> Options:
    """The values in their declared types; raises E_INPUT for an invalid one, by its name and with its limits.

    Names of samplers, schedulers, checkpoints and LoRAs are checked where they are looked up.
    """
    given = asdict(options)
    numbers = {name: _within(name, number(name, given[name]), *limits) for name, limits in _NUMBERS.items()}
    whole_numbers = {
        name: _within(name, whole_of_64_bits(name, given[name]), *limits) for name, limits in _WHOLE_NUMBERS.items()
    }
    for name in _TRUTHS:
        truth(name, given[name])
    for name in (*_TEXTS, *_CHOICES):
        _check_text(name, given[name])
    for name, choices in _CHOICES.items():
        if given[name] not in choices:
            raise UpscalingError(Code.INPUT, f"{name} is {shown(given[name])}; take one of {', '.join(choices)}.")
    tile_size = whole_of_64_bits("tile_size", options.tile_size)
    check_tile_size(tile_size)
    seed = options.seed
    if seed is not None:
        seed = _within("seed", whole_of_64_bits("seed", seed), 0, LARGEST_SEED)
    return replace(options, **numbers, **whole_numbers, tile_size=tile_size, seed=seed)


def _within(name: str, value: _Number, least: float, most: float) -> _Number:
    if not least <= value <= most:
        raise UpscalingError(Code.INPUT, f"{name} is {shown(value)}; take {least} to {most}.")
    return value


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise UpscalingError(Code.INPUT, f"{name} is {shown(value)}; take a text.")
    if len(value) > _LONGEST_PROMPT:
        raise UpscalingError(Code.INPUT, f"{name} has {len(value)} characters; take {_LONGEST_PROMPT} at most.")
