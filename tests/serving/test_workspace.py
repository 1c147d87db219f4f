from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from upscaling.errors import Code, UpscalingError
from upscaling.serving.workspace import Workspace

OPEN_AND_LEAVE_A_FILE = """
from upscaling.serving.workspace import Workspace
folder = Workspace.open().folder
(folder / "result").write_bytes(b"large")
print(folder, flush=True)
input()
"""


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


def test_all_that_was_left_is_swept(workspace: Workspace) -> None:
    (workspace.folder / "earlier.png").write_bytes(b"earlier")
    (workspace.folder / "folder" / "inner").mkdir(parents=True)
    (workspace.folder / "folder" / "inner" / "file").write_bytes(b"inner")
    result = workspace.begin()
    assert names(workspace.folder) == {result.name}


def leave(parent: Path) -> Path:
    """The folder of a process that was killed."""
    environment = {**os.environ, "TMPDIR": str(parent)}
    with subprocess.Popen(
        [sys.executable, "-c", OPEN_AND_LEAVE_A_FILE],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        process.kill()
    assert names(left) == {"result"}
    return left


def test_what_killed_processes_left_is_swept(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = leave(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    new = Workspace.open()
    assert not left.exists()
    assert names(tmp_path) == {workspace.folder.name, new.folder.name}


def test_only_work_folders_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, others = leave(tmp_path), tmp_path / "upscaling-results"
    elsewhere = tmp_path / "elsewhere"
    left.rename(elsewhere)
    left.symlink_to(elsewhere)
    others.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    Workspace.open()
    assert left.is_symlink()
    assert names(elsewhere) == {"result"}
    assert others.is_dir()


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "a file in its place"])
def test_folder_that_cannot_be_used_is_told(workspace: Workspace, replaced: bool) -> None:
    assert workspace.is_usable()
    workspace.folder.rmdir()
    if replaced:
        workspace.folder.write_bytes(b"")
    assert not workspace.is_usable()
    with pytest.raises(UpscalingError, match=r"work folder cannot be used .*; restart the server") as raised:
        workspace.begin()
    assert raised.value.code is Code.ENCODE
    assert str(workspace.folder) not in raised.value.message


def test_folder_that_is_not_writable_is_told(workspace: Workspace) -> None:
    workspace.folder.chmod(0o500)
    if os.access(workspace.folder, os.W_OK):
        pytest.skip("root may write anywhere")
    assert not workspace.is_usable()
    with pytest.raises(UpscalingError, match=r"E_ENCODE: .*work folder cannot be used \(Permission denied\)"):
        workspace.begin()


def test_full_disk_is_told_unless_the_next_request_sweeps_it_free(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1 << 30, 1 << 30, 0))
    assert not workspace.is_usable()
    (workspace.begin() / "output.png").write_bytes(bytes(1 << 20))
    assert workspace.is_usable()
