"""Textual inversions in the forms that they are published in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoints import saved
from safetensors.torch import save_file

from upscaling.diffusion.embeddings import read
from upscaling.errors import Code, UpscalingError
from upscaling.weights.convert import read_checkpoint, write_safetensors

VECTORS = torch.arange(12.0).reshape(3, 4)


@pytest.mark.parametrize(
    "tensors",
    [
        {"emb_params": VECTORS},
        {"clip_l": VECTORS, "clip_g": torch.zeros(3, 5)},
        {"<my-word>": VECTORS},
        {"emb_params": VECTORS.double()},
        {"emb_params": VECTORS.bfloat16()},
    ],
)
def test_safetensors(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "a.safetensors")
    vectors = read(tmp_path / "a.safetensors")
    assert torch.equal(vectors, VECTORS)
    assert vectors.dtype is torch.float32


@pytest.mark.parametrize(
    "checkpoint",
    [
        {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": {"*": VECTORS}, "name": "a", "step": 5},
        {"<my-word>": VECTORS},
    ],
)
def test_pickles_are_converted_first(checkpoint: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(saved(checkpoint))
    write_safetensors(read_checkpoint(tmp_path / "a.pt"), tmp_path / "a.safetensors")
    assert torch.equal(read(tmp_path / "a.safetensors"), VECTORS)


def test_a_single_vector_is_one_of_one(tmp_path: Path) -> None:
    save_file({"<my-word>": VECTORS[0].clone()}, tmp_path / "a.safetensors")
    assert torch.equal(read(tmp_path / "a.safetensors"), VECTORS[:1])


@pytest.mark.parametrize(
    "tensors",
    [
        {"a": VECTORS, "b": VECTORS.clone()},
        {"emb_params": torch.zeros(0, 4)},
        {"emb_params": torch.full((1, 4), torch.nan)},
        {"emb_params": torch.zeros(1, 2, 3)},
    ],
)
def test_other_files_are_refused(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(UpscalingError, match=r"a.safetensors is not a textual inversion: it holds") as raised:
        read(tmp_path / "a.safetensors")
    assert raised.value.code is Code.WEIGHTS
