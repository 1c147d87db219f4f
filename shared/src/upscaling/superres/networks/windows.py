"""Transformer layers with window attention, as in SwinIR.

Liu et al., Swin Transformer (2021). The weights come from spandrel's modules. The forward pass is our own, because
spandrel's fails in bf16 at sizes other than the trained one, and holds the scores of the whole picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

# Measured fastest on CPUs: the intermediate values of this many windows fit into the cache of a core.
_WINDOWS_PER_CORE = 16
# Fused attention kernels of GPUs require that the size of a head is a multiple of this, in bf16.
_HEAD_MULTIPLE = 8


@dataclass(frozen=True)
class WindowLayer:
    """Attention inside square windows, then an MLP, each with a residual connection.

    The border of the picture cuts the windows of a shifted layer. As upstream, the pieces at opposite borders share a
    window, and a mask separates them. The mask is minus infinity here, so that no value crosses.
    """

    window: int
    """Side of a window in pixels."""
    shift: int
    """Pixels by which the windows are shifted down and to the right; they wrap around at the border."""
    heads: int
    scale: float
    """The factor of all scores."""
    biases: torch.Tensor
    """Added to the scores: (kinds of windows, 1, heads, window², window²), minus infinity where masked."""
    qkv: tuple[torch.Tensor, torch.Tensor]
    """Weight and bias of the projection to queries, keys and values of all heads."""
    projection: tuple[torch.Tensor, torch.Tensor]
    attention_norm: Callable[[torch.Tensor], torch.Tensor]
    mlp_norm: Callable[[torch.Tensor], torch.Tensor]
    mlp: Callable[[torch.Tensor], torch.Tensor]

    @classmethod
    def of(cls, block: Any) -> WindowLayer:
        """Prepares the mask, position bias and heads of a `SwinTransformerBlock`."""
        attention, shift, window = block.attn, int(block.shift_size), int(block.window_size)
        qkv, projection = attention.qkv, attention.proj
        heads, channels = int(attention.num_heads), int(block.dim)
        bias: torch.Tensor = attention.relative_position_bias_table[attention.relative_position_index]
        return cls(
            window=window,
            shift=shift,
            heads=heads,
            scale=attention.scale,
            biases=torch.stack([_masked(bias.permute(2, 0, 1)[None], regions) for regions in _regions(window, shift)]),
            qkv=(
                _widened(qkv.weight.view(3 * heads, -1, channels)).flatten(0, 1),
                _widened(qkv.bias.view(3 * heads, -1, 1)).flatten(),
            ),
            projection=(_widened(projection.weight.view(channels * heads, -1, 1)).view(channels, -1), projection.bias),
            attention_norm=block.norm1,
            mlp_norm=block.norm2,
            mlp=block.mlp,
        )

    def __call__(self, tokens: torch.Tensor, size: tuple[int, int, int]) -> torch.Tensor:
        """Maps tokens to tokens, (pixels, channels) in row-major order, of pictures of `size`: count, height, width.

        Height and width are multiples of the window.
        """
        result = torch.empty_like(tokens)
        at_once = _at_once(tokens.device)
        for bias, windows in zip(self.biases, _windows(size, self.window, self.shift, tokens.device), strict=True):
            for first in range(0, len(windows), at_once):
                pixels = windows[first : first + at_once].flatten()
                result.index_copy_(0, pixels, self._attended(tokens.index_select(0, pixels), bias))
        return result

    def _attended(self, tokens: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        area = self.window**2
        made = functional.linear(self.attention_norm(tokens), *self.qkv)
        query, key, value = made.view(-1, area, 3, self.heads, made.shape[1] // (3 * self.heads)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=self.scale)
        tokens = functional.linear(mixed.transpose(1, 2).reshape(len(tokens), -1), *self.projection).add_(tokens)
        return self.mlp(self.mlp_norm(tokens)).add_(tokens)


def _at_once(device: torch.device) -> int:
    """How many windows a layer computes at a time."""
    return _WINDOWS_PER_CORE * torch.get_num_threads() if device.type == "cpu" else torch.iinfo(torch.int64).max


def _windows(size: tuple[int, int, int], window: int, shift: int, device: torch.device) -> tuple[torch.Tensor, ...]:
    """The indices of the tokens in each window: (windows, window²) for each kind of window.

    Without a shift, there is one kind. With a shift, the kinds are whole windows and those cut at the right border, at
    the bottom border and at both.
    """
    count, height, width = size
    places = torch.arange(count * height * width, device=device).view(size).roll((-shift, -shift), (1, 2))
    places = places.view(count, height // window, window, width // window, window).transpose(2, 3)
    whole, last = slice(None, -1), slice(-1, None)
    kinds = [(whole, whole), (whole, last), (last, whole), (last, last)] if shift else [(slice(None), slice(None))]
    return tuple(places[:, rows, columns].reshape(-1, window**2) for rows, columns in kinds)


def _regions(window: int, shift: int) -> list[torch.Tensor]:
    """For each kind of window, in the order of `_windows`, the piece that each pixel belongs to: (window²,)."""
    whole = torch.zeros(window, dtype=torch.int64)
    if not shift:
        return [whole.repeat(window)]
    cut = (torch.arange(window) >= window - shift).long()
    return [
        (2 * rows[:, None] + columns).flatten()
        for rows, columns in [(whole, whole), (whole, cut), (cut, whole), (cut, cut)]
    ]


def _masked(bias: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
    apart = regions[:, None] != regions
    return bias.masked_fill(apart.to(bias.device), float("-inf"))


def _widened(heads: torch.Tensor) -> torch.Tensor:
    """Pads heads, (heads, features, …), with zeros to a multiple of _HEAD_MULTIPLE features."""
    return functional.pad(heads, (0, 0, 0, -heads.shape[1] % _HEAD_MULTIPLE))
