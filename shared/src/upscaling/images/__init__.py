"""Pictures in and out: any orientation, profile, alpha, depth; no network knows of this."""

from upscaling.images.decode import decode, probe
from upscaling.images.encode import OutputFormat, check_output, encode
from upscaling.images.image import Image
from upscaling.images.limits import MEGAPIXEL, Limits

__all__ = ["MEGAPIXEL", "Image", "Limits", "OutputFormat", "check_output", "decode", "encode", "probe"]
