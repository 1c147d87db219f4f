"""From a state dict to a `Network`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from spandrel import ModelLoader, UnsupportedModelError

from upscaling.errors import Code, UpscalingError
from upscaling.runtime.footprint import footprint
from upscaling.superres.networks import convolution, rrdb, srvgg, swinir
from upscaling.superres.networks.stage import Network, Padding, Stage


class _Architecture(NamedTuple):
    stages: Callable[[Any], tuple[Stage, ...]]
    multiple: Callable[[Any], int]
    padding: Padding
    least_padding: int = 0
    rebuild: Callable[[Any], None] | None = None


# Adding an architecture is a module with `stages` and `multiple`, and a row here.
_ARCHITECTURES = {
    rrdb.ARCHITECTURE: _Architecture(rrdb.stages, rrdb.multiple, "reflect", rebuild=rrdb.rebuild),
    srvgg.ARCHITECTURE: _Architecture(srvgg.stages, srvgg.multiple, "reflect"),
    swinir.ARCHITECTURE: _Architecture(swinir.stages, swinir.multiple, "symmetric", least_padding=1),
}


def load(weights: Mapping[str, torch.Tensor], dtype: torch.dtype, device: torch.device, source: str = "") -> Network:
    """The network that a state dict belongs to, recognised by spandrel from its keys and shapes.

    A network whose values leave the range of fp16 is loaded in bf16 instead, or in fp32 where the GPU has no bf16.
    source says where the weights first came from. Raises E_WEIGHTS where it is of no architecture that is known here.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.meshgrid")  # spandrel's SwinIR calls it the old way
            descriptor = ModelLoader().load_from_state_dict(dict(weights))
        architecture = _ARCHITECTURES[descriptor.architecture.id]
    except (UnsupportedModelError, LookupError, ValueError, RuntimeError, AssertionError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise UpscalingError(
            Code.WEIGHTS, f"the weights fit no known architecture ({reason}); known are {', '.join(_ARCHITECTURES)}."
        ) from error
    if dtype is torch.float16 and not descriptor.supports_half:
        dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    # fp32 is asked for where its bits are needed; by default cuDNN's convolutions drop 13 of them.
    torch.backends.cudnn.allow_tf32 = False
    module = descriptor.model.eval().requires_grad_(False)
    if architecture.rebuild is not None:
        architecture.rebuild(module)
    # Channels-last is the layout that convolutions are fastest in, on CPUs and GPUs alike.
    module = module.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if convolution.are_onednns(dtype, device):
        convolution.prepare(module)
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
