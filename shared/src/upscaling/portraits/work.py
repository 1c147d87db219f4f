"""The work of all models with faces: an enlarged background, with restored faces pasted onto its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from upscaling.errors import Code, UpscalingError
from upscaling.faces.alignment import scale_of
from upscaling.faces.detection import SMALLEST_FOUND
from upscaling.faces.enhancement import FaceOptions, Outcome, enhance_faces
from upscaling.faces.face import CROP_SIDE, RestoredFace
from upscaling.faces.pasting import paste
from upscaling.images import Image, Rows, Size, collect
from upscaling.images.resampling import resized
from upscaling.images.transparency import without_hidden_colours
from upscaling.portraits.restorers import Restorers
from upscaling.runtime.attempts import first_finite
from upscaling.runtime.progress import Progress
from upscaling.values import number, shown, truth, whole_of_64_bits

Work = Callable[[Image, Size, Progress], Iterator[Rows]]
"""What `Server.predict` takes: yields the rows of the result, and again in wider types if a type fails."""

_ENLARGED_SIDE = 2 * CROP_SIDE  # pixels of a face after `face_upsample`


def lanczos(image: Image, size: Size, _: Progress) -> Iterator[Rows]:
    """Enlarges the background by Lanczos, without a network."""
    yield resized(image, size)


def with_faces(
    background: Work, restorers: Restorers, name: str, options: FaceOptions, enlarge: Work | None = None
) -> Work:
    """Adds restored faces to the work of a background.

    name is the restoration network's name in the catalogue. enlarge doubles the restored faces if the result is larger
    than the picture. Faces are found and restored once, before the first row; the metric `faces` lists them. Raises
    E_INPUT for an unknown name or invalid options; the work raises what `enhance_faces` raises.
    """
    restorer, options = restorers.entry(name), _checked(options)

    def attempts(image: Image, size: Size, progress: Progress) -> Iterator[Rows]:
        of_faces, of_background = progress.split(1, 1)
        source = Size(image.width, image.height)
        networks = restorers.networks(restorer, image)
        faces, outcomes = enhance_faces(without_hidden_colours(image), networks, options, of_faces.reach)
        progress.figures["faces"] = _listed(outcomes)
        progress.figures |= {"device": str(restorers.device), "face_dtype": str(networks.dtype).removeprefix("torch.")}
        if enlarge is not None:
            faces = tuple(doubled_where_coarse(face, enlarge, source, size, progress) for face in faces)
        of_faces.reach(1)
        for rows in background(image, size, of_background):
            yield paste(rows, faces, source, size)

    return attempts


def _checked(options: FaceOptions) -> FaceOptions:
    """The options in their declared types; raises E_INPUT for invalid ones, with the names of the inputs."""
    if not 0 <= number("face_strength", options.strength) <= 1:
        raise UpscalingError(Code.INPUT, f"face_strength is {shown(options.strength)}; take 0 to 1.")
    smallest = whole_of_64_bits("min_face_size", options.min_face_size)
    if smallest < SMALLEST_FOUND:
        raise UpscalingError(
            Code.INPUT, f"min_face_size is {smallest}; take {SMALLEST_FOUND:g} or more: smaller faces are not found."
        )
    return replace(
        options, only_center_face=truth("only_center_face", options.only_center_face), min_face_size=smallest
    )


def _listed(outcomes: Sequence[Outcome]) -> list[dict[str, object]]:
    return [
        {
            "box": [round(side, 1) for side in outcome.face.box],
            "score": round(outcome.face.score, 4),
            "outcome": outcome.outcome,
        }
        for outcome in outcomes
    ]


def doubled_where_coarse(
    face: RestoredFace, enlarge: Work, source: Size, target: Size, progress: Progress
) -> RestoredFace:
    """The restored face, doubled if the result is enlarged and the face is pasted at more than half its size."""
    factor = (target.width * target.height / (source.width * source.height)) ** 0.5
    if factor <= 1 or scale_of(face.transform) / factor >= 2:
        return face
    image, size = Image(face.restored), Size(_ENLARGED_SIDE, _ENLARGED_SIDE)
    larger = first_finite(enlarge(image, size, Progress(figures=progress.figures)), partial(collect, image, size))
    return replace(face, restored=larger.pixels)
