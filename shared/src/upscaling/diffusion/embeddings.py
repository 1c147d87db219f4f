"""Textual inversion embeddings: vectors that stand for a word of a prompt."""

from __future__ import annotations

from pathlib import Path

import torch

from upscaling import weights
from upscaling.errors import Code, UpscalingError

# Names that the vectors have in files of A1111 and of ComfyUI, and in A1111's pickles once they are converted.
_KNOWN = ("emb_params", "clip_l", "string_to_param.*")


def read(path: Path) -> torch.Tensor:
    """The vectors of a textual inversion in a safetensors file, (vectors, width) in fp32.

    A file may call them as A1111 and ComfyUI do, or, as diffusers', hold nothing but one tensor of any name. Raises
    E_WEIGHTS for other files.
    """
    tensors = weights.state_dict(path)
    named = [tensors[name] for name in _KNOWN if name in tensors] or list(tensors.values())
    vectors = named[0].float()
    if vectors.ndim == 1:
        vectors = vectors[None]
    if len(named) != 1 or vectors.ndim != 2 or not vectors.numel() or not vectors.isfinite().all():
        raise UpscalingError(
            Code.WEIGHTS,
            f"{path.parent.name}/{path.name} is not a textual inversion: it holds {', '.join(tensors)}."
            f" Expected is one tensor, or one with a name of {', '.join(_KNOWN)}.",
        )
    return vectors
