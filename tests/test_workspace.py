from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from upscaling.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return Workspace.open()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_folder_is_of_this_process_alone(workspace: Workspace, tmp_path: Path) -> None:
    assert workspace.folder.parent == tmp_path
    assert workspace.folder.stat().st_mode & 0o777 == 0o700


def test_temporary_files_land_in_the_folder(workspace: Workspace) -> None:
    with tempfile.NamedTemporaryFile() as file:
        assert Path(file.name).parent == workspace.folder


def test_two_processes_get_two_folders(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert Workspace.open().folder != workspace.folder


def test_result_outlives_its_request_but_not_the_next(workspace: Workspace) -> None:
    first = workspace.begin()
    (first / "output.png").write_bytes(b"first")
    assert (first / "output.png").exists()
    second = workspace.begin()
    assert names(workspace.folder) == {second.name}
    assert names(second) == set()


def test_inputs_stay_and_all_else_is_swept(workspace: Workspace) -> None:
    (workspace.folder / "input.png").write_bytes(b"input")
    (workspace.folder / "earlier.png").write_bytes(b"earlier")
    (workspace.folder / "folder" / "inner").mkdir(parents=True)
    (workspace.folder / "folder" / "inner" / "file").write_bytes(b"inner")
    result = workspace.begin(workspace.folder / "input.png")
    assert names(workspace.folder) == {"input.png", result.name}
    assert (workspace.folder / "input.png").read_bytes() == b"input"


@pytest.mark.parametrize("image", [Path("/etc/passwd"), Path("../x"), Path()])
def test_inputs_elsewhere_are_left_alone(workspace: Workspace, image: Path) -> None:
    result = workspace.begin(image)
    assert names(workspace.folder) == {result.name}
