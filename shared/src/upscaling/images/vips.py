"""libvips, configured for untrusted files."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

from upscaling.errors import Code, UpscalingError

# pyvips makes its operations at run time, so there is nothing for a type checker to read.
pyvips: Any = import_module("pyvips")

# Loaders that libvips itself does not hold safe for untrusted files stay shut.
pyvips.block_untrusted_set(True)
# The operation cache answers with the old picture when a path is used again.
pyvips.cache_set_max(0)
# The log handler is a Python callback, which swallows a cancel that hits the thread it runs on.
pyvips._remove_log_handler()


def _text(pointer: Any) -> str:
    """A message of libvips; it may quote any bytes of a file."""
    return pyvips.ffi.string(pointer).decode("utf-8", errors="replace")


# pyvips decodes strictly, and fails before it has cleared the text: every later error would fail as well.
_error_module: Any = import_module("pyvips.error")
_error_module._to_string = _text

# libvips has one class for all errors; these are its own words, libjpeg's, libwebp's, libtiff's and libheif's.
_BEYOND_A_LIMIT = re.compile(r"security limit|is beyond the \d+ byte limit", re.IGNORECASE)
_OUT_OF_MEMORY = re.compile(
    "out of memory|insufficient memory|failed to allocate|memory allocation error", re.IGNORECASE
)


def refuse_known_error(error: Exception) -> None:
    """Raises E_TOO_LARGE where an error of libvips speaks of a limit, E_MEMORY where an allocation failed."""
    # libheif calls the first a failed allocation, too.
    if _BEYOND_A_LIMIT.search(str(error)):
        raise UpscalingError(
            Code.TOO_LARGE,
            "the file claims larger parts than are read from a stranger's. Save it anew, as PNG or JPEG.",
        ) from error
    if _OUT_OF_MEMORY.search(str(error)):
        raise UpscalingError(
            Code.MEMORY, "memory ran out while the picture was read or written. Send or ask for a smaller one."
        ) from error


def forget_errors() -> None:
    """Clears libvips' error text, to which what succeeded in the end has added as well."""
    pyvips.vips_lib.vips_error_clear()


def error_text() -> str:
    """What libvips and its libraries have said since the last error, warnings included."""
    return _text(pyvips.vips_lib.vips_error_buffer())
