"""Restores aligned faces: GFPGAN (v1.2, v1.3, v1.4), RestoreFormer and CodeFormer, as spandrel defines them.

They run in fp32 or bf16, because they exceed the range of fp16. The weights of CodeFormer are for non-commercial use
only (S-Lab License 1.0), and so is its definition in spandrel-extra-arches, which only CodeFormer needs.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from spandrel import MAIN_REGISTRY, ArchRegistry, ModelLoader, UnsupportedModelError
from torch import nn

from upscaling.errors import Code, UpscalingError
from upscaling.faces.arch.codebook import GivenCode, NearestCode
from upscaling.faces.arch.modulated import StyledConvolution, ToColours
from upscaling.faces.arch.residual import NormalisedBlock, ResizingBlock, use_faster_blocks
from upscaling.faces.tensors import to_pixels, to_tensor
from upscaling.images.image import Pixels
from upscaling.runtime import convolution, winograd
from upscaling.runtime.doubling import DoublingConvolution
from upscaling.runtime.memory import is_out_of_memory, release
from upscaling.runtime.precision import without_tf32

logger = logging.getLogger(__name__)

# On a CPU, the features of more than one face do not fit in the caches: in a batch of four, a face takes 1.4 times as
# long.
_BATCH_ON_CPU, _BATCH = 1, 4

_CODEFORMER_KEY = "idx_pred_layer.1.weight"


@dataclass(frozen=True)
class Restorer:
    """A loaded network."""

    run: Callable[[torch.Tensor, float], torch.Tensor]
    """Maps faces, (n, 3, 512, 512), RGB, −1 to 1, and the fidelity, which only CodeFormer uses, to restored faces."""
    dtype: torch.dtype
    device: torch.device
    batch: int = 1
    """How many faces it gets at once."""


def load_restorer(weights: Mapping[str, torch.Tensor], dtype: torch.dtype, device: torch.device) -> Restorer:
    """The network of a state dict; spandrel recognises the architecture by names and shapes.

    Raises E_WEIGHTS if the architecture is none of those above, E_INPUT for fp16.
    """
    if dtype is torch.float16:
        raise UpscalingError(Code.INPUT, "networks for faces exceed the range of float16; take bfloat16 or float32.")
    try:
        descriptor = ModelLoader(registry=_registry(weights)).load_from_state_dict(dict(weights))
        prepare = _PREPARE[descriptor.architecture.id]
    except (UnsupportedModelError, LookupError, ValueError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise UpscalingError(
            Code.WEIGHTS, f"the weights fit no network for faces ({reason}); known are {', '.join(_PREPARE)}."
        ) from error
    without_tf32()
    model: nn.Module = descriptor.model.eval().requires_grad_(False)
    run = prepare(model)
    # pyright does not know the form of `to` with a memory format alone.
    model.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    winograd.prepare(model)
    if convolution.are_onednns(dtype, device):
        convolution.prepare(model)
    return Restorer(run, dtype, device, batch=_BATCH_ON_CPU if device.type == "cpu" else _BATCH)


def restore(
    crops: Sequence[Pixels], load: Callable[[torch.dtype], Restorer], dtype: torch.dtype, fidelity: float = 0.5
) -> Iterator[Pixels | None]:
    """Yields each face restored, (512, 512, 3), of the type of its crop, or None if that failed.

    load gives the network in a type and should keep it loaded. A face with NaN or infinity is restored again in fp32.
    If the result is still not finite, the face has failed, with a warning in the log. fidelity is 0–1, from quality to
    likeness; only CodeFormer uses it.
    """
    size = load(dtype).batch
    for first in range(0, len(crops), size):
        batch = crops[first : first + size]
        for crop, face in zip(batch, _all_or_each(batch, load(dtype), fidelity), strict=True):
            if face is None and dtype is not torch.float32:
                (face,) = _restored([crop], load(torch.float32), fidelity)
            if face is None:
                logger.warning("A face is not restored: the network gave NaN or infinity, in fp32 too.")
            yield face


def _all_or_each(crops: Sequence[Pixels], restorer: Restorer, fidelity: float) -> list[Pixels | None]:
    """As `_restored`, but one face at a time if memory runs out."""
    try:
        return _restored(crops, restorer, fidelity)
    except (RuntimeError, MemoryError) as error:
        if len(crops) == 1 or not is_out_of_memory(error):
            raise
    logger.info("Memory ran out for %d faces at once; they are restored one at a time.", len(crops))
    release(restorer.device)
    return [face for crop in crops for face in _restored([crop], restorer, fidelity)]


def _restored(crops: Sequence[Pixels], restorer: Restorer, fidelity: float) -> list[Pixels | None]:
    """Each restored face, or None if it is not finite."""
    with torch.inference_mode():
        batch = torch.cat([to_tensor(crop, restorer.dtype, restorer.device) for crop in crops])
        faces = restorer.run(batch, fidelity)
        return [
            to_pixels(face, like=crop) if bool(face.isfinite().all()) else None
            for face, crop in zip(faces, crops, strict=True)
        ]


def _registry(weights: Mapping[str, torch.Tensor]) -> ArchRegistry:
    if _CODEFORMER_KEY not in weights:
        return MAIN_REGISTRY
    # Imported here because only the model codeformer has this package.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script`", DeprecationWarning)
        from spandrel_extra_arches import EXTRA_REGISTRY

        return EXTRA_REGISTRY


def _gfpgan(model: Any) -> Callable[[torch.Tensor, float], torch.Tensor]:
    use_faster_blocks(model, {"StyleConv": StyledConvolution, "ToRGB": ToColours, "ResBlock": ResizingBlock})
    # The next layer flattens it with `view`, which does not support channels-last memory.
    model.final_conv = nn.Sequential(model.final_conv, _Contiguous())

    def run(crops: torch.Tensor, _: float) -> torch.Tensor:
        # With the noise in the file, because new noise would make each result different.
        return model(crops, return_rgb=False, randomize_noise=False)[0]

    return run


def _restoreformer(model: Any) -> Callable[[torch.Tensor, float], torch.Tensor]:
    use_faster_blocks(model, {"ResnetBlock": NormalisedBlock, "Upsample": DoublingConvolution})
    model.quantize = NearestCode(model.quantize)
    return lambda crops, _: model(crops)[0]


def _codeformer(model: Any) -> Callable[[torch.Tensor, float], torch.Tensor]:
    use_faster_blocks(model, {"ResBlock": NormalisedBlock, "Upsample": DoublingConvolution})
    model.quantize = GivenCode(model.quantize)
    return lambda crops, fidelity: model(crops, weight=fidelity)[0]


class _Contiguous(nn.Module):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.contiguous()


# Names of the architectures are spandrel's.
_PREPARE = {"GFPGAN": _gfpgan, "RestoreFormer": _restoreformer, "CodeFormer": _codeformer}
