"""How much of a redrawn region is laid over the canvas, pixel by pixel.

Pillow's gradients and its blur define the masks. They are made for the part of the canvas that is asked for, never
for all of it.

Masks stay on the CPU on every device, because Pillow's arithmetic decides their bytes. Most tiles share one, so it is
made once; the crops are resized and blended on the device of the networks. For a tile of 576 × 576 pixels sampled at
544 × 544 that takes 14 ms on one core: 11 to resize it there and back, 3 for the blend. A mask takes 4 ms.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from upscaling.diffusion.boxes import Box
from upscaling.diffusion.patches import Gradient, Patch
from upscaling.images import Size

_BLUR_REACH = 3.5  # pixels per pixel of radius: Pillow's three box blurs reach just under 3 radii, and a pixel each
_BAND = Size(256, 256)  # what a band's gradient is drawn at


def drawn(patch: Patch, canvas: Size) -> Box:
    """The pixels of the canvas where a patch's mask is not zero, before it is blurred."""
    visible = patch.block.widened(0, canvas)
    inside = visible.moved(-patch.block.left, -patch.block.top)
    return _drawn(patch.gradient, patch.block.size, inside).moved(patch.block.left, patch.block.top)


def mask(patch: Patch, region: Box, canvas: Size) -> NDArray[np.uint8]:
    """A patch's mask, blurred, within a region of the canvas; HW, 255 is all of the redrawn picture.

    At the canvas's edges the blur repeats the last pixel, so the mask stays white there. Masks are kept for the next
    patches, and are not to be written to.
    """
    reach = ceil(patch.blur * _BLUR_REACH) + 3 if patch.blur else 0
    window = region.widened(reach, canvas)
    block, inside = (box.moved(-window.left, -window.top) for box in (patch.block, region))
    return _mask(patch.gradient, block, patch.blur, window.size, inside)


def blend(canvas: torch.Tensor, redrawn: torch.Tensor, opacity: torch.Tensor) -> torch.Tensor:
    """The redrawn picture over the canvas, HWC, by an opacity HW; all 8 bit. Pillow's alpha_composite rounds so too."""
    below = canvas.float()
    mixed = redrawn.float().sub_(below).mul_(opacity[..., None])
    # A whole number of 255ths, up to 255 of them each: none lies near the middle of two levels.
    return mixed.add_(below, alpha=255).div_(255).round_().to(torch.uint8)


def blended(canvas: NDArray[np.uint8], redrawn: NDArray[np.uint8], opacity: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What `blend` gives, of arrays."""
    return blend(*map(torch.tensor, (canvas, redrawn, opacity))).numpy()


@lru_cache(maxsize=64)
def _drawn(gradient: Gradient, size: Size, inside: Box) -> Box:
    """The part of a block's part where its mask is not zero."""
    if gradient is Gradient.SOLID:
        return inside
    box = _block(gradient, size).crop(inside.corners).getbbox()
    assert box is not None, f"{gradient} of {size} has nothing in {inside}"
    return Box(*box).moved(inside.left, inside.top)


# All tiles that no edge of the canvas cuts have one mask, so a few serve a grid; the largest have tens of megabytes.
@lru_cache(maxsize=4)
def _mask(gradient: Gradient, block: Box, blur: int, window: Size, region: Box) -> NDArray[np.uint8]:
    """The mask of a block, blurred in a window, in a part of it."""
    picture = Image.new("L", window)
    if gradient is Gradient.SOLID:
        picture.paste(255, block.corners)
    else:
        picture.paste(_block(gradient, block.size), (block.left, block.top))
    if blur:
        picture = picture.filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(picture.crop(region.corners))


def _block(gradient: Gradient, size: Size) -> Image.Image:
    assert gradient is not Gradient.SOLID  # filled where it is seen
    match gradient:
        case Gradient.RADIAL:
            return ImageOps.invert(Image.radial_gradient("L")).resize(size, Image.Resampling.BICUBIC)
        case Gradient.DOWN:
            return _tent(size)
        case Gradient.ACROSS:
            return _tent(Size(size.height, size.width)).transpose(Image.Transpose.TRANSPOSE)
        case Gradient.BAND_DOWN:
            return _tent(_BAND).resize(size, Image.Resampling.BICUBIC)
        case Gradient.BAND_ACROSS:
            return _tent(_BAND).transpose(Image.Transpose.TRANSPOSE).resize(size, Image.Resampling.BICUBIC)


def _tent(size: Size) -> Image.Image:
    """From 0 at the top to 255 in the middle to 0 at the bottom."""
    half = Size(size.width, size.height // 2)
    up = Image.linear_gradient("L").resize(half, Image.Resampling.BICUBIC)
    tent = Image.new("L", size)
    tent.paste(up, (0, 0))
    tent.paste(up.transpose(Image.Transpose.FLIP_TOP_BOTTOM), (0, half.height))
    return tent
