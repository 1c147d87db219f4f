"""CodeFormer: its own inputs, and its work for the pipeline.

The weights of its network for faces are for non-commercial use only (S-Lab License 1.0).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

from upscaling.errors import Code, UpscalingError
from upscaling.faces.enhancement import FaceOptions
from upscaling.portraits.restorers import Restorers
from upscaling.portraits.work import Work, lanczos, with_faces
from upscaling.superres.tiling import check_tile_size
from upscaling.superres.upscalers import Upscalers
from upscaling.values import number, shown, truth, whole_of_64_bits

BACKGROUND, RESTORER = "RealESRGAN_x2plus", "codeformer"


@dataclass(frozen=True)
class Options:
    """The inputs that other models do not have."""

    fidelity: float = 0.5
    """0–1, from quality to likeness; the input is called `codeformer_fidelity`."""
    background_enhance: bool = True
    """Whether a network enlarges the background; otherwise Lanczos does."""
    face_upsample: bool = True
    """Whether a network enlarges the restored faces."""
    faces: FaceOptions = field(default_factory=FaceOptions)
    tile_size: int = 0
    """Side in pixels of the input, 32–2048; 0 is automatic."""


def work(options: Options, upscalers: Upscalers, restorers: Restorers) -> Work:
    """The work for `Server.predict`; raises E_INPUT for invalid options."""
    if not 0 <= number("codeformer_fidelity", options.fidelity) <= 1:
        raise UpscalingError(Code.INPUT, f"codeformer_fidelity is {shown(options.fidelity)}; take 0 to 1.")
    tile_side = whole_of_64_bits("tile_size", options.tile_size)
    check_tile_size(tile_side)
    network = partial(upscalers.attempts, upscalers.get(BACKGROUND), tile_side)
    return with_faces(
        network if truth("background_enhance", options.background_enhance) else lanczos,
        restorers,
        RESTORER,
        replace(options.faces, fidelity=options.fidelity),
        enlarge=network if truth("face_upsample", options.face_upsample) else None,
    )


def scale(upscale: int) -> int:
    """The factor of the input `upscale`; raises E_INPUT if it is not 1 to 10."""
    factor = whole_of_64_bits("upscale", upscale)
    if not 1 <= factor <= 10:
        raise UpscalingError(Code.INPUT, f"upscale is {factor}; take 1 to 10.")
    return factor
