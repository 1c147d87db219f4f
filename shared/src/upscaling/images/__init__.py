"""Reads, writes and resamples pictures of any orientation, profile and depth, with or without alpha."""

from upscaling.images.decode import Header, decode, probe
from upscaling.images.encode import OutputFormat, check_format, encode
from upscaling.images.grey import in_grey
from upscaling.images.image import Image, Size
from upscaling.images.limits import MEGAPIXEL, Limits
from upscaling.images.png import PngHeader, start_threads, write_png
from upscaling.images.rows import Rows, collect, with_alpha

__all__ = [
    "MEGAPIXEL",
    "Header",
    "Image",
    "Limits",
    "OutputFormat",
    "PngHeader",
    "Rows",
    "Size",
    "check_format",
    "collect",
    "decode",
    "encode",
    "in_grey",
    "probe",
    "start_threads",
    "with_alpha",
    "write_png",
]
