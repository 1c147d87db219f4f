"""How much memory a loaded network holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any, cast

import torch
from torch import nn

_onednn: Any = torch.ops.mkldnn


def footprint(*values: object) -> int:
    """Bytes of all tensors that the values hold, with each piece of memory counted once.

    Tensors are found in containers, in attributes, and in what functions hold: the arguments of a partial, the object
    of a method, the variables of a closure. Packed weights and other copies are found this way, which `state_dict`
    does not list.
    """
    sizes: dict[int, int] = {}
    visited: dict[int, object] = {}  # holds the objects, so that their ids stay theirs
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if id(value) in visited:
            continue
        visited[id(value)] = value
        if isinstance(value, torch.Tensor):
            address, size = _memory(value)
            sizes[address] = size
        else:
            waiting.extend(_parts(value))
    return sum(sizes.values())


def _memory(tensor: torch.Tensor) -> tuple[int, int]:
    """A number that is the same for tensors that share memory, and the bytes of that memory."""
    if tensor.is_mkldnn:  # oneDNN's own layout, which has no storage
        return id(tensor), int(_onednn._nbytes(tensor))
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()


def _parts(value: object) -> Iterable[object]:
    match value:
        case str() | bytes() | int() | float() | None | type() | ModuleType():
            return ()
        case Mapping():
            return cast("Mapping[object, object]", value).values()
        case list() | tuple() | set() | frozenset():
            return cast("Iterable[object]", value)
        case partial():
            return (value.func, value.args, value.keywords)
        case MethodType():
            return (value.__self__,)
        case FunctionType():
            return [cell.cell_contents for cell in value.__closure__ or ()]
        case nn.Module():
            return vars(value).values()
        case _:
            return getattr(value, "__dict__", {}).values()
