"""pyarrow, whose functions are made at run time, so that type checkers cannot see them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

arrow: Any = import_module("pyarrow")
compute: Any = import_module("pyarrow.compute")
filesystems: Any = import_module("pyarrow.fs")
parquet: Any = import_module("pyarrow.parquet")
