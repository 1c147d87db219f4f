"""libvips, set up once for pictures from strangers."""

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

# libvips has one class for all errors; these are its own words, libjpeg's, libwebp's and libheif's.
_OUT_OF_MEMORY = re.compile(
    "out of memory|insufficient memory|failed to allocate|memory allocation error", re.IGNORECASE
)


def refuse_memory_error(error: Exception) -> None:
    """Raises E_MEMORY where an error of libvips says that an allocation failed."""
    if _OUT_OF_MEMORY.search(str(error)):
        raise UpscalingError(
            Code.MEMORY, "memory ran out while the picture was read or written. Send or ask for a smaller one."
        ) from error


def forget_errors() -> None:
    """Clears libvips' error text, to which what succeeded in the end has added as well."""
    pyvips.vips_lib.vips_error_clear()
