"""Finds faces.

A picture whose longer side is at most 1280 pixels is searched as it is, a larger one in a copy that is reduced to this
size. The network finds faces of 10 pixels or more. If smaller faces in the copy are wanted, larger copies are searched
too, each up to eight times as large as the one before, until a face of the wanted size has 10 pixels, or until the
picture itself. These copies are cut into tiles of at most 1280×1280 pixels. Tiles overlap by twice the size of the
largest face that the copy before was too small for, so each new face lies whole in a tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
from upscaling.runtime import convolution

LARGEST_TILE = 1280
"""The longer side of what the network searches at once, in pixels."""
SMALLEST_FOUND = 10.0
"""The size of the smallest face that the network finds, in pixels."""

_LARGEST_STEP = 8.0  # from one copy to the next larger one
_TILE_MULTIPLE = 32  # pixels, the largest stride of the network: for sides of tiles
_CONFIDENCE = 0.97  # as FaceRestoreHelper of facexlib
_SAME_FACE = 0.4  # intersection over union, as facexlib
_LEAST_EYE_DISTANCE = 5.0  # pixels of the picture, as in GFPGANer and CodeFormer
_MEANS = (104.0, 117.0, 123.0)  # of the training set: blue, green, red
_CENTRE_VARIANCE, _SIZE_VARIANCE = 0.1, 0.2  # factors of the network's predictions


@dataclass(frozen=True)
class Detector:
    """A loaded RetinaFace. It is in fp32, because bf16 is not precise enough for landmarks."""

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
    network.fold()
    if convolution.are_onednns(torch.float32, device):
        convolution.prepare(network)
    return Detector(network, device)


def detect(image: Image, detector: Detector, min_face_size: float = SMALLEST_FOUND) -> tuple[Face, ...]:
    """All faces of a picture, highest score first; the head of this module describes how large pictures are searched.

    min_face_size is the longer side of a face's box, in pixels of the picture. Alpha is ignored. Raises E_NONFINITE if
    the network gives NaN or infinity.
    """
    found: list[Face] = []
    for copy, overlap in _copies(image.pixels, min_face_size):
        scale = np.array([image.width / copy.shape[1], image.height / copy.shape[0]], np.float32)
        found += _new(_in_copy(copy, overlap, detector, scale), found)
    wanted = [face for face in found if face.size >= min_face_size and _eye_distance(face) >= _LEAST_EYE_DISTANCE]
    return tuple(sorted(wanted, key=lambda face: -face.score))


def nearest_to_centre(faces: tuple[Face, ...], image: Image) -> tuple[Face, ...]:
    """The face whose box is nearest to the centre of the picture; empty if there are no faces."""
    middle = image.width / 2, image.height / 2
    return tuple(sorted(faces, key=lambda face: hypot(*np.subtract(face.centre, middle)))[:1])


def _copies(pixels: Pixels, min_face_size: float) -> Iterator[tuple[Pixels, int]]:
    """The copies of the picture that are searched, smallest first, each with the overlap of its tiles in pixels."""
    height, width = pixels.shape[:2]
    first = min(1.0, LARGEST_TILE / max(height, width))
    last = min(1.0, max(first, SMALLEST_FOUND / max(min_face_size, SMALLEST_FOUND)))
    count = ceil(log(last / first, _LARGEST_STEP) - 1e-9)
    step = (last / first) ** (1 / max(count, 1))
    overlap = ceil(2 * SMALLEST_FOUND * step)
    for index in range(count + 1):
        factor = first * step**index
        size = max(round(width * factor), 1), max(round(height * factor), 1)
        if size == (width, height):
            yield pixels, overlap
        else:
            reduced = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
            yield reduced.astype(pixels.dtype, copy=False).reshape(size[1], size[0], -1), overlap


def _in_copy(copy: Pixels, overlap: int, detector: Detector, scale: NDArray[np.float32]) -> list[Face]:
    """All faces of a copy of the picture; scale is (2,): pixels of the picture per pixel of the copy, in x and y."""
    height, width = copy.shape[:2]
    results = [
        _whole(_search(copy[tile.top : tile.bottom, tile.left : tile.right], detector), tile, width, height)
        for tile in _tiles(width, height, overlap)
    ]
    boxes, scores, landmarks = (np.concatenate(parts) for parts in zip(*results, strict=True))
    kept = [int(i) for i in nms(torch.as_tensor(boxes), torch.as_tensor(scores), _SAME_FACE)]  # highest score first
    boxes, landmarks = boxes * np.tile(scale, 2), landmarks * scale
    return [Face(tuple(boxes[i].tolist()), float(scores[i]), landmarks[i]) for i in kept]


_Predictions = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""Boxes (n, 4), scores (n,) and landmarks (n, 5, 2), in pixels."""


def _search(pixels: Pixels, detector: Detector) -> _Predictions:
    """The predictions of the network for a tile that have a high score, in pixels of the tile."""
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
                "the network that finds faces gave NaN or infinity. The weights may be damaged: remove them and"
                " download them again.",
            )
        high = scores > _CONFIDENCE
        anchors = _anchors(height, width, detector.device)[high]
        size = anchors.new_tensor([width, height])
        centres = anchors[:, :2] + boxes[high, :2] * _CENTRE_VARIANCE * anchors[:, 2:]
        sides = anchors[:, 2:] * torch.exp(boxes[high, 2:] * _SIZE_VARIANCE)
        corners = torch.cat([(centres - sides / 2) * size, (centres + sides / 2) * size], dim=1)
        offsets = landmarks[high].unflatten(1, (5, 2)) * _CENTRE_VARIANCE * anchors[:, None, 2:]
        points = (anchors[:, None, :2] + offsets) * size
    return corners.cpu().numpy(), scores[high].cpu().numpy(), points.cpu().numpy()


def _anchors(height: int, width: int, device: torch.device) -> torch.Tensor:
    """(anchors, 4): centre and sides of each, relative to the size of the tile."""
    size = np.array([width, height], np.float64)
    anchors: list[NDArray[np.float64]] = []
    for stride, sides in zip(STRIDES, ANCHOR_SIZES, strict=True):
        rows, columns = np.mgrid[: ceil(height / stride), : ceil(width / stride)]
        centres = (np.stack([columns, rows], axis=-1).reshape(-1, 1, 2) + 0.5) * stride / size
        shapes = np.array(sides)[:, None] / size
        both = np.broadcast_arrays(centres, shapes[None])
        anchors.append(np.concatenate(both, axis=-1).reshape(-1, 4))
    return torch.as_tensor(np.concatenate(anchors).astype(np.float32)).to(device)


def _tiles(width: int, height: int, overlap: int) -> Iterator[_Tile]:
    columns = _spans(width, overlap)
    yield from (_Tile(left, top, right, bottom) for top, bottom in _spans(height, overlap) for left, right in columns)


def _spans(length: int, overlap: int) -> list[tuple[int, int]]:
    """The fewest spans of at most LARGEST_TILE that cover a length and overlap by at least so much, evenly spaced."""
    count = max(ceil((length - overlap) / (LARGEST_TILE - overlap)), 1)
    side = ceil((length + (count - 1) * overlap) / count / _TILE_MULTIPLE) * _TILE_MULTIPLE
    side = min(side, LARGEST_TILE, length)
    return [(start, start + side) for start in (round(i * (length - side) / max(count - 1, 1)) for i in range(count))]


def _whole(predictions: _Predictions, tile: _Tile, width: int, height: int) -> _Predictions:
    """Moves the predictions of a tile to the copy, without those that an inner edge of the tile may have cut."""
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


def _new(faces: list[Face], known: list[Face]) -> list[Face]:
    """The faces that are new: if the centre lies in the box of a known face, it is that face, or an eye of it."""
    return [face for face in faces if not any(_within(face.centre, other.box) for other in known)]


def _within(point: tuple[float, float], box: tuple[float, float, float, float]) -> bool:
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def _eye_distance(face: Face) -> float:
    return float(np.linalg.norm(face.landmarks[0] - face.landmarks[1]))
