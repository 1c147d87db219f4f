"""Codebooks of RestoreFormer and CodeFormer, for networks of any type.

spandrel multiplies the codebook by a matrix of zeros and ones in fp32, which fails for a codebook in bf16. It also
compares features and codes in the type of the network, so that a network in bf16 finds other codes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class NearestCode(nn.Module):
    """RestoreFormer's quantiser, which replaces the features at each position by the nearest code."""

    def __init__(self, like: Any) -> None:
        """like is spandrel's VectorQuantizer."""
        super().__init__()
        self.embedding = like.embedding

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Maps (n, channels, height, width) to the same shape; the two other results are for training only."""
        codes: torch.Tensor = self.embedding.weight
        places = features.permute(0, 2, 3, 1)
        flat = places.reshape(-1, places.shape[-1]).float()
        # Without the squares of the features, which are the same for all codes.
        distances = codes.float().square().sum(dim=1) - 2 * flat @ codes.float().T
        found = functional.embedding(distances.argmin(dim=1), codes).reshape(places.shape)
        return found.permute(0, 3, 1, 2).contiguous(), None, None


class GivenCode(nn.Module):
    """CodeFormer's quantiser. Only the look-up is used, because a transformer predicts the codes."""

    def __init__(self, like: Any) -> None:
        """like is spandrel's VectorQuantizer."""
        super().__init__()
        self.embedding = like.embedding

    def get_codebook_feat(self, indices: torch.Tensor, shape: list[int]) -> torch.Tensor:
        """Maps one index per position to (n, channels, height, width); shape is (n, height, width, channels)."""
        found = functional.embedding(indices.flatten(), self.embedding.weight)
        return found.reshape(shape).permute(0, 3, 1, 2).contiguous()
