"""Telling that memory ran out, and giving back what can be given."""

from __future__ import annotations

import ctypes
from collections.abc import Generator
from contextlib import contextmanager

import torch

from upscaling.errors import Code, UpscalingError

# torch has no class of its own for these: what its CPU allocator says (c10/core/impl/alloc_cpu.cpp), the C++
# library's exception, what CUDA and its libraries answer where they allocate without torch's allocator, and OpenCV.
_OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "std::bad_alloc",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "(-4:Insufficient memory)",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch, numpy or OpenCV says that an allocation failed."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # OpenCV's own class of error is no RuntimeError, and not every model has OpenCV.
    known = isinstance(error, RuntimeError) or type(error).__module__ == "cv2"
    return known and any(words in str(error) for words in _OUT_OF_MEMORY)


_MALLOC_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)
_MALLOPT = getattr(ctypes.CDLL(None), "mallopt", None)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_LARGEST_KEPT = 32 << 20  # bytes, the most that glibc takes
_MOST_KEPT = 1 << 30  # bytes
_KEPT_BY_DEFAULT = 128 << 10  # bytes, of one allocation and in all


@contextmanager
def memory_errors_coded(what: str, remedy: str = "Ask for a smaller one.") -> Generator[None]:
    """Turns an allocation that failed into E_MEMORY; `what` memory ran out for and what to do, in words."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UpscalingError(Code.MEMORY, f"memory ran out for {what}. {remedy}") from error


def keep_freed_memory() -> None:
    """Has the C library keep what tiles free for the next ones, until `give_back`; where it is not glibc, nothing."""
    # Else each feature map is mapped anew, and its page faults take a tenth of the time.
    _set_kept(_LARGEST_KEPT, _MOST_KEPT)


def give_back() -> None:
    """Gives the system back what the C library holds of freed memory; where it is not glibc, nothing."""
    # Cog's threads receive the next request. What they free would be kept as well, and malloc_trim leaves the end of
    # every thread's heap but the main one's.
    _set_kept(_KEPT_BY_DEFAULT, _KEPT_BY_DEFAULT)
    # Tiles of many shapes leave the heap in pieces: it grew with every new size of picture.
    if _MALLOC_TRIM is not None:
        _MALLOC_TRIM(0)


def _set_kept(largest: int, most: int) -> None:
    if _MALLOPT is not None:
        _MALLOPT(_M_MMAP_THRESHOLD, largest)
        _MALLOPT(_M_TRIM_THRESHOLD, most)


def release(device: torch.device) -> None:
    """Gives a GPU's cached, unused blocks back, so that a smaller tile finds room in one piece."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
