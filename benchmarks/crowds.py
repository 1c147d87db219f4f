"""Pictures of many faces, with the landmarks of each: copies of the face of one photo, which nothing has to find."""

from __future__ import annotations

import json
from math import ceil, sqrt
from pathlib import Path

import numpy as np
from face_overlay import PHOTO, Place, group, moved, read, write

from upscaling.faces.face import Face
from upscaling.images import Size

_HEAD = 210  # pixels of the photo: what a copy of the head takes, at its own size
_DEGREES = 15  # by which every second head is turned, to both sides in turn


def places(size: Size, count: int) -> list[Place]:
    """Where the heads are: in rows that fill the picture."""
    columns = ceil(sqrt(count * size.width / size.height))
    rows = ceil(count / columns)
    cell = min(size.width / columns, size.height / rows)
    return [
        Place(
            ((index % columns + 0.5) * size.width / columns, (index // columns + 0.5) * size.height / rows),
            cell / _HEAD,
            (index % 3 - 1) * _DEGREES,
        )
        for index in range(count)
    ]


def write_crowd(path: Path, width: int, height: int, count: int) -> Path:
    """The picture, and beside it the landmarks in a file of its name."""
    shown = places(Size(width, height), count)
    write(path, group(read(PHOTO), shown, Size(width, height)))
    _landmarks(path).write_text(json.dumps([moved(place).landmarks.tolist() for place in shown]))
    return path


def faces(path: Path) -> tuple[Face, ...]:
    """What a detector would find in a picture of `write_crowd`."""
    return tuple(_face(np.array(points, np.float32)) for points in json.loads(_landmarks(path).read_text()))


def _face(landmarks: np.ndarray) -> Face:
    (left, top), (right, bottom) = landmarks.min(axis=0).tolist(), landmarks.max(axis=0).tolist()
    return Face((left, top, right, bottom), 1.0, landmarks)


def _landmarks(path: Path) -> Path:
    return path.with_suffix(".json")
