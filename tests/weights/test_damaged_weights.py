"""Weights on disk that are damaged, unreadable or of another kind are refused, and by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tiny
from upscaling import weights
from upscaling.errors import Code, UpscalingError
from upscaling.weights import File, state_dict
from upscaling.weights.store import write

ENTRY = weights.entry("realesr-animevideov3")
STATE = tiny.srvgg()
NAME = ENTRY.name
FILE = f"{NAME}/{NAME}.safetensors"


def failure(folder: Path) -> str:
    with pytest.raises(UpscalingError) as raised:
        weights.load(ENTRY, folder)
    assert raised.value.code is Code.WEIGHTS
    return raised.value.message


def test_any_flipped_byte_is_noticed(tmp_path: Path) -> None:
    write(STATE, ENTRY, "here", tmp_path)
    for path, step in ((tmp_path / FILE, 997), (tmp_path / NAME / "manifest.json", 1)):
        content = path.read_bytes()
        for position in [*range(0, len(content), step), len(content) - 1]:
            path.write_bytes(content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :])
            try:
                loaded = weights.load(ENTRY, tmp_path)
            except UpscalingError as error:
                assert error.code is Code.WEIGHTS
            else:
                # The words about the file's origin may change; the values may not.
                assert path.name == "manifest.json"
                assert all(torch.equal(loaded.state[name], STATE[name]) for name in STATE)
        path.write_bytes(content)


def test_damaged_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    write(STATE, ENTRY, "here", tmp_path)
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert failure(tmp_path) == (
        f"the weights {FILE} are damaged (its content does not match its checksum)."
        " Remove their folder and download them again."
    )
    path.unlink()
    assert f"the weights {FILE} are damaged (it is missing)" in failure(tmp_path)


@pytest.mark.parametrize("name", [FILE, f"{NAME}/manifest.json"])
@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_truncated_file_is_refused(tmp_path: Path, name: str, length: int) -> None:
    write(STATE, ENTRY, "here", tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:length])
    assert f"the weights {name} are damaged" in failure(tmp_path)


def test_a_file_that_is_no_safetensors_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"no safetensors")
    with pytest.raises(UpscalingError, match=r"E_WEIGHTS: .*/a\.safetensors are damaged"):
        state_dict(tmp_path / "a.safetensors")
    with pytest.raises(UpscalingError, match=r"E_WEIGHTS: .*/b\.safetensors cannot be read"):
        state_dict(tmp_path / "b.safetensors")


@pytest.mark.parametrize("content", ["{}", "[]", '"text"', '{"source": "here", "more": 1}'])
def test_a_manifest_of_another_kind_is_refused(tmp_path: Path, content: str) -> None:
    write(STATE, ENTRY, "here", tmp_path)
    (tmp_path / NAME / "manifest.json").write_text(content)
    assert f"the weights {NAME}/manifest.json are damaged" in failure(tmp_path)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    write(STATE, ENTRY, "here", tmp_path)
    (tmp_path / NAME / "manifest.json").unlink()
    assert f"the weights {NAME}/manifest.json are damaged" in failure(tmp_path)


def test_another_version_of_an_entry_is_refused(tmp_path: Path) -> None:
    write(STATE, replace(ENTRY, files=(File(f"{NAME}.pth", 5, "0" * 64),)), "here", tmp_path)
    assert f"the weights {NAME} are damaged (it contains another network" in failure(tmp_path)


def test_file_that_cannot_be_opened_is_told_without_its_path(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(STATE, ENTRY, "here", tmp_path)
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).mkdir()
    message = failure(tmp_path)
    assert message.startswith(f"the weights {FILE} cannot be read (")
    assert str(tmp_path) not in message
    assert f"{tmp_path / FILE} cannot be read: " in caplog.text


def test_folder_that_may_not_be_searched_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refused)
    message = failure(tmp_path)
    assert message.endswith(
        f"{NAME} cannot be read (Permission denied). Make them readable for the user of the server, or remove them."
    )


def test_a_name_that_is_not_there_is_an_error_of_the_weights(tmp_path: Path) -> None:
    path = write(STATE, ENTRY, "here", tmp_path) / ENTRY.files[0].stored
    with pytest.raises(UpscalingError) as raised:
        list(weights.tensors(path, ["no-such-tensor"]))
    assert raised.value.code is Code.WEIGHTS
