"""From a picture to the faces that are pasted into it, with what became of each."""

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
    """What faces need. Each is called when its network is needed, and should keep what it loaded."""

    detector: Callable[[], Detector]
    parser: Callable[[], Parser]
    restorer: Callable[[torch.dtype], Restorer]
    dtype: torch.dtype
    """The type that faces are restored in first: bfloat16 or float32."""


@dataclass(frozen=True)
class FaceOptions:
    """What a caller may ask for."""

    only_center_face: bool = False
    min_face_size: float = SMALLEST_FOUND
    """Pixels of the picture, of the longer side of a face's box."""
    strength: float = 1.0
    """0–1, from the face that is only enlarged to the restored one."""
    fidelity: float = 0.5
    """0–1, from quality to likeness; for CodeFormer alone."""


@dataclass(frozen=True)
class Outcome:
    """What became of a face that was found."""

    face: Face
    outcome: Literal["restored", "failed", "unaligned"]
    """failed: the network made NaN or infinity of it; unaligned: its landmarks fit no face."""


def _say_nothing(_: float) -> None:
    pass


def enhance_faces(
    image: Image, networks: FaceNetworks, options: FaceOptions, reach: Callable[[float], object] = _say_nothing
) -> tuple[tuple[RestoredFace, ...], tuple[Outcome, ...]]:
    """The faces to paste, and one outcome for each face that was found, in the same order.

    reach is called with the share of the faces that are done, 0–1. A picture without faces gives none of both, with a
    line in the log. Raises E_NONFINITE if the network fails for every face, E_MEMORY if memory runs out for a single
    face, and what `detect` raises.
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
            " The weights may be damaged: remove and fetch them.",
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
