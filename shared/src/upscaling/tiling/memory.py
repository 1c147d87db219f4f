"""Telling that memory ran out, and giving back what can be given."""

from __future__ import annotations

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or numpy says that an allocation failed."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # torch's CPU allocator has no class of its own for this (c10/core/impl/alloc_cpu.cpp).
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in str(error)


def release(device: torch.device) -> None:
    """Gives a GPU's cached, unused blocks back, so that a smaller tile finds room in one piece."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
