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

_FILTER_1D = (
    (1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1),
)  # fmt: skip
_one_way = torch.tensor(_FILTER_1D, dtype=torch.float64)
_OF_FILTER = torch.kron(_one_way, _one_way).float()
"""Transforms rows and columns of flattened filters."""


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
            for first, strip in _strips(each, rows, across):
                products = _multiplied(_points(strip, rows, across), filters)
                products[1, 1] += self._bias  # this point is part of all results, once
                place = whole[first * _TILE : (first + rows) * _TILE].view(-1, _TILE, across, _TILE, outputs)
                _put_results(products[:, :, : len(place)], place)
        return result[:, :height, :width].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _transformed(weight: torch.Tensor) -> list[torch.Tensor]:
    """The filters at the six points of each row, (6, inputs, outputs)."""
    flat = weight.flatten(0, 1).flatten(1)
    # Row by row, because larger pieces of memory would be new, and thus zeroed by the system, at each call.
    rows = _OF_FILTER.view(_PATCH, _PATCH, -1)
    return [torch.mm(row, flat).view(_PATCH, *weight.shape[2:]).transpose(1, 2) for row in rows]


def _strips(features: torch.Tensor, rows: int, across: int) -> Iterator[tuple[int, torch.Tensor]]:
    """Features (height, width, inputs) with their border, as many rows of patches at once, and the first one's number.

    Each is written over by the next one.
    """
    height, width, inputs = features.shape
    strip = features.new_zeros((rows * _TILE + 2, across * _TILE + 2, inputs))
    for first in range(0, -(-height // _TILE), rows):
        top = first * _TILE - 1
        start, end = max(top, 0), min(top + len(strip), height)
        strip[start - top : end - top, 1 : width + 1] = features[start:end]
        strip[end - top :] = 0
        yield first, strip


def _points(strip: torch.Tensor, rows: int, across: int) -> torch.Tensor:
    """The patches of a strip, transformed both ways: (6, 6, rows, across, inputs)."""
    inputs = strip.shape[2]
    down = strip.new_empty((_PATCH, rows, strip.shape[1], inputs))
    _transform_patches([strip[i:][: rows * _TILE : _TILE] for i in range(_PATCH)], down.unbind(0))
    points = strip.new_empty((_PATCH, _PATCH, rows, across, inputs))
    _transform_patches([down[:, :, i:][:, :, : across * _TILE : _TILE] for i in range(_PATCH)], points.unbind(1))
    return points


def _transform_patches(inputs: Sequence[torch.Tensor], into: Sequence[torch.Tensor]) -> None:
    """The transform of patches one way: of six inputs side by side into six points."""
    d0, d1, d2, d3, d4, d5 = inputs
    even, odd = torch.sub(d4, d2, alpha=4), torch.sub(d3, d1, alpha=4)
    torch.add(even, odd, out=into[1])
    torch.sub(even, odd, out=into[2])
    torch.sub(d4, d2, out=even)
    torch.sub(d3, d1, out=odd)
    torch.add(even, odd, alpha=2, out=into[3])
    torch.sub(even, odd, alpha=2, out=into[4])
    torch.sub(d0, d2, out=into[0])
    torch.add(even, into[0], alpha=4, out=into[0])
    torch.sub(d5, d3, out=into[5])
    into[5].sub_(odd, alpha=4)


def _multiplied(points: torch.Tensor, filters: Sequence[torch.Tensor]) -> torch.Tensor:
    """The products of patches and filters at all points: (6, 6, rows, across, outputs)."""
    products = points.new_empty((*points.shape[:4], filters[0].shape[2]))
    for row, given, into in zip(filters, points, products, strict=True):
        torch.bmm(given.flatten(1, 2), row, out=into.flatten(1, 2))
    return products


def _put_results(products: torch.Tensor, place: torch.Tensor) -> None:
    """The results of products (6, 6, rows, across, outputs) at their places (rows, 4, across, 4, outputs)."""
    down = products.new_empty((_TILE, _PATCH, *products.shape[2:]))
    _transform_products(products.unbind(0), down.unbind(0))
    _transform_products(down.unbind(1), place.permute(1, 3, 0, 2, 4).unbind(1))


def _transform_products(products: Sequence[torch.Tensor], into: Sequence[torch.Tensor]) -> None:
    """The transform of products one way: of six points into four results side by side."""
    m0, m1, m2, m3, m4, m5 = products
    near, far = m1 + m2, m3 + m4
    torch.add(m0, near, out=into[0])
    into[0].add_(far)
    torch.add(near, far, alpha=4, out=into[2])
    torch.sub(m1, m2, out=near)
    torch.sub(m3, m4, out=far)
    torch.add(near, far, alpha=2, out=into[1])
    torch.add(near, far, alpha=8, out=into[3])
    into[3].add_(m5)
