"""Conversion between pixels of faces and tensors."""

from __future__ import annotations

import numpy as np
import torch

from upscaling.images.image import Pixels


def to_tensor(face: Pixels, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """(side, side, 3) of any depth as (1, 3, side, side), −1 to 1."""
    whole = float(np.iinfo(face.dtype).max)
    values = torch.as_tensor(face.astype(np.float32)).to(device) / (whole / 2) - 1
    return values.permute(2, 0, 1)[None].to(dtype, memory_format=torch.channels_last)


def to_pixels(face: torch.Tensor, like: Pixels) -> Pixels:
    """(3, side, side), −1 to 1, as (side, side, 3) of the type of `like`; values outside the range are clipped."""
    whole = float(np.iinfo(like.dtype).max)
    values = ((face.float().clamp(-1, 1) + 1) * (whole / 2)).round()
    return values.permute(1, 2, 0).cpu().numpy().astype(like.dtype)
