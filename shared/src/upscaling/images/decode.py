"""Decodes a file to an `Image`: upright, with straight alpha, in 8 or 16 bit, with its profile."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from upscaling.errors import Code, UpscalingError
from upscaling.images.animation import animation_error
from upscaling.images.colours import is_display_p3
from upscaling.images.formats import sniff
from upscaling.images.gif import check_canvas
from upscaling.images.image import ROWS_AT_A_TIME, Image, Pixels
from upscaling.images.jpeg import refuse_missing_pixels, repair_harmless_errors
from upscaling.images.limits import Limits
from upscaling.images.mapped import Mapping, damaged, mapped
from upscaling.images.metadata import hide_in_webp
from upscaling.images.png_check import check_png
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
# Pixels per millimetre that libvips reports for files without a resolution: most formats and PNG; JPEG.
_DEFAULTS, _DEFAULT_OF_JPEG = (0.0, 1.0, 2.834), 72 / 25.4
_HIGHEST_RESOLUTION = 2**32 // 1000 - 1  # pixels per millimetre; PNG stores pixels per metre in 32 bit
_FIRST_TRANSPOSED = 5  # EXIF orientations from 5 on swap width and height


@dataclass(frozen=True)
class Header:
    """What the header of a file says about the picture."""

    width: int
    """Pixels, after the orientation is applied, as is the height."""
    height: int
    is_grey: bool
    """Whether the decoded picture has one channel, not counting alpha."""


def probe(path: Path, limits: Limits) -> Header:
    """Reads the header of a picture, without decoding the pixels.

    Raises E_FORMAT for unsupported files, E_TOO_LARGE above the limit and E_DECODE for a damaged header.
    """
    with _coded_errors():
        header = _open(path, limits)
        width, height = header.width, header.height
        if _orientation(header) >= _FIRST_TRANSPOSED:
            width, height = height, width
        return Header(width, height, is_grey=header.bands - int(header.hasalpha()) == 1)


def decode(path: Path, limits: Limits) -> Image:
    """Reads a whole picture, after checking its header against the limits.

    Orientation is applied, RGB and grey profiles are kept, CMYK and Lab become sRGB. Raises the same errors as
    `probe`, and E_DECODE for damage anywhere in the file.
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
    """A lazy libvips image, after its header has been read and checked."""
    data = mapped(path)
    name = sniff(data)
    if name == "JPEG":
        repair_harmless_errors(data)
    if name == "WebP":
        hide_in_webp(data)
    if name == "GIF":
        check_canvas(data, limits)
    source = pyvips.Source.new_from_memory(data)
    # With "truncated", libvips would accept truncated TIFFs.
    header = pyvips.Operation.call(_LOADERS[name], source, access="sequential", fail_on="error")
    header._references.append(source)  # pyvips does this only for the loaders that it defines
    _check_header(header, name, limits)
    if name == "PNG":
        check_png(data)
    return _corrected(header, data, name)


def _corrected(header: Any, data: Mapping, name: str) -> Any:
    """The lazy image, with colour information that libvips does not read, and without an EXIF orientation in AVIF."""
    if name == "AVIF" and header.get_typeof("orientation"):
        # AVIF stores its orientation in its own properties, which libheif has applied. EXIF is to be ignored.
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
        raise animation_error(name, pages)
    space, kind = header.interpretation, header.format
    # libvips does not know the meaning of further channels in Lab.
    is_lab = _LAB.get(space) == kind and header.bands == 3
    if not (is_lab or (space in _RGB_OR_GREY | {"cmyk"} and kind in _DEPTHS)):
        raise UpscalingError(
            Code.FORMAT,
            f"this {name} has {space} samples, {header.bands} × {kind}, which are not supported;"
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
        # Copies only if alpha lies between the colours.
        pixels=np.ascontiguousarray(samples[..., :colours]),
        alpha=np.ascontiguousarray(samples[..., colours]) if image.hasalpha() else None,
        profile=_matching_profile(profile, colours),
        resolution=_resolution(header),
    )


def _resolution(header: Any) -> tuple[float, float] | None:
    across, down = float(header.xres), float(header.yres)
    is_given = header.get_typeof("resolution-unit") != 0 or across != _DEFAULT_OF_JPEG
    if across == down and (across in _DEFAULTS or not is_given):
        return None
    if not (0 < across <= _HIGHEST_RESOLUTION and 0 < down <= _HIGHEST_RESOLUTION):
        return None
    return (down, across) if _orientation(header) >= _FIRST_TRANSPOSED else (across, down)


def _upright(image: Any) -> Any:
    if _orientation(image) in (0, 1):
        return image
    # Rotation needs random access, and the decoder is sequential.
    return image.copy_memory().autorot()


def _orientation(image: Any) -> int:
    return image.get("orientation") if image.get_typeof("orientation") else 1


def _in_rgb_or_grey(image: Any) -> tuple[Any, bytes | None]:
    if image.interpretation == "cmyk":
        depth = _DEPTHS[image.format]
        # Relative colorimetric with black point compensation, the default of image editors.
        converted = image.extract_band(0, n=4).icc_transform(
            "srgb", embedded=True, input_profile="cmyk", intent="relative", black_point_compensation=True, depth=depth
        )
        # The alpha is added here because libvips lets 16 bit alpha overflow.
        return (converted.bandjoin(image.extract_band(4, n=image.bands - 4)) if image.hasalpha() else converted), None
    if image.interpretation in _LAB:
        # Lab in files, as in profiles, is relative to D50; the Lab of libvips is relative to D65.
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
            # libvips shifts AVIF samples of 10 or 12 bit to the left. Filling the lower bits makes white 65535.
            rows |= rows >> used_bits
    return samples


def _matching_profile(profile: bytes | None, colours: int) -> bytes | None:
    if profile is None:
        return None
    profile = profile[: int.from_bytes(profile[:4])]  # the length in the profile: some files pad it
    if profile[16:20] == _PROFILE_SPACES[colours] and _is_sound(profile, colours):
        return profile
    logger.warning("The embedded colour profile is damaged or not for %d channels. It is dropped.", colours)
    return None


def _is_sound(profile: bytes, colours: int) -> bool:
    """Whether libvips can convert from the profile and write it. PNG is tried because it is the strictest."""
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
