from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import tiny
from upscaling import weights
from upscaling.errors import UpscalingError
from upscaling.serving import server
from upscaling.serving.incoming import Incoming
from upscaling.serving.server import Server, start
from upscaling.serving.workspace import Workspace
from upscaling.superres.upscalers import Upscalers
from upscaling.weights.store import write

NAME = "realesr-animevideov3"


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], Server]:
    """Starts a server, without what would stay in this process for good."""
    for name in ("refuse_private_addresses", "keep_unread", "start_threads"):
        monkeypatch.setattr(server, name, lambda *_: None)
    monkeypatch.setattr(Workspace, "open", lambda: Workspace(tmp_path))
    return lambda: start("real-esrgan", Path)


@pytest.mark.parametrize("name", ["UPSCALING_DEVICE", "UPSCALING_DTYPE"])
def test_values_of_the_environment_that_are_none_are_told_at_once(
    begin: Callable[[], Server], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("UPSCALING_DEVICE", "cpu")
    monkeypatch.setenv(name, "abacus")
    with pytest.raises(UpscalingError, match=f"E_INPUT: {name} is 'abacus'"):
        begin()


def test_a_gpu_that_cannot_be_used_is_told_once(
    begin: Callable[[], Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exists = Path.exists
    monkeypatch.delenv("UPSCALING_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(Path, "exists", lambda path: str(path) == "/dev/nvidiactl" or exists(path))
    write(tiny.srvgg(), weights.entry(NAME), "tiny", tmp_path)
    with caplog.at_level(logging.WARNING):
        upscaler = Upscalers("real-esrgan", tmp_path, begin().device).get(NAME)
        upscaler.load(upscaler.dtype)
    assert [message for message in caplog.messages if "GPU" in message] == [caplog.messages[0]]


def test_a_picture_beside_the_input_that_memory_has_no_room_for_is_a_coded_error(
    begin: Callable[[], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setenv("UPSCALING_DEVICE", "cpu")
    monkeypatch.setattr(server, "decode", out_of_memory)
    with pytest.raises(UpscalingError, match=r"E_MEMORY: memory ran out for the picture mask\."):
        begin().picture("mask", Incoming("data:image/png;base64,AAAA"))
