"""Finds faces.

A picture whose longer side is at most 1280 pixels is looked at as it is. Of a larger one the first look is at a copy
reduced to that. The network finds faces from 10 pixels on, so whoever wants faces that are smaller than that in the
copy has the picture looked at again: on copies that are larger by up to eight times from one to the next, until a
face of the wanted size is 10 pixels wide there, or until the picture itself. These copies are cut into tiles of at most
1280 pixels that overlap by twice the size below which the copy before was blind, so that every face that only this
copy shows lies whole in a tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import ceil, hypot, log
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import nms

from upscaling.errors import Code, UpscalingError
from upscaling.faces.arch.fill import fill
from upscaling.faces.arch.retinaface import ANCHOR_SIZES, STRIDES, RetinaFace
from upscaling.faces.face import Face
from upscaling.images import Image
from upscaling.images.image import Pixels

LARGEST_LOOK = 1280
"""The longer side of what the network sees at once, in pixels."""
SMALLEST_FOUND = 10.0
"""The size of the smallest face that the network finds, in pixels."""

_LARGEST_STEP = 8.0  # from one copy to the next larger one
_OVERLAP = round(2 * SMALLEST_FOUND * _LARGEST_STEP)  # of tiles, in pixels
_CONFIDENCE = 0.97  # as FaceRestoreHelper of facexlib asks for
_SAME_FACE = 0.4  # intersection over union, as facexlib
_LEAST_EYE_DISTANCE = 5.0  # pixels of the picture, as GFPGANer and CodeFormer: nothing to restore below
_MEANS = (104.0, 117.0, 123.0)  # blue, green, red, of the training set
_CENTRE_VARIANCE, _SIZE_VARIANCE = 0.1, 0.2  # what the network's predictions are multiplied by


@dataclass(frozen=True)
class Detector:
    """A loaded RetinaFace, in fp32: landmarks need more digits than bf16 has."""

    network: RetinaFace
    device: torch.device


class _Tile(NamedTuple):
    left: int
    top: int
    right: int
    bottom: int


def load_detector(weights: Mapping[str, torch.Tensor], device: torch.device) -> Detector:
    """The detector of facexlib's `detection_Resnet50_Final`; raises E_WEIGHTS for any other state dict."""
    state = {name.removeprefix("module."): value for name, value in weights.items()}
    with torch.device("meta"):
        network = RetinaFace()
    fill(network, state, "RetinaFace-ResNet50", torch.float32, device)
    return Detector(network, device)


def detect(image: Image, detector: Detector, min_face_size: float = SMALLEST_FOUND) -> tuple[Face, ...]:
    """All faces of a picture, surest first; see the head of this module for how large pictures are looked at.

    min_face_size is in pixels of the picture, of the longer side of a face's box. Alpha is not looked at. Raises
    E_NONFINITE where the network produces NaN or infinity.
    """
    found: list[Face] = []
    for copy in _copies(image.pixels, min_face_size):
        scale = np.array([image.width / copy.shape[1], image.height / copy.shape[0]], np.float32)
        found += _new(_in_copy(copy, detector, scale), found)
    wanted = [face for face in found if face.size >= min_face_size and _eye_distance(face) >= _LEAST_EYE_DISTANCE]
    return tuple(sorted(wanted, key=lambda face: -face.score))


def nearest_to_centre(faces: tuple[Face, ...], image: Image) -> tuple[Face, ...]:
    """The one face whose box lies nearest to the centre of the picture; none of none."""
    middle = image.width / 2, image.height / 2
    return tuple(sorted(faces, key=lambda face: hypot(*np.subtract(face.centre, middle)))[:1])


def _copies(pixels: Pixels, min_face_size: float) -> Iterator[Pixels]:
    """The picture in the sizes that it is looked at, smallest first."""
    height, width = pixels.shape[:2]
    first = min(1.0, LARGEST_LOOK / max(height, width))
    last = min(1.0, max(first, SMALLEST_FOUND / max(min_face_size, SMALLEST_FOUND)))
    steps = ceil(log(last / first, _LARGEST_STEP) - 1e-9)
    for step in range(steps + 1):
        factor = first * (last / first) ** (step / max(steps, 1))
        size = max(round(width * factor), 1), max(round(height * factor), 1)
        if size == (width, height):
            yield pixels
        else:
            reduced = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
            yield reduced.astype(pixels.dtype, copy=False).reshape(size[1], size[0], -1)


def _in_copy(copy: Pixels, detector: Detector, scale: NDArray[np.float32]) -> list[Face]:
    """All faces of a copy of the picture; scale is (2,), pixels of the picture per pixel of the copy, x and y."""
    height, width = copy.shape[:2]
    results = [
        _whole(_look(copy[tile.top : tile.bottom, tile.left : tile.right], detector), tile, width, height)
        for tile in _tiles(width, height)
    ]
    boxes, scores, landmarks = (np.concatenate(parts) for parts in zip(*results, strict=True))
    kept = _surest(boxes, scores)
    boxes, landmarks = boxes * np.tile(scale, 2), landmarks * scale
    return [Face(tuple(boxes[i].tolist()), float(scores[i]), landmarks[i]) for i in kept]


_Predictions = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""Boxes (n, 4), scores (n,) and landmarks (n, 5, 2), in pixels."""


def _look(pixels: Pixels, detector: Detector) -> _Predictions:
    """What the network is sure of in a tile, in the tile's own pixels."""
    height, width = pixels.shape[:2]
    levels = np.iinfo(pixels.dtype).max / 255
    with torch.inference_mode():
        colours = torch.as_tensor(np.ascontiguousarray(pixels)).to(detector.device).float() / levels
        colours = colours.expand(height, width, 3).flip(2) - colours.new_tensor(_MEANS)
        batch = colours.permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)
        boxes, scores, landmarks = (prediction[0] for prediction in detector.network(batch))
        if not all(bool(prediction.isfinite().all()) for prediction in (boxes, scores, landmarks)):
            raise UpscalingError(
                Code.NONFINITE,
                "the network that finds faces gave NaN or infinity. The weights may be damaged: remove and fetch them.",
            )
        sure = scores > _CONFIDENCE
        anchors = _anchors(height, width, detector.device)[sure]
        size = anchors.new_tensor([width, height])
        centres = anchors[:, :2] + boxes[sure, :2] * _CENTRE_VARIANCE * anchors[:, 2:]
        sides = anchors[:, 2:] * torch.exp(boxes[sure, 2:] * _SIZE_VARIANCE)
        corners = torch.cat([(centres - sides / 2) * size, (centres + sides / 2) * size], dim=1)
        offsets = landmarks[sure].unflatten(1, (5, 2)) * _CENTRE_VARIANCE * anchors[:, None, 2:]
        points = (anchors[:, None, :2] + offsets) * size
    return corners.cpu().numpy(), scores[sure].cpu().numpy(), points.cpu().numpy()


def _anchors(height: int, width: int, device: torch.device) -> torch.Tensor:
    """(anchors, 4): centre and sides of each, relative to the size of what is looked at."""
    size = np.array([width, height], np.float64)
    anchors: list[NDArray[np.float64]] = []
    for stride, sides in zip(STRIDES, ANCHOR_SIZES, strict=True):
        rows, columns = np.mgrid[: ceil(height / stride), : ceil(width / stride)]
        centres = (np.stack([columns, rows], axis=-1).reshape(-1, 1, 2) + 0.5) * stride / size
        shapes = np.array(sides)[:, None] / size
        both = np.broadcast_arrays(centres, shapes[None])
        anchors.append(np.concatenate(both, axis=-1).reshape(-1, 4))
    return torch.as_tensor(np.concatenate(anchors).astype(np.float32)).to(device)


def _tiles(width: int, height: int) -> Iterator[_Tile]:
    yield from (
        _Tile(left, top, right, bottom) for (top, bottom), (left, right) in product(_spans(height), _spans(width))
    )


def _spans(length: int) -> list[tuple[int, int]]:
    """Spans of at most LARGEST_LOOK that overlap by at least _OVERLAP and begin at even distances."""
    count = max(ceil((length - _OVERLAP) / (LARGEST_LOOK - _OVERLAP)), 1)
    side = min(length, LARGEST_LOOK)
    return [(start, start + side) for start in (round(i * (length - side) / max(count - 1, 1)) for i in range(count))]


def _whole(predictions: _Predictions, tile: _Tile, width: int, height: int) -> _Predictions:
    """Predictions in a tile as ones in the copy, without those that an edge inside the copy may have cut."""
    boxes, scores, landmarks = predictions
    corner = np.array([tile.left, tile.top], np.float32)
    boxes, landmarks = boxes + np.tile(corner, 2), landmarks + corner
    inside = (
        ((boxes[:, 0] > tile.left) | (tile.left == 0))
        & ((boxes[:, 1] > tile.top) | (tile.top == 0))
        & ((boxes[:, 2] < tile.right - 1) | (tile.right == width))
        & ((boxes[:, 3] < tile.bottom - 1) | (tile.bottom == height))
    )
    return boxes[inside], scores[inside], landmarks[inside]


def _surest(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> list[int]:
    """One prediction per face, the surest, surest first."""
    return [int(i) for i in nms(torch.as_tensor(boxes), torch.as_tensor(scores), _SAME_FACE)]


def _new(faces: list[Face], known: list[Face]) -> list[Face]:
    """The faces that no smaller copy showed: a face, or its eye, in the box of a known one is that one."""
    return [face for face in faces if not any(_within(face.centre, other.box) for other in known)]


def _within(point: tuple[float, float], box: tuple[float, float, float, float]) -> bool:
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def _eye_distance(face: Face) -> float:
    return float(np.linalg.norm(face.landmarks[0] - face.landmarks[1]))
