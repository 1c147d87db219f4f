"""3×3 convolutions in fp32 on a CPU with a quarter of the products: Winograd's minimal filtering, F(4×4, 3×3).

From Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016). Tiles of 4×4 results are computed
from patches of 6×6 inputs; patches and filters are transformed, multiplied point by point, and transformed back. Errors
are about 10⁻⁵ of the largest result, with oneDNN's own convolution 3 · 10⁻⁶.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn import functional

from upscaling.runtime.replacing import replace_layers

_TILE = 4  # side of the results
_PATCH = 6  # side of the inputs
# Below these, the transforms take as long as the products that are saved.
_FEWEST_CHANNELS, _FEWEST_TILES = 128, 48
# The filters are transformed for each call, because transformed ones would take four times the memory. Layers of more
# outputs are those of a UNet's small features, which have too few tiles for that.
_MOST_OUTPUTS = 640
# Values of a point of all patches at once: all points then take 9 MB, little enough for caches and for glibc to keep.
_AT_ONCE = 1 << 16

_PATCH_1D = (
    (4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1),
)  # fmt: skip
_FILTER_1D = (
    (1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1),
)  # fmt: skip
_RESULT_1D = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


def _both_ways(matrix: Sequence[Sequence[float]]) -> torch.Tensor:
    """The matrix that transforms rows and columns of flattened squares."""
    one_way = torch.tensor(matrix, dtype=torch.float64)
    return torch.kron(one_way, one_way).float()


_OF_PATCH, _OF_FILTER, _OF_RESULT = _both_ways(_PATCH_1D), _both_ways(_FILTER_1D), _both_ways(_RESULT_1D)


def prepare(network: nn.Module) -> None:
    """Replaces the convolutions of a network that are faster this way; the others stay."""
    replace_layers(
        network,
        lambda layer: WinogradConvolution(layer) if type(layer) is nn.Conv2d and _is_faster(layer) else None,
    )


def _is_faster(layer: nn.Conv2d) -> bool:
    return (
        (layer.weight.dtype, layer.weight.device.type) == (torch.float32, "cpu")
        and (layer.kernel_size, layer.stride, layer.padding, layer.dilation) == ((3, 3), (1, 1), (1, 1), (1, 1))
        and (layer.groups, layer.padding_mode) == (1, "zeros")
        and layer.in_channels >= _FEWEST_CHANNELS
        and _FEWEST_CHANNELS <= layer.out_channels <= _MOST_OUTPUTS
    )


class WinogradConvolution(nn.Module):
    """A 3×3 convolution with a border of zeros; (n, channels, height, width) in fp32, channels last."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        """Takes over the weights of a convolution."""
        super().__init__()
        self._weight = convolution.weight.detach().permute(2, 3, 0, 1).contiguous()  # (3, 3, outputs, inputs)
        self._bias = torch.zeros(convolution.out_channels) if convolution.bias is None else convolution.bias.detach()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """The convolution; each of the n has the same bits as alone."""
        count, _, height, width = features.shape
        down, across = -(-height // _TILE), -(-width // _TILE)
        if down * across < _FEWEST_TILES:
            weight = self._weight.permute(2, 3, 0, 1)
            each = (features[number : number + 1] for number in range(count))
            return torch.cat([functional.conv2d(alone, weight, self._bias, padding=1) for alone in each])
        outputs, inputs = self._weight.shape[2:]
        rows = max(min(_AT_ONCE // max(inputs, outputs) // across, down), 1)
        filters = _transformed(self._weight)
        result = features.new_empty((count, down * _TILE, across * _TILE, outputs))
        for each, whole in zip(features.permute(0, 2, 3, 1), result, strict=True):
            for first, patches in _patches(each, rows, across):
                tiles = _multiplied(patches, filters).view(_TILE, _TILE, rows, across, outputs)
                place = whole[first * _TILE : (first + rows) * _TILE].view(-1, _TILE, across, _TILE, outputs)
                torch.add(tiles[:, :, : len(place)].permute(2, 0, 3, 1, 4), self._bias, out=place)
        return result[:, :height, :width].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _transformed(weight: torch.Tensor) -> list[torch.Tensor]:
    """The filters at the six points of each row, (6, inputs, outputs)."""
    flat = weight.flatten(0, 1).flatten(1)
    # Row by row, because larger pieces of memory would be new, and thus zeroed by the system, at each call.
    rows = _OF_FILTER.view(_PATCH, _PATCH, -1)
    return [torch.mm(row, flat).view(_PATCH, *weight.shape[2:]).transpose(1, 2) for row in rows]


def _patches(features: torch.Tensor, rows: int, across: int) -> Iterator[tuple[int, torch.Tensor]]:
    """Patches of features (height, width, inputs), as many rows of them at once; with the number of the first row.

    They are (6, 6, rows, across, inputs) and written over by the next ones. After the last row there are others.
    """
    height, width, inputs = features.shape
    strip = features.new_zeros((rows * _TILE + 2, across * _TILE + 2, inputs))
    y, x, channel = strip.stride()
    cut = strip.as_strided((_PATCH, _PATCH, rows, across, inputs), (y, x, _TILE * y, _TILE * x, channel))
    for first in range(0, -(-height // _TILE), rows):
        top = first * _TILE - 1
        start, end = max(top, 0), min(top + len(strip), height)
        strip[start - top : end - top, 1 : width + 1] = features[start:end]
        strip[end - top :] = 0
        yield first, cut.contiguous()


def _multiplied(patches: torch.Tensor, filters: Sequence[torch.Tensor]) -> torch.Tensor:
    """The results of patches at the points of the tiles, (16, rows × across × outputs)."""
    inputs, outputs = filters[0].shape[1:]
    transformed = torch.mm(_OF_PATCH, patches.view(_PATCH**2, -1)).view(_PATCH, _PATCH, -1, inputs)
    products = patches.new_empty((_PATCH, _PATCH, transformed.shape[2], outputs))
    for row, points, into in zip(filters, transformed, products, strict=True):
        torch.bmm(points, row, out=into)
    return torch.mm(_OF_RESULT, products.view(_PATCH**2, -1))
