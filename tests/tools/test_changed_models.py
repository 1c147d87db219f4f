from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from changed_models import ROOT, changed_models, rooms_of
from histories import commit, git

PACKAGE = "shared/src/upscaling"
FILES = {
    "Makefile": "COG_VERSION := 1.0.0\n",
    "README.md": "",
    "docs/page.md": "",
    ".github/workflows/ci.yml": "",
    "tools/check.sh": "",
    "tests/test_one.py": "",
    "shared/pyproject.toml": "",
    f"{PACKAGE}/__init__.py": "",
    f"{PACKAGE}/py.typed": "",
    f"{PACKAGE}/errors.py": "",
    f"{PACKAGE}/weights/__init__.py": "from upscaling.weights.store import put\n",
    f"{PACKAGE}/weights/store.py": "import upscaling.errors\n",
    f"{PACKAGE}/weights/weights.toml": "",
    f"{PACKAGE}/faces/__init__.py": "from upscaling.faces import detection\n",
    f"{PACKAGE}/faces/detection.py": "def detect():\n    from upscaling import weights\n",
    f"{PACKAGE}/superres/upscaler.py": "from upscaling.errors import Code\n",
    f"{PACKAGE}/diffusion/prompts.py": "",
    "models/painter/cog.yaml": "",
    "models/painter/run.py": "import torch\nfrom upscaling.diffusion.prompts import chunks\n",
    "models/portrait/cog.yaml": "",
    "models/portrait/run.py": "from upscaling import faces\nfrom upscaling.superres.upscaler import Upscaler\n",
    "models/sharpen/cog.yaml": "",
    "models/sharpen/run.py": "import outputs\nfrom upscaling.superres.upscaler import Upscaler\n",
    "models/sharpen/outputs.py": "from upscaling.serving.outputs import write\n",
    f"{PACKAGE}/serving/outputs.py": "",
    "samples/cat.jpg": "",
}
ALL = ["painter", "portrait", "sharpen"]


@pytest.fixture
def base(tmp_path: Path) -> str:
    return commit(tmp_path, dict(FILES))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("models/portrait/README.md", ["portrait"]),
        ("models/sharpen/weights/new/file.txt", ["sharpen"]),
        (f"{PACKAGE}/errors.py", ["portrait", "sharpen"]),
        (f"{PACKAGE}/weights/weights.toml", ["portrait"]),
        (f"{PACKAGE}/weights/new.py", ["portrait"]),
        (f"{PACKAGE}/faces/detection.py", ["portrait"]),
        (f"{PACKAGE}/superres/upscaler.py", ["portrait", "sharpen"]),
        (f"{PACKAGE}/diffusion/prompts.py", ["painter"]),
        (f"{PACKAGE}/unused/new.py", []),
        (f"{PACKAGE}/__init__.py", ALL),
        (f"{PACKAGE}/py.typed", ALL),
        ("shared/pyproject.toml", ALL),
        ("Makefile", ALL),
        (".github/workflows/ci.yml", ALL),
        ("tools/check.sh", ALL),
        ("samples/cat.jpg", ALL),
        (f"{PACKAGE}/serving/outputs.py", ["sharpen"]),
        ("README.md", []),
        ("docs/page.md", []),
        ("tests/test_one.py", []),
    ],
)
def test_a_changed_file_affects_the_models_that_use_it(
    tmp_path: Path, base: str, path: str, expected: list[str]
) -> None:
    commit(tmp_path, {path: "changed = True\n"})
    assert changed_models(tmp_path, base) == expected


def test_nothing_changed_affects_nothing(tmp_path: Path, base: str) -> None:
    assert changed_models(tmp_path, base) == []


def test_every_commit_since_the_base_counts(tmp_path: Path, base: str) -> None:
    commit(tmp_path, {"models/sharpen/run.py": "x = 1\n"})
    commit(tmp_path, {"models/painter/run.py": "x = 1\n"})
    assert changed_models(tmp_path, base) == ["painter", "sharpen"]


def test_what_came_to_the_base_branch_since_does_not_count(tmp_path: Path, base: str) -> None:
    git(tmp_path, "checkout", "--quiet", "-b", "feature")
    commit(tmp_path, {"models/sharpen/run.py": "x = 1\n"})
    git(tmp_path, "checkout", "--quiet", "main")
    ahead = commit(tmp_path, {"models/painter/run.py": "x = 1\n"})
    git(tmp_path, "checkout", "--quiet", "feature")
    assert changed_models(tmp_path, ahead) == ["sharpen"]


def test_removed_files_count(tmp_path: Path, base: str) -> None:
    commit(tmp_path, {f"{PACKAGE}/diffusion/prompts.py": None, "models/painter/run.py": "x = 1\n"})
    assert changed_models(tmp_path, base) == ["painter"]


def test_moved_files_count_at_both_places(tmp_path: Path, base: str) -> None:
    commit(tmp_path, {"models/sharpen/page.md": "long enough to be the same file\n" * 9})
    base = git(tmp_path, "rev-parse", "HEAD")
    git(tmp_path, "mv", "models/sharpen/page.md", "models/painter/page.md")
    commit(tmp_path, {})
    assert changed_models(tmp_path, base) == ["painter", "sharpen"]


def test_removed_models_are_not_built(tmp_path: Path, base: str) -> None:
    commit(tmp_path, {"models/sharpen/cog.yaml": None, "models/sharpen/run.py": None})
    assert changed_models(tmp_path, base) == []


def test_names_with_spaces_and_other_letters_are_read(tmp_path: Path, base: str) -> None:
    commit(tmp_path, {"models/sharpen/größe und mehr.md": ""})
    assert changed_models(tmp_path, base) == ["sharpen"]


@pytest.mark.parametrize("unknown", ["", "0" * 40, "no-such-branch", "--output=x"])
def test_unknown_base_affects_all(tmp_path: Path, base: str, unknown: str) -> None:
    assert changed_models(tmp_path, unknown) == ALL
    assert not list(tmp_path.glob("*x...HEAD"))


def test_a_base_without_common_history_affects_all(tmp_path: Path, base: str) -> None:
    git(tmp_path, "checkout", "--quiet", "--orphan", "other")
    commit(tmp_path, {"README.md": "begun anew"})
    assert changed_models(tmp_path, base) == ALL


def test_command_prints_json_for_a_matrix() -> None:
    command = [sys.executable, str(ROOT / "tools" / "changed_models.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == sorted(path.parent.name for path in ROOT.glob("models/*/cog.yaml"))


def test_rooms_of_our_models_are_those_that_they_import() -> None:
    rooms = rooms_of(ROOT, "swinir")
    assert {"errors", "values", "images", "weights", "runtime", "superres", "serving"} <= rooms
    assert "diffusion" not in rooms
