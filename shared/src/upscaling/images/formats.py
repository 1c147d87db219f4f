"""Recognises the format of a file by its content."""

from __future__ import annotations

import struct

from upscaling.errors import Code, UpscalingError
from upscaling.images.animation import refuse_animation
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


def sniff(data: Mapping) -> str:
    """The name of the format, one of READABLE.

    Raises E_FORMAT for other files, with the name of their format if it is known, and for animations.
    """
    head = data[:4096]
    name = _name(head)
    if name not in READABLE:
        what = f"this is {_with_article(name)} file" if name else "this is not a picture file of a known format"
        raise UpscalingError(Code.FORMAT, f"{what}; send one of {', '.join(READABLE)}.")
    refuse_animation(data, name)
    if name == "TIFF":
        check_tiff(data)
    return name


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
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIC" if brands & _HEIF_BRANDS else None


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'AHIMS' and name != 'HEIC' else 'a'} {name}"
