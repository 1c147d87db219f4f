"""Decodes a file to an `Image`: upright, straight alpha, 8 or 16 bit, with its profile."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from upscaling.errors import Code, UpscalingError
from upscaling.images.colours import is_display_p3
from upscaling.images.formats import sniff
from upscaling.images.gif import check_canvas
from upscaling.images.image import ROWS_AT_A_TIME, Image, Pixels
from upscaling.images.jpeg import refuse_missing_pixels, straighten
from upscaling.images.limits import Limits
from upscaling.images.mapped import Mapping, damaged, mapped
from upscaling.images.metadata import hide_in_webp
from upscaling.images.pngclaims import refuse_claims
from upscaling.images.several import animation
from upscaling.images.vips import error_text, forget_errors, pyvips, refuse_known_error

logger = logging.getLogger(__name__)

_LOADERS = {
    "PNG": "pngload_source",
    "JPEG": "jpegload_source",
    "WebP": "webpload_source",
    "AVIF": "heifload_source",
    "TIFF": "tiffload_source",
    "GIF": "gifload_source",
}
_DEPTHS = {"uchar": 8, "ushort": 16}  # libvips sample format → bits
_RGB_OR_GREY = {"b-w", "grey16", "srgb", "rgb16"}
_LAB = {"lab": "float", "labs": "short"}  # libvips interpretation → sample format
_PROFILE_SPACES = {1: b"GRAY", 3: b"RGB "}  # ICC.1:2022, table 19: colour space signatures
# Pixels per millimetre that libvips gives where a file says nothing: most formats, PNG, JPEG.
_UNSAID, _UNSAID_IN_JPEG = (0.0, 1.0, 2.834), 72 / 25.4
_FINEST = 2**32 // 1000 - 1  # pixels per millimetre; a PNG holds them per metre in 32 bit
_FIRST_TURNED = 5  # EXIF orientations from here on exchange width and height


@dataclass(frozen=True)
class Header:
    """What is known of a picture before it is decoded."""

    width: int
    """Pixels, upright."""
    height: int
    is_grey: bool
    """Whether it has one channel beside alpha once it is decoded."""


def probe(path: Path, limits: Limits) -> Header:
    """What a picture's header says, without decoding.

    Raises E_FORMAT for what is not read, E_TOO_LARGE above the limit, E_DECODE for a damaged header.
    """
    with _coded_errors():
        header = _open(path, limits)
        width, height = header.width, header.height
        if _orientation(header) >= _FIRST_TURNED:
            width, height = height, width
        return Header(width, height, is_grey=header.bands - int(header.hasalpha()) == 1)


def decode(path: Path, limits: Limits) -> Image:
    """Reads a whole picture, after its header has passed the limits.

    Orientation is applied, RGB and grey profiles are kept, CMYK and Lab become sRGB.
    Raises as `probe` does, and E_DECODE for damage anywhere in the file.
    """
    with _coded_errors():
        return _read(_open(path, limits))


@contextmanager
def _coded_errors() -> Generator[None]:
    forget_errors()
    try:
        yield
    except OSError as error:
        raise UpscalingError(Code.DECODE, f"the file cannot be opened ({error.strerror}). Send it again.") from error
    except pyvips.Error as error:
        refuse_known_error(error)
        raise damaged(_last_line(error)) from error


def _open(path: Path, limits: Limits) -> Any:
    """The lazy image of libvips, its header read and checked."""
    data = mapped(path)
    name = sniff(data)
    if name == "JPEG":
        straighten(data)
    if name == "WebP":
        hide_in_webp(data)
    if name == "GIF":
        check_canvas(data, limits)
    source = pyvips.Source.new_from_memory(data)
    # At "truncated" libvips would take a TIFF that is cut off.
    header = pyvips.Operation.call(_LOADERS[name], source, access="sequential", fail_on="error")
    header._references.append(source)  # pyvips does so for its own loaders only
    _check_header(header, name, limits)
    if name == "PNG":
        refuse_claims(data)
    return _as_said(header, data, name)


def _as_said(header: Any, data: Mapping, name: str) -> Any:
    """The lazy image with what libvips does not know of its colours, and without what is not meant."""
    if name == "AVIF" and header.get_typeof("orientation"):
        # An AVIF is turned by properties of its own, which libheif applies; EXIF's word does not count.
        header = header.copy()
        header.remove("orientation")
    if is_display_p3(data, name):
        header = header.copy()
        header.set_type(pyvips.GValue.blob_type, "icc-profile-data", pyvips.Operation.call("profile_load", "p3"))
    return header


def _check_header(header: Any, name: str, limits: Limits) -> None:
    limits.check_input(header.width, header.height)
    pages = header.get_n_pages()
    if pages > 1:
        raise animation(name, pages)
    space, kind = header.interpretation, header.format
    # What more than its three channels means in Lab, libvips does not know.
    is_lab = _LAB.get(space) == kind and header.bands == 3
    if not (is_lab or (space in _RGB_OR_GREY | {"cmyk"} and kind in _DEPTHS)):
        raise UpscalingError(
            Code.FORMAT,
            f"this {name} holds {space} samples, {header.bands} × {kind}, which are not read;"
            " save it as RGB or grey of 8 or 16 bit.",
        )


def _read(header: Any) -> Image:
    image = _upright(header)
    image, profile = _in_rgb_or_grey(image)
    colours = image.bands - int(image.hasalpha())
    if image.bands > 4 or colours not in _PROFILE_SPACES:
        raise UpscalingError(
            Code.FORMAT, f"the picture has {image.bands} channels; save it as grey or RGB, with or without alpha."
        )
    samples = _samples(image)
    refuse_missing_pixels(error_text())
    return Image(
        # Contiguous copies only where alpha stood in between.
        pixels=np.ascontiguousarray(samples[..., :colours]),
        alpha=np.ascontiguousarray(samples[..., colours]) if image.hasalpha() else None,
        profile=_matching_profile(profile, colours),
        resolution=_resolution(header),
    )


def _resolution(header: Any) -> tuple[float, float] | None:
    across, down = float(header.xres), float(header.yres)
    is_said = header.get_typeof("resolution-unit") != 0 or across != _UNSAID_IN_JPEG
    if across == down and (across in _UNSAID or not is_said):
        return None
    if not (0 < across <= _FINEST and 0 < down <= _FINEST):
        return None
    return (down, across) if _orientation(header) >= _FIRST_TURNED else (across, down)


def _upright(image: Any) -> Any:
    if _orientation(image) in (0, 1):
        return image
    # Turning reads columns as rows, which a sequential decoder cannot give.
    return image.copy_memory().autorot()


def _orientation(image: Any) -> int:
    return image.get("orientation") if image.get_typeof("orientation") else 1


def _in_rgb_or_grey(image: Any) -> tuple[Any, bytes | None]:
    if image.interpretation == "cmyk":
        depth = _DEPTHS[image.format]
        # Relative colorimetric with black point compensation is what editors convert with.
        converted = image.extract_band(0, n=4).icc_transform(
            "srgb", embedded=True, input_profile="cmyk", intent="relative", black_point_compensation=True, depth=depth
        )
        # Left to libvips, 16 bit alpha would overflow.
        return (converted.bandjoin(image.extract_band(4, n=image.bands - 4)) if image.hasalpha() else converted), None
    if image.interpretation in _LAB:
        # The Lab of files is relative to D50, as that of profiles is; libvips' own is relative to D65.
        return image.icc_export(output_profile="srgb", depth=16), None
    has_profile = image.get_typeof("icc-profile-data") != 0
    return image, bytes(image.get("icc-profile-data")) if has_profile else None


def _samples(image: Any) -> Pixels:
    samples: Pixels = np.empty(
        (image.height, image.width, image.bands), np.uint8 if _DEPTHS[image.format] == 8 else np.uint16
    )
    region = pyvips.Region.new(image)
    used_bits = image.get("bits-per-sample") if image.get_typeof("bits-per-sample") else 16
    for top in range(0, image.height, ROWS_AT_A_TIME):
        rows = samples[top : top + ROWS_AT_A_TIME]
        raw = region.fetch(0, top, image.width, len(rows))
        rows[...] = np.frombuffer(raw, samples.dtype).reshape(rows.shape)
        if 8 < used_bits < 16:
            # AVIF of 10 or 12 bit comes shifted to the left: without its lower bits, white is not white.
            rows |= rows >> used_bits
    return samples


def _matching_profile(profile: bytes | None, colours: int) -> bytes | None:
    if profile is None:
        return None
    profile = profile[: int.from_bytes(profile[:4])]  # its own length: some files pad it
    if profile[16:20] == _PROFILE_SPACES[colours] and _is_sound(profile, colours):
        return profile
    logger.warning("The embedded colour profile is damaged or not for %d channels: it is dropped.", colours)
    return None


def _is_sound(profile: bytes, colours: int) -> bool:
    """Whether the result can be converted from it, and written with it: PNG is the strictest there."""
    pixel = pyvips.Image.black(1, 1, bands=colours).copy(interpretation="b-w" if colours == 1 else "srgb")
    pixel.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    try:
        pixel.icc_import(embedded=True).avg()
        written = pyvips.Image.pngload_buffer(pixel.pngsave_buffer(keep="icc"))
    except pyvips.Error:
        return False
    return written.get_typeof("icc-profile-data") != 0


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
