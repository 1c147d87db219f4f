"""libvips, set up once for pictures from strangers."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

# pyvips makes its operations at run time, so there is nothing for a type checker to read.
pyvips: Any = import_module("pyvips")

# Loaders that libvips itself does not hold safe for untrusted files stay shut.
pyvips.block_untrusted_set(True)
# The operation cache answers with the old picture when a path is used again.
pyvips.cache_set_max(0)
# Its own log says when threads come and go.
logging.getLogger("pyvips").setLevel(logging.WARNING)
