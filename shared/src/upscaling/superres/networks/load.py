"""Loads a `Network` from a state dict."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from spandrel import ModelLoader, UnsupportedModelError

from upscaling.errors import Code, UpscalingError
from upscaling.runtime.convolution import are_onednns, prepare
from upscaling.runtime.footprint import footprint
from upscaling.runtime.precision import without_tf32
from upscaling.superres.networks import rrdb, srvgg, swinir
from upscaling.superres.networks.stage import Network, Padding, Stage


class _Architecture(NamedTuple):
    stages: Callable[[Any], tuple[Stage, ...]]
    multiple: Callable[[Any], int]
    padding: Padding
    least_padding: int = 0
    rebuild: Callable[[Any], None] | None = None


# A new architecture needs a module with `stages` and `multiple`, and a row here.
_ARCHITECTURES = {
    rrdb.ARCHITECTURE: _Architecture(rrdb.stages, rrdb.multiple, "reflect", rebuild=rrdb.rebuild),
    srvgg.ARCHITECTURE: _Architecture(srvgg.stages, srvgg.multiple, "reflect"),
    swinir.ARCHITECTURE: _Architecture(swinir.stages, swinir.multiple, "symmetric", least_padding=1),
}


def load(weights: Mapping[str, torch.Tensor], dtype: torch.dtype, device: torch.device, source: str = "") -> Network:
    """The network of a state dict; spandrel recognises the architecture by names and shapes.

    A network that exceeds the range of fp16 is loaded in bf16 instead, or in fp32 if the GPU has no bf16. source names
    the origin of the weights. Raises E_WEIGHTS if the architecture is not one of those above.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "torch.meshgrid"
            )  # spandrel's SwinIR calls it without an argument that it will require
            descriptor = ModelLoader().load_from_state_dict(dict(weights))
        architecture = _ARCHITECTURES[descriptor.architecture.id]
    except (UnsupportedModelError, LookupError, ValueError, RuntimeError, AssertionError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise UpscalingError(
            Code.WEIGHTS, f"the weights fit no known architecture ({reason}); known are {', '.join(_ARCHITECTURES)}."
        ) from error
    if dtype is torch.float16 and not descriptor.supports_half:
        dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    without_tf32()
    module = descriptor.model.eval().requires_grad_(False)
    if architecture.rebuild is not None:
        architecture.rebuild(module)
    # Convolutions are fastest in channels-last, on CPUs and GPUs.
    module = module.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if are_onednns(dtype, device):
        prepare(module)
    stages = architecture.stages(module)
    return Network(
        stages=stages,
        scale=descriptor.scale,
        dtype=dtype,
        device=device,
        channels=descriptor.input_channels,
        multiple=architecture.multiple(module),
        padding=architecture.padding,
        least_padding=architecture.least_padding,
        nbytes=footprint(stages),
        source=source,
    )
