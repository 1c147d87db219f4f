"""What the folder of a model holds, as tests read it."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
MODELS = sorted(path.name for path in (ROOT / "models").iterdir() if path.is_dir())
PIN = re.compile(r"([a-z0-9]+(?:-[a-z0-9]+)*)==([0-9][0-9a-z.]*)")


@dataclass(frozen=True)
class Model:
    name: str

    @property
    def folder(self) -> Path:
        return ROOT / "models" / self.name

    @property
    def is_exact(self) -> bool:
        """Whether the tile size never changes the result.

        All networks of `superres` are tiled exactly. Diffusion redraws tiles one by one, so a model is exact if it does
        not use the room `diffusion`. Only run.py can: tests/test_structure.py checks that no other room imports it.
        """
        return not any(name.startswith("upscaling.diffusion") for name in imports(self.text("run.py")))

    def text(self, file: str) -> str:
        return (self.folder / file).read_text()

    def lines(self, file: str) -> list[str]:
        """The lines that say something."""
        return [line for line in self.text(file).splitlines() if line.strip() and not line.startswith("#")]

    @property
    def pins(self) -> dict[str, str]:
        return dict(match.groups() for line in self.lines("requirements.txt") if (match := PIN.fullmatch(line)))

    @property
    def inputs(self) -> dict[str, dict[str, Any]]:
        schema = json.loads(self.text("openapi.json"))["components"]["schemas"]
        return dict(sorted(schema["Input"]["properties"].items(), key=lambda field: field[1]["x-order"]))


def imports(code: str) -> set[str]:
    """The full names of everything that a file imports."""
    nodes = list(ast.walk(ast.parse(code)))
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return modules | {
        f"{node.module}.{alias.name}" for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    }
