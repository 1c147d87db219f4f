"""libvips, set up once for pictures from strangers."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# pyvips makes its operations at run time, so there is nothing for a type checker to read.
pyvips: Any = import_module("pyvips")

# Loaders that libvips itself does not hold safe for untrusted files stay shut.
pyvips.block_untrusted_set(True)
# The operation cache answers with the old picture when a path is used again.
pyvips.cache_set_max(0)
# The log handler is a Python callback, which swallows a cancel that hits the thread it runs on.
pyvips._remove_log_handler()
