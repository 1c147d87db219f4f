"""Codebooks of RestoreFormer and CodeFormer, looked up in any type.

spandrel multiplies the codebook with a matrix of zeros and ones in fp32, which a codebook in bf16 does not take, and
compares features with codes in their own type, in which a bf16 network finds other codes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class NearestCode(nn.Module):
    """RestoreFormer's quantiser: replaces the features of each place by the code that is nearest to them."""

    def __init__(self, like: Any) -> None:
        """like is spandrel's VectorQuantizer."""
        super().__init__()
        self.embedding = like.embedding

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """From (n, channels, height, width) to the same shape; the two other values are for training only."""
        codes: torch.Tensor = self.embedding.weight
        places = features.permute(0, 2, 3, 1)
        flat = places.reshape(-1, places.shape[-1]).float()
        distances = codes.float().square().sum(dim=1) - 2 * flat @ codes.float().T  # less the squares of the features
        found = functional.embedding(distances.argmin(dim=1), codes).reshape(places.shape)
        return found.permute(0, 3, 1, 2).contiguous(), None, None


class GivenCode(nn.Module):
    """CodeFormer's quantiser, of which only the look-up of codes that are predicted elsewhere is used."""

    def __init__(self, like: Any) -> None:
        """like is spandrel's VectorQuantizer."""
        super().__init__()
        self.embedding = like.embedding

    def get_codebook_feat(self, indices: torch.Tensor, shape: list[int]) -> torch.Tensor:
        """(n, channels, height, width) from as many indices as places; shape is (n, height, width, channels)."""
        found = functional.embedding(indices.flatten(), self.embedding.weight)
        return found.reshape(shape).permute(0, 3, 1, 2).contiguous()
