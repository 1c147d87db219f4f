"""From a checkpoint of torch, a pickle, to safetensors: tensor by tensor, so that memory never holds the file twice.

Format: github.com/huggingface/safetensors, README.md: the header's length, the header in JSON, the tensors' bytes.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch

StateDict = dict[str, torch.Tensor]

_WRAPPERS = ("params_ema", "params", "state_dict")
"""Names that checkpoints keep their weights under; the averaged weights go before the last ones."""
# What torch.load raises for files that are damaged, or hold more than tensors.
_UNREADABLE = (
    RuntimeError, OSError, UnpicklingError, EOFError, LookupError, AttributeError, TypeError, ValueError,
)  # fmt: skip
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def read_checkpoint(path: Path) -> StateDict:
    """The tensors of a checkpoint in their own types, mapped from the file where its format allows that.

    Nested dictionaries give names joined by points; values that are not tensors, such as the epoch, are left out.
    Raises ValueError for a file that is damaged, holds code, or holds no tensors.
    """
    try:
        checkpoint: object = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except _UNREADABLE as error:
        raise ValueError(f"it is no checkpoint of tensors alone ({type(error).__name__})") from error
    state: StateDict = {}
    for name, tensor in _tensors(_unwrapped(checkpoint)):
        if name in state:
            raise ValueError(f"it holds two tensors called {name}")
        state[name] = tensor
    if not state:
        raise ValueError(f"it is no checkpoint of tensors ({type(checkpoint).__name__})")
    return state


def write_safetensors(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Writes tensors of any shape, also those that share memory; each tensor is written whole.

    Raises ValueError for a type that safetensors has not, OSError where the file cannot be written.
    """
    # The largest elements come first, so that every tensor begins at a multiple of its element's size.
    tensors = sorted(state.items(), key=lambda named: (-named[1].element_size(), named[0]))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors:
        if tensor.dtype not in _DTYPES or tensor.layout is not torch.strided:
            raise ValueError(f"{name} is of the type {tensor.dtype}, {tensor.layout}, which safetensors has not")
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in tensors:
            file.write(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().data)


def _unwrapped(checkpoint: object) -> object:
    if not isinstance(checkpoint, dict):
        return checkpoint
    named = cast("dict[object, object]", checkpoint)
    return next((named[wrapper] for wrapper in _WRAPPERS if named.get(wrapper)), named)


def _tensors(values: object, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(values, dict):
        for name, value in cast("dict[object, object]", values).items():
            if isinstance(value, torch.Tensor):
                yield f"{prefix}{name}", value
            else:
                yield from _tensors(value, f"{prefix}{name}.")
