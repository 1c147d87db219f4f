"""Encodes an `Image` to a file."""

from __future__ import annotations

import logging
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from upscaling.errors import Code, UpscalingError
from upscaling.images.image import Image
from upscaling.images.png import PngHeader, write_png
from upscaling.images.rows import with_alpha
from upscaling.images.vips import forget_errors, pyvips, refuse_known_error

logger = logging.getLogger(__name__)


class OutputFormat(StrEnum):
    """The output formats; the value is the file extension."""

    PNG = "png"
    JPG = "jpg"
    WEBP = "webp"


# Pixels: JPEG_MAX_DIMENSION of libjpeg, WEBP_MAX_DIMENSION of libwebp.
_LONGEST_SIDE = {OutputFormat.JPG: 65_500, OutputFormat.WEBP: 16_383}


def check_format(output_format: str, quality: int, width: int, height: int) -> OutputFormat:
    """The format of a name, after checking that a picture of this size can be written in it.

    Raises E_INPUT for an unknown format or a quality outside 1–100, and E_TOO_LARGE if a side is longer than the
    format allows.
    """
    if output_format not in list(OutputFormat):
        raise UpscalingError(
            Code.INPUT, f"output_format is {output_format[:80]!r}; take one of {', '.join(OutputFormat)}."
        )
    if not 1 <= quality <= 100:
        raise UpscalingError(Code.INPUT, f"output_quality is {quality}; take 1 to 100.")
    chosen = OutputFormat(output_format)
    longest = _LONGEST_SIDE.get(chosen)
    if longest is not None and max(width, height) > longest:
        raise UpscalingError(
            Code.TOO_LARGE,
            f"the result would be {width}×{height}, and {chosen} allows at most {longest} pixels per side."
            " Ask for png or for a smaller size.",
        )
    return chosen


def encode(image: Image, path: Path, output_format: OutputFormat, quality: int) -> None:
    """Writes the picture to `path`; a file that cannot be finished is removed.

    PNG keeps 8 and 16 bit, grey and alpha. JPEG flattens alpha on white. JPEG and WebP round 16 bit to 8.
    quality is 1–100, for JPEG and WebP. Raises E_ENCODE if the file cannot be written.
    """
    if output_format is OutputFormat.PNG:
        write_png(path, PngHeader.of(image, image.width, image.height), iter([with_alpha(image.pixels, image.alpha)]))
        return
    forget_errors()
    try:
        ready = _ready(image, output_format)
        target = pyvips.Target.new_to_file(str(path))
        # libvips writes the resolution of these formats as EXIF only.
        kept = "icc|exif" if image.resolution else "icc"
        save = ready.jpegsave_target if output_format is OutputFormat.JPG else ready.webpsave_target
        save(target, Q=quality, keep=kept)
    except pyvips.Error as error:
        with suppress(OSError):
            path.unlink()
        refuse_known_error(error)
        # Clients must not learn where the server keeps its files.
        reason = " ".join(str(error).replace(str(path), path.name).split())
        raise UpscalingError(
            Code.ENCODE, f"the {output_format} file could not be written ({reason}). Is the disk full?"
        ) from error


def _ready(image: Image, output_format: OutputFormat) -> Any:
    """The picture as libvips has it, converted to what the format can store."""
    assembled = _assemble(_in_8_bit(image))
    if output_format is OutputFormat.WEBP:
        return _in_srgb_unless_rgb(assembled)
    if image.alpha is None:
        return assembled
    logger.warning("JPEG has no alpha. The picture is flattened on white.")
    return assembled.flatten(background=[255])


def _assemble(image: Image) -> Any:
    """An 8 bit picture as a libvips image."""
    samples = with_alpha(image.pixels, image.alpha)
    height, width, bands = samples.shape
    assembled = pyvips.Image.new_from_memory(np.ascontiguousarray(samples).data, width, height, bands, "uchar")
    assembled = assembled.copy(interpretation="b-w" if image.is_grey else "srgb")
    if image.resolution is not None:
        assembled = assembled.copy(xres=image.resolution[0], yres=image.resolution[1])
    if image.profile is not None:
        assembled.set_type(pyvips.GValue.blob_type, "icc-profile-data", image.profile)
    return assembled


def _in_8_bit(image: Image) -> Image:
    if image.bits == 8:
        return image
    logger.warning("The format has 8 bit. The 16 bit of the picture are rounded.")
    return Image(_rounded(image.pixels), None if image.alpha is None else _rounded(image.alpha),
                 image.profile, image.resolution)  # fmt: skip


def _rounded(samples: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    # 65535 / 255 = 257, so this is the nearest 8 bit value.
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _in_srgb_unless_rgb(assembled: Any) -> Any:
    # WebP is always RGB, so it cannot have a grey profile.
    if assembled.interpretation == "b-w" and assembled.get_typeof("icc-profile-data") != 0:
        return assembled.icc_transform("srgb", embedded=True)
    return assembled
