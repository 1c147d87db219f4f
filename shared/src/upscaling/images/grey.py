"""Conversion from colour to grey."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from upscaling.images.image import ROWS_AT_A_TIME, Image, Pixels
from upscaling.images.vips import pyvips

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (Rec. 601), as in OpenCV, which grey networks were trained with."""


def in_grey(image: Image) -> Image:
    """The luma of a picture in colour, in sRGB; the profile is applied first and then dropped."""
    grey: Pixels = np.empty((image.height, image.width, 1), image.pixels.dtype)
    top = 0
    for rows in _in_srgb(image):
        grey[top : top + len(rows), :, 0] = np.rint(rows @ np.array(LUMA, np.float32))
        top += len(rows)
    return replace(image, pixels=grey, profile=None)


def _in_srgb(image: Image) -> Iterator[Pixels]:
    """Consecutive rows, (rows, width, 3)."""
    converted = None if image.profile is None else pyvips.Region.new(_converted(image, image.profile))
    for top in range(0, image.height, ROWS_AT_A_TIME):
        rows = image.pixels[top : top + ROWS_AT_A_TIME]
        if converted is not None:
            rows = np.frombuffer(converted.fetch(0, top, image.width, len(rows)), rows.dtype).reshape(rows.shape)
        yield rows


def _converted(image: Image, profile: bytes) -> Any:
    """A lazy libvips image of the picture, converted from its profile to sRGB."""
    depth, kind, space = (8, "uchar", "srgb") if image.bits == 8 else (16, "ushort", "rgb16")
    given = pyvips.Image.new_from_memory(image.pixels.data, image.width, image.height, 3, kind)
    given = given.copy(interpretation=space)
    given.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    # As for CMYK in `decode`: the default of image editors.
    return given.icc_transform("srgb", embedded=True, intent="relative", black_point_compensation=True, depth=depth)
