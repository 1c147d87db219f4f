"""Finds, aligns and restores the faces of a picture, and reports the outcome for each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from upscaling.errors import Code, UpscalingError
from upscaling.faces.alignment import align
from upscaling.faces.detection import SMALLEST_FOUND, Detector, detect, nearest_to_centre
from upscaling.faces.face import AlignedFace, Face, RestoredFace
from upscaling.faces.masks import paste_mask
from upscaling.faces.parsing import Parser, parse
from upscaling.faces.restoration import Restorer, restore
from upscaling.images import Image
from upscaling.runtime.memory import memory_errors_coded

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FaceNetworks:
    """Functions that give the networks for faces when they are needed. They should keep the networks loaded."""

    detector: Callable[[], Detector]
    parser: Callable[[], Parser]
    restorer: Callable[[torch.dtype], Restorer]
    dtype: torch.dtype
    """The type in which faces are restored first: bfloat16 or float32."""


@dataclass(frozen=True)
class FaceOptions:
    """The options of a request."""

    only_center_face: bool = False
    min_face_size: float = SMALLEST_FOUND
    """The longer side of a face's box, in pixels of the picture."""
    strength: float = 1.0
    """0–1, from the enlarged face to the restored one."""
    fidelity: float = 0.5
    """0–1, from quality to likeness; only for CodeFormer."""


@dataclass(frozen=True)
class Outcome:
    """What happened to a face that was found."""

    face: Face
    outcome: Literal["restored", "failed", "unaligned"]
    """failed: the network gave NaN or infinity; unaligned: the landmarks fit no face."""


def _say_nothing(_: float) -> None:
    pass


def enhance_faces(
    image: Image, networks: FaceNetworks, options: FaceOptions, reach: Callable[[float], object] = _say_nothing
) -> tuple[tuple[RestoredFace, ...], tuple[Outcome, ...]]:
    """Returns the faces to paste, and an outcome for each face that was found, in the same order.

    reach is called with the share of the faces that are done, 0–1. Both results are empty for a picture without faces.
    Raises E_NONFINITE if the network fails for every face, E_MEMORY if memory runs out for a single face, and what
    `detect` raises.
    """
    with memory_errors_coded("the faces", "Send a smaller picture."):
        return _enhanced(image, networks, options, reach)


def _enhanced(
    image: Image, networks: FaceNetworks, options: FaceOptions, reach: Callable[[float], object]
) -> tuple[tuple[RestoredFace, ...], tuple[Outcome, ...]]:
    found = detect(image, networks.detector(), options.min_face_size)
    if options.only_center_face:
        found = nearest_to_centre(found, image)
    logger.info("Faces found: %d.", len(found))
    if not found:
        return (), ()
    aligned = align(image, found)
    restored = tuple(_restored(aligned, networks, options, reach))
    if aligned and not restored:
        raise UpscalingError(
            Code.NONFINITE,
            f"the network for faces gave NaN or infinity for all {len(aligned)} faces, in fp32 too."
            " The weights may be damaged: remove them and download them again.",
        )
    return restored, tuple(_outcome(face, aligned, restored) for face in found)


def _restored(
    aligned: tuple[AlignedFace, ...], networks: FaceNetworks, options: FaceOptions, reach: Callable[[float], object]
) -> Iterator[RestoredFace]:
    crops = [face.crop for face in aligned]
    results = restore(crops, networks.restorer, networks.dtype, options.fidelity)
    for done, (face, pixels) in enumerate(zip(aligned, results, strict=True), 1):
        if pixels is not None:
            (parts,) = parse([pixels], networks.parser())
            mask = paste_mask(parts, face.crop, pixels, options.strength)
            yield RestoredFace(face.face, face.transform, pixels, mask)
        reach(done / len(aligned))


def _outcome(face: Face, aligned: tuple[AlignedFace, ...], restored: tuple[RestoredFace, ...]) -> Outcome:
    if any(other.face is face for other in restored):
        return Outcome(face, "restored")
    return Outcome(face, "failed" if any(other.face is face for other in aligned) else "unaligned")
