"""Converts torch checkpoints, which are pickles, to safetensors, tensor by tensor to save memory.

Format: github.com/huggingface/safetensors, README.md: length of the header, header in JSON, bytes of the tensors.
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
"""Keys of the weights in checkpoints, in order of preference: averaged weights (EMA) come first."""
# Errors of torch.load for files that are damaged or contain more than tensors.
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
    """The tensors of a checkpoint in their own types, memory-mapped if the format of the file allows it.

    The names in nested dictionaries are joined by dots. Values that are not tensors, such as the epoch, are skipped.
    Raises ValueError for a file that is damaged, contains code or contains no tensors.
    """
    try:
        checkpoint: object = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except _UNREADABLE as error:
        raise ValueError(f"it is not a checkpoint that contains only tensors ({type(error).__name__})") from error
    state: StateDict = {}
    for name, tensor in _tensors(_unwrapped(checkpoint)):
        if name in state:
            raise ValueError(f"it has two tensors named {name}")
        state[name] = tensor
    if not state:
        raise ValueError(f"it is not a checkpoint with tensors ({type(checkpoint).__name__})")
    return state


def write_safetensors(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Writes tensors of any shape; tensors that share memory are written separately.

    Raises ValueError for a type that safetensors does not have, and OSError if the file cannot be written.
    """
    # Types with large elements come first, so that every tensor is aligned to the size of its elements.
    tensors = sorted(state.items(), key=lambda named: (-named[1].element_size(), named[0]))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors:
        if tensor.dtype not in _DTYPES or tensor.layout is not torch.strided:
            raise ValueError(f"{name} has the type {tensor.dtype}, {tensor.layout}, which safetensors does not support")
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
