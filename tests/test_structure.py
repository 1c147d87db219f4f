"""The shared package's rooms: who may import whom, and what each one offers."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "shared" / "src" / "upscaling"
# Lowest first: a room imports from those before it.
ROOMS = (
    "errors",
    "values",
    "images",
    "weights",
    "runtime",
    "superres",
    "faces",
    "portraits",
    "diffusion",
    "serving",
    "bulk",
)
# What a room, or a part of one, may know beside itself: not all that stands lower.
ONLY = {
    "errors": set[str](),
    "values": {"errors"},
    "images": {"errors"},
    "weights": {"errors"},
    "runtime": {"errors"},
    "superres.networks": {"errors", "runtime.convolution", "runtime.footprint", "runtime.precision"},
    "superres.tiling": {"errors", "runtime", "superres.networks"},
    "superres.mixing": {"errors"},
    "faces": {"errors", "images", "runtime"},
    "portraits": {"errors", "values", "images", "weights", "runtime", "superres", "faces"},
    "diffusion": {"errors", "values", "images", "weights", "runtime", "superres"},
    "serving": {"errors", "values", "images", "runtime", "weights.trusted"},
    "bulk": {"errors", "values", "images", "serving.incoming"},
    "serving.egress": {"errors", "weights.trusted"},
    "serving.workspace": {"errors"},
    "serving.incoming": {"errors", "values", "images"},
}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path != PACKAGE / "__init__.py"
}


def imported(path: Path) -> Iterator[str]:
    """The full names of all modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            assert node.module is not None
            # `from upscaling import weights` imports a room.
            rooms = [f"upscaling.{alias.name}" for alias in node.names]
            yield from rooms if node.module == "upscaling" else [node.module]


def inside(path: Path) -> set[str]:
    return {name.removeprefix("upscaling.") for name in imported(path) if name.startswith("upscaling.")}


def room_of(module: str) -> str:
    return module.partition(".")[0]


def test_every_module_has_its_room() -> None:
    assert {room_of(module) for module in MODULES} == set(ROOMS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downwards_only(module: str) -> None:
    own = room_of(module)
    higher = ROOMS[ROOMS.index(own) + 1 :]
    assert not {name for name in inside(MODULES[module]) if room_of(name) in higher}


def within(module: str, part: str) -> bool:
    return module == part or module.startswith(f"{part}.")


@pytest.mark.parametrize("part", ONLY)
def test_rooms_know_only_what_they_need(part: str) -> None:
    known = {part, *ONLY[part]}
    own = [module for module in MODULES if within(module, part)]
    assert own
    foreign = {name for module in own for name in inside(MODULES[module])}
    assert {name for name in foreign if not any(within(name, room) for room in known)} == set()


def test_no_other_room_imports_diffusion() -> None:
    # tests/model_folder.py relies on this: a model uses diffusion only if its run.py imports it.
    others = [module for module in MODULES if room_of(module) != "diffusion"]
    assert [module for module in others if "diffusion" in map(room_of, inside(MODULES[module]))] == []


@pytest.mark.parametrize("module", MODULES)
def test_nothing_imports_cog(module: str) -> None:
    assert not {name for name in imported(MODULES[module]) if room_of(name) in ("cog", "coglet")}


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name) in ("errors", "values", "images")])
def test_pictures_know_nothing_of_torch(module: str) -> None:
    assert not {name for name in imported(MODULES[module]) if room_of(name) in ("torch", "torchvision", "spandrel")}


@pytest.mark.parametrize("room", [room for room in ROOMS if (PACKAGE / room / "__init__.py").exists()])
def test_rooms_offer_what_they_list(room: str) -> None:
    offered = import_module(f"upscaling.{room}")
    listed: list[str] = getattr(offered, "__all__", [])
    assert len(set(listed)) == len(listed)
    assert [name for name in listed if not hasattr(offered, name)] == []
    brought = {alias.asname or alias.name for node in ast.walk(ast.parse(Path(offered.__file__ or "").read_text()))
               if isinstance(node, ast.ImportFrom) for alias in node.names}  # fmt: skip
    assert brought == set(listed)


def test_readme_lists_the_rooms_in_their_order() -> None:
    (listed,) = re.findall(r"import downwards only: ([^.]+)\.", " ".join((ROOT / "README.md").read_text().split()))
    assert tuple(re.findall(r"`(\w+)`", listed)) == ROOMS


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_longer_than_300_lines(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= 300
