"""Draws what each step of the face package does, on a photo and on a made group picture, to be looked at.

The landmarks and the outline of the head are given by hand, so no weights are needed. In place of a network a tint
stands in: whatever is restored is seen, and nothing of it may move.

Usage: python tools/face_overlay.py FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from local_server import ROOT
from numpy.typing import NDArray

from upscaling.faces.alignment import align, applied, inverse
from upscaling.faces.face import AlignedFace, Face, RestoredFace
from upscaling.faces.masks import paste_mask
from upscaling.faces.parsing import Part, Parts
from upscaling.faces.pasting import paste
from upscaling.faces.restoration import Restorer, restore
from upscaling.images import Image, Size, collect
from upscaling.images.resampling import resample

PHOTO = ROOT / "samples" / "astronaut.jpg"
_LANDMARKS = ((203.4, 101.6), (245.6, 102.9), (224.1, 126.6), (204.1, 139.6), (244.6, 140.4))
_BOX = (182.0, 58.0, 268.0, 178.0)
_HEAD = (
    (154, 80), (160, 60), (175, 45), (190, 32), (195, 20), (230, 15), (270, 25), (292, 50), (301, 82), (297, 105),
    (285, 122), (277, 135), (268, 136), (265, 150), (255, 166), (237, 176), (225, 178), (210, 175), (195, 166),
    (185, 152), (182, 131), (174, 127), (169, 116), (156, 102),
)  # fmt: skip
"""The outline of hair and face in the photo."""

_GROUP = Size(1280, 800)
_CUT_OUT = (226, 108, 100)  # centre and radius of what the group picture takes of the photo, in pixels
_SCALE = 2  # of the results
_TINT = (-0.35, 0.1, 0.35)  # added to red, green and blue, of −1 to 1
_COLOURS = ((255, 60, 60), (60, 220, 60), (60, 160, 255), (255, 200, 0), (255, 0, 255))
_PANEL = 320  # pixels, height of each panel of the summary

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Place:
    """Where the group picture shows the head."""

    centre: tuple[float, float]
    size: float
    """Times the size in the photo."""
    degrees: float

    @property
    def transform(self) -> NDArray[np.float64]:
        """(2, 3): from the photo to the group picture."""
        x, y, _ = _CUT_OUT
        turned = cv2.getRotationMatrix2D((x, y), self.degrees, self.size)
        turned[:, 2] += np.subtract(self.centre, (x, y))
        return np.asarray(turned, np.float64)


AS_IT_IS = Place(_CUT_OUT[:2], 1.0, 0.0)
_PLACES = (
    Place((1130, 600), 2.2, -12),  # reaches over the right and the lower border
    Place((250, 300), 1.8, 14),
    Place((640, 250), 1.2, 0),
    Place((40, 740), 1.1, 35),  # reaches over the left and the lower border
    Place((770, 330), 0.8, -25),  # overlaps a larger one
    Place((430, 620), 0.9, 180),
    Place((390, 420), 0.6, 90),  # overlaps a larger one
    Place((980, 130), 0.5, -60),
    Place((760, 640), 0.35, 10),
    Place((880, 10), 0.7, 5),  # reaches over the upper border
    Place((1180, 180), 0.2, 0),
)


def moved(place: Place) -> Face:
    """The face of the photo where the group picture shows it."""
    left, top, right, bottom = _BOX
    corners = applied(place.transform, np.array([(left, top), (right, top), (right, bottom), (left, bottom)]))
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    landmarks = applied(place.transform, np.array(_LANDMARKS))
    return Face((left, top, right, bottom), 1.0, landmarks.astype(np.float32))


def group(photo: Picture, places: Sequence[Place], size: Size) -> Picture:
    """Copies of the head in several sizes and turns, over each other in the order of the places."""
    rows, columns = np.mgrid[: size.height, : size.width].astype(np.float32) / max(size)
    picture = np.stack([150 + 64 * columns, 150 + 64 * rows, 190 - 50 * columns], axis=-1).astype(np.uint8)
    x, y, radius = _CUT_OUT
    cut_out = np.zeros(photo.shape[:2], np.float32)
    cv2.circle(cut_out, (x, y), radius, 1.0, thickness=-1)
    cut_out = cv2.GaussianBlur(cut_out, (0, 0), 2)
    for place in places:
        reach = radius * place.size + 8
        left, top = (max(round(middle - reach), 0) for middle in place.centre)
        behind = picture[top : round(place.centre[1] + reach), left : round(place.centre[0] + reach)]
        there = place.transform - [[0, 0, left], [0, 0, top]]
        sides = behind.shape[1], behind.shape[0]
        # Reduced copies are averaged, as a camera would.
        soft = cv2.GaussianBlur(photo, (0, 0), 0.4 / place.size) if place.size < 1 else photo
        copy = cv2.warpAffine(soft, there, sides, flags=cv2.INTER_CUBIC).astype(np.float32)
        share = cv2.warpAffine(cut_out, there, sides, flags=cv2.INTER_LINEAR)[..., None]
        behind[:] = np.rint(behind + share * (copy - behind))
    return picture


def tinted(crops: torch.Tensor, _: float) -> torch.Tensor:
    """A restorer that changes nothing but the colour."""
    return crops + crops.new_tensor(_TINT)[:, None, None]


def parts(aligned: AlignedFace, place: Place) -> Parts:
    """Hair and face by the outline of the head, the rest clothes."""
    outline = applied(aligned.transform, applied(place.transform, np.array(_HEAD, np.float64)))
    found = np.full(aligned.crop.shape[:2], Part.CLOTH, np.uint8)
    cv2.fillPoly(found, [np.rint(outline).astype(np.int32)], int(Part.SKIN))
    return found


def restored(aligned: Sequence[AlignedFace], places: Sequence[Place]) -> list[RestoredFace]:
    restorer = Restorer(tinted, torch.float32, torch.device("cpu"))
    results = restore([face.crop for face in aligned], lambda _: restorer, torch.float32)
    return [
        RestoredFace(face.face, face.transform, pixels, paste_mask(parts(face, place), face.crop, pixels))
        for face, place, pixels in zip(aligned, places, results, strict=True)
        if pixels is not None
    ]


def enlarged(pixels: Picture, faces: Sequence[RestoredFace]) -> Picture:
    """The picture by Lanczos, with the faces in it."""
    height, width = pixels.shape[:2]
    size = Size(width * _SCALE, height * _SCALE)
    rows = ((band, None) for band in resample(iter([pixels]), (height, width), (size.height, size.width)))
    return collect(Image(pixels), size, paste(rows, faces, Size(width, height), size)).pixels.astype(np.uint8)


def with_outlines(pixels: Picture, aligned: Sequence[AlignedFace]) -> Picture:
    """The picture with the box, the landmarks and the border of the crop of each face."""
    drawn = pixels.copy()
    for face in aligned:
        left, top, right, bottom = (round(value) for value in face.face.box)
        cv2.rectangle(drawn, (left, top), (right, bottom), (255, 255, 0), 1, cv2.LINE_AA)
        side = len(face.crop) - 0.5
        corners = applied(inverse(face.transform), np.array([(-0.5, -0.5), (side, -0.5), (side, side), (-0.5, side)]))
        cv2.polylines(drawn, [np.rint(corners).astype(np.int32)], True, (0, 255, 255), 1, cv2.LINE_AA)
        for (x, y), colour in zip(face.face.landmarks.tolist(), _COLOURS, strict=True):
            cv2.circle(drawn, (round(x), round(y)), 2, colour, -1, cv2.LINE_AA)
    return drawn


def with_mask(face: RestoredFace, crop: Picture) -> Picture:
    """The crop, darkened where it is left as it is."""
    return np.rint(crop * (0.25 + 0.75 * face.mask[..., None])).astype(np.uint8)


def sheet(pictures: Sequence[Picture], columns: int) -> Picture:
    """Pictures of one size in rows."""
    blank = np.full_like(pictures[0], 255)
    filled = [*pictures, *[blank] * (-len(pictures) % columns)]
    return np.vstack([np.hstack(filled[i : i + columns]) for i in range(0, len(filled), columns)])


def beside(pictures: Sequence[Picture]) -> Picture:
    """Pictures of any size side by side, each `_PANEL` high, under each other."""
    sizes = [(round(picture.shape[1] * _PANEL / picture.shape[0]), _PANEL) for picture in pictures]
    return np.hstack(
        [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture, size in zip(pictures, sizes, strict=True)]
    ).astype(np.uint8)


def draw(name: str, pixels: Picture, places: Sequence[Place], folder: Path) -> Picture:
    """Writes the pictures of all steps; gives them side by side."""
    aligned = align(Image(pixels), [moved(place) for place in places])
    faces = restored(aligned, places)
    crops = [face.crop.astype(np.uint8) for face in aligned]
    columns = min(len(faces), 4)
    steps: dict[str, Picture] = {
        "found": with_outlines(pixels, aligned),
        "crops": sheet(crops, columns),
        "masks": sheet([with_mask(face, crop) for face, crop in zip(faces, crops, strict=True)], columns),
        "pasted": enlarged(pixels, faces),
    }
    for step, picture in steps.items():
        write(folder / f"{name}-{step}.png", picture)
    return beside(list(steps.values()))


def read(path: Path) -> Picture:
    decoded: Any = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.uint8)


def write(path: Path, pixels: Picture, *options: int) -> None:
    if not cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options):
        raise OSError(f"OpenCV could not write {path}")
    print(path)


def main(folder: str) -> int:
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    photo = read(PHOTO)
    one = draw("face", photo, [AS_IT_IS], target)
    several = draw("faces", group(photo, _PLACES, _GROUP), _PLACES, target)
    width = one.shape[1]
    lower = cv2.resize(several, (width, round(len(several) * width / several.shape[1])), interpolation=cv2.INTER_AREA)
    write(target / "faces.jpg", np.vstack([one, lower]).astype(np.uint8), cv2.IMWRITE_JPEG_QUALITY, 85)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
