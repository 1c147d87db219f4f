"""Loads published weights into the networks of this folder."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from upscaling.errors import Code, UpscalingError
from upscaling.runtime.precision import without_tf32


def fill(
    network: nn.Module, weights: Mapping[str, torch.Tensor], name: str, dtype: torch.dtype, device: torch.device
) -> None:
    """Loads weights into a network that was built on the meta device, ready to run in channels-last memory.

    name is the network's name in messages. Raises E_WEIGHTS if the state dict does not fit.
    """
    try:
        network.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise UpscalingError(Code.WEIGHTS, f"these are not the weights of {name} ({reason}).") from error
    without_tf32()
    network.eval().requires_grad_(False)
    # pyright does not know the form of `to` with a memory format alone.
    network.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
