"""Hints of a picture's structure for ControlNets: edges and lines, white on black.

They are what controlnet-aux 0.0.10 makes of a picture at its own size: `CannyDetector` and `LineartStandardDetector`.
Both depend on the whole picture, so they are made of it once, and tiles are shown their parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from upscaling.diffusion.picture_blocks import Part, blocks
from upscaling.diffusion.redraw import Picture

_CANNY = (100, 200)  # gradients from which on an edge goes on, and begins
_EDGE, _MAY_BE = 255, 1  # levels of edges, and of what is one if it goes on from an edge
_EDGE_HALO = 2  # pixels that decide on one: the gradients beside its own
_SIGMA = 6.0  # pixels
_LINE_HALO = 24  # pixels that OpenCV's kernel of this sigma reaches
_SIDE = 512  # of blocks, in pixels
_LEAST, _LEAST_MEDIAN, _LEVEL = 8, 16, 127  # of 255
_PARTS = 256  # of a level that the median is found by; a hint is a level away at most


def canny(picture: Picture) -> NDArray[np.uint8]:
    """The edges of a picture (height, width, 3), RGB, by Canny 1986: (height, width, 1), black or white.

    They are followed through the whole picture; beside the result, this takes the memory of a block.
    """
    edges = np.empty(picture.shape[:2], np.uint8)
    for block in blocks(edges, _SIDE, _EDGE_HALO):
        # With both thresholds at one gradient, all pixels above it are edges.
        goes_on, begins = (cv2.Canny(picture[block.around], level, level)[block.own] for level in _CANNY)
        edges[block.place] = np.where(begins, _EDGE, np.where(goes_on, _MAY_BE, 0))
    while _followed(edges):
        pass
    for block in blocks(edges, _SIDE):
        part = edges[block.place]
        part[part == _MAY_BE] = 0
    return edges[..., None]


def _followed(edges: NDArray[np.uint8]) -> bool:
    """Follows edges through every block, and a pixel into those beside it; returns whether any went on."""
    went_on = False
    for block in blocks(edges, _SIDE, 1):
        part = edges[block.around]
        pieces = cast(NDArray[np.int32], cv2.connectedComponents(part, connectivity=8)[1])
        is_edge = part == _EDGE
        found = np.isin(pieces, pieces[is_edge]) & ~is_edge
        part[found] = _EDGE
        went_on |= bool(found.any())
    return went_on


def lineart(picture: Picture) -> NDArray[np.uint8]:
    """The lines of a picture (height, width, 3), RGB: what is darker than its surroundings in all channels.

    They are (height, width, 1), as bright as they are dark, with the median of the whole picture at 127.
    """
    hint = np.empty((*picture.shape[:2], 1), np.uint8)
    median = _median(picture)
    for part, darkness in _darkness(picture):
        hint[part] = (darkness / median * _LEVEL).clip(0, 255)[..., None]
    return hint


def _median(picture: Picture) -> np.float32:
    """The median of all darkness that counts, from how often each part of a level occurs."""
    counts = np.zeros(256 * _PARTS, np.int64)
    for _, darkness in _darkness(picture):
        counts += np.bincount((darkness[darkness > _LEAST] * _PARTS).astype(np.intp), minlength=len(counts))
    up_to = counts.cumsum()
    # The two in the middle, which are the same one in an odd number.
    middle = np.searchsorted(up_to, [(up_to[-1] + 1) // 2, up_to[-1] // 2 + 1]).mean() + 0.5
    return np.float32(max(_LEAST_MEDIAN, middle / _PARTS if up_to[-1] else 0))


def _darkness(picture: Picture) -> Iterator[tuple[Part, NDArray[np.float32]]]:
    """How much darker than its surroundings each pixel is, 0–255; in blocks, each with its place."""
    for block in blocks(picture, _SIDE, _LINE_HALO):
        values = picture[block.around].astype(np.float32)
        yield block.place, (cv2.GaussianBlur(values, (0, 0), _SIGMA) - values).min(2)[block.own].clip(0, 255)


STRUCTURES: Mapping[str, Callable[[Picture], NDArray[np.uint8]]] = {"canny": canny, "lineart": lineart}
