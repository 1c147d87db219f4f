"""Detects that memory ran out, and returns freed memory to the system."""

from __future__ import annotations

import ctypes
from collections.abc import Generator
from contextlib import contextmanager

import torch

from upscaling.errors import Code, UpscalingError

# torch has no exception class for these. They come from its CPU allocator (c10/core/impl/alloc_cpu.cpp), from the C++
# library, from CUDA libraries that allocate without torch's allocator, and from OpenCV.
_OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "std::bad_alloc",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    # What cuDNN's algorithms say if the memory that each of them works in is too much (aten/src/ATen/native/cudnn).
    "Unable to find a valid cuDNN algorithm to run convolution",
    "GET was unable to find an engine to execute this computation",
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
_LARGEST_KEPT = 32 << 20  # bytes, the maximum in glibc
_MOST_KEPT = 1 << 30  # bytes
_KEPT_BY_DEFAULT = 128 << 10  # bytes, the default of both values in glibc


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
    """Makes glibc keep freed memory for the next tiles, until `give_back`; other C libraries do not change."""
    # Otherwise each feature map gets new pages, and the page faults take a tenth of the time.
    _set_kept(_LARGEST_KEPT, _MOST_KEPT)


def give_back() -> None:
    """Returns freed memory to the system, and from now on at once, as glibc does by default."""
    # The defaults are needed again because Cog's threads receive the next request. Memory that they free would be kept,
    # and malloc_trim does not return the end of their heaps.
    _set_kept(_KEPT_BY_DEFAULT, _KEPT_BY_DEFAULT)
    # Tiles of many shapes fragment the heap: without this it grew with every new picture size.
    trim()


def trim() -> None:
    """Returns the memory that was freed so far to the system; whether glibc keeps more of it does not change."""
    if _MALLOC_TRIM is not None:
        _MALLOC_TRIM(0)


def _set_kept(largest: int, most: int) -> None:
    if _MALLOPT is not None:
        _MALLOPT(_M_MMAP_THRESHOLD, largest)
        _MALLOPT(_M_TRIM_THRESHOLD, most)


def release(device: torch.device) -> None:
    """Frees the unused cached blocks of a GPU, so that a smaller tile finds contiguous memory."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
