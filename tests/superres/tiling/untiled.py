"""The two ways of running a network that must agree: cut to tiles by the product, and whole by spandrel."""

from __future__ import annotations

import torch
from spandrel import ModelLoader

from tiny import StateDict
from upscaling.runtime.progress import Progress
from upscaling.superres.networks import Network
from upscaling.superres.tiling import TileSize, bounded, stream


def picture(height: int, width: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)).to(dtype)


def whole(state: StateDict, picture: torch.Tensor) -> torch.Tensor:
    """What spandrel's model gives, in the memory layout of the product: bf16 rounds by it."""
    model = ModelLoader().load_from_state_dict(dict(state)).model.eval()
    model = model.to(dtype=picture.dtype, memory_format=torch.channels_last)
    with torch.inference_mode():
        return model(picture.contiguous(memory_format=torch.channels_last)).float()


def tiled(
    network: Network,
    picture: torch.Tensor,
    tile: TileSize,
    progress: Progress | None = None,
    band: int | None = None,
) -> torch.Tensor:
    """The picture in bands of the tile's height, or of another."""
    height, width = picture.shape[2:]
    progress = progress if progress is not None else Progress()
    (plan,) = bounded(network, (height, width), (height, width), tile)
    bands = stream(network, iter(picture.split(band or tile.height, dim=2)), plan, progress)
    return torch.cat([band.float() for band in bands], dim=2)
