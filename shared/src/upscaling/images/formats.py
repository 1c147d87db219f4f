"""What kind of file some bytes are, by their content and never by their name."""

from __future__ import annotations

import struct

from upscaling.errors import Code, UpscalingError
from upscaling.images.mapped import Mapping
from upscaling.images.tiff import check_tiff

READABLE = ("PNG", "JPEG", "WebP", "AVIF", "TIFF", "GIF")

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"%PDF-", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"8BPS", "Photoshop"),
    (b"BM", "BMP"),
    (b"\0\0\1\0", "ICO"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"SIMPLE  =", "FITS"),
    (b"PK\x03\x04", "ZIP"),
)
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
_PNG_CHUNKS_READ = 10_000  # a bound on the search for acTL, far above any real file's


def sniff(data: Mapping) -> str:
    """The name of the format, one of READABLE.

    Raises E_FORMAT, naming what the file is where that is known, for what is not read and for animations.
    """
    head = data[:4096]
    name = _name(head)
    if name not in READABLE:
        what = f"this is {_with_article(name)} file" if name else "this is no picture file that is known here"
        raise UpscalingError(Code.FORMAT, f"{what}; send one of {', '.join(READABLE)}.")
    if name == "PNG" and _is_animated_png(data):
        raise animation("PNG")
    if name == "TIFF":
        check_tiff(data)
    return name


def animation(name: str, pages: int | None = None) -> UpscalingError:
    """The error for a file of more than one picture."""
    count = f" with {pages} pictures" if pages else ""
    return UpscalingError(
        Code.FORMAT, f"this is an animated or multi-page {name}{count}; send its pages as single pictures."
    )


def _name(head: bytes) -> str | None:
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        return _iso_media_name(head)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "HTML"
    return "SVG" if b"<svg" in text else None


def _iso_media_name(head: bytes) -> str | None:
    length = min(struct.unpack(">I", head[:4])[0], len(head))
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, length - 3, 4))}
    if head[8:12] == b"avis":
        raise animation("AVIF")
    if b"avif" in brands:
        return "AVIF"
    return "HEIC" if brands & _HEIF_BRANDS else None


def _is_animated_png(data: Mapping) -> bool:
    # APNG: the acTL chunk stands before the first IDAT (https://www.w3.org/TR/png-3/).
    offset = 8
    for _ in range(_PNG_CHUNKS_READ):
        header = data[offset : offset + 8]
        if len(header) < 8 or header[4:] == b"IDAT":
            return False
        if header[4:] == b"acTL":
            return True
        offset += 12 + struct.unpack(">I", header[:4])[0]
    return False


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'AHIMS' and name != 'HEIC' else 'a'} {name}"
