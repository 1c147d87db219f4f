"""libvips, configured for untrusted files."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

from upscaling.errors import Code, UpscalingError

# pyvips creates its operations at run time, so type checkers cannot see them.
pyvips: Any = import_module("pyvips")

# Disables loaders that libvips marks as unsafe for untrusted files.
pyvips.block_untrusted_set(True)
# The operation cache would return the old picture for a path that is used again.
pyvips.cache_set_max(0)
# The log handler is a Python callback. A cancel that arrives while it runs would be lost.
pyvips._remove_log_handler()


def _text(pointer: Any) -> str:
    """A message of libvips, which may contain any bytes from a file."""
    return pyvips.ffi.string(pointer).decode("utf-8", errors="replace")


# pyvips decodes strictly, and fails before it clears the error text, so that every later error would fail too.
_error_module: Any = import_module("pyvips.error")
_error_module._to_string = _text

# libvips has one class for all errors, so they are told apart by the texts of libvips and its format libraries.
_BEYOND_A_LIMIT = re.compile(r"security limit|is beyond the \d+ byte limit", re.IGNORECASE)
_OUT_OF_MEMORY = re.compile(
    "out of memory|insufficient memory|failed to allocate|memory allocation error", re.IGNORECASE
)


def refuse_known_error(error: Exception) -> None:
    """Raises E_TOO_LARGE if libvips reports an exceeded limit, and E_MEMORY if an allocation failed."""
    # Limits come first: libheif reports them as failed allocations as well.
    if _BEYOND_A_LIMIT.search(str(error)):
        raise UpscalingError(
            Code.TOO_LARGE,
            "the file exceeds a security limit of the decoder. Save it again, as PNG or JPEG.",
        ) from error
    if _OUT_OF_MEMORY.search(str(error)):
        raise UpscalingError(
            Code.MEMORY,
            "memory ran out while the picture was read or written. Send a smaller one, or ask for a smaller result.",
        ) from error


def forget_errors() -> None:
    """Clears the error text of libvips, which operations that succeeded may also have written to."""
    pyvips.vips_lib.vips_error_clear()


def error_text() -> str:
    """The errors and warnings of libvips and its libraries since `forget_errors`."""
    return _text(pyvips.vips_lib.vips_error_buffer())
