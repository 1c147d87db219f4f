"""GFPGAN: its own inputs, and its work for the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from upscaling.errors import Code, UpscalingError
from upscaling.faces.enhancement import FaceOptions
from upscaling.portraits.restorers import Restorers
from upscaling.portraits.work import Work, with_faces
from upscaling.superres.tiling import check_tile_size
from upscaling.superres.upscalers import Upscalers
from upscaling.values import shown, whole_of_64_bits

VERSIONS = {"v1.2": "GFPGANv1.2", "v1.3": "GFPGANv1.3", "v1.4": "GFPGANv1.4", "RestoreFormer": "RestoreFormer"}
"""The choices of the input, and the names of the networks in the catalogue."""
BACKGROUND = "realesr-general-x4v3"


@dataclass(frozen=True)
class Options:
    """The inputs that other models do not have."""

    version: str = "v1.4"
    """One of VERSIONS."""
    faces: FaceOptions = field(default_factory=FaceOptions)
    tile_size: int = 0
    """Side in pixels of the input, 32–2048; 0 is automatic."""


def work(options: Options, upscalers: Upscalers, restorers: Restorers) -> Work:
    """The work for `Server.predict`; raises E_INPUT for invalid options."""
    if not isinstance(options.version, str) or options.version not in VERSIONS:  # pyright: ignore[reportUnnecessaryIsInstance]  a server may not have checked
        raise UpscalingError(Code.INPUT, f"version is {shown(options.version)}; take one of {', '.join(VERSIONS)}.")
    tile_side = whole_of_64_bits("tile_size", options.tile_size)
    check_tile_size(tile_side)
    # At full strength, as in the hosted model, so no second network is mixed in.
    background = partial(upscalers.attempts, upscalers.get(BACKGROUND, denoise_strength=1), tile_side)
    return with_faces(background, restorers, VERSIONS[options.version], options.faces)
