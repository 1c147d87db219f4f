"""python -m upscaling.weights, the command behind `make weights`."""

from __future__ import annotations

from pathlib import Path

import pytest

from upscaling import weights
from upscaling.errors import Code, UpscalingError
from upscaling.weights import __main__ as command
from upscaling.weights.store import file_name

ROWS = weights.of_model("swinir")
PUBLISHED = [row for row in ROWS if row.sha256 is not None]
UNPUBLISHED = [row for row in ROWS if row.sha256 is None]


@pytest.fixture(autouse=True)
def _put(monkeypatch: pytest.MonkeyPatch) -> None:
    def put(entry: weights.Entry, folder: Path) -> Path:
        if entry.sha256 is None:
            raise UpscalingError(Code.WEIGHTS, f"no checksum of {entry.file}")
        path = folder / file_name(entry)
        path.write_bytes(b"weights")
        return path

    monkeypatch.setattr(command, "put", put)


def test_what_cannot_be_verified_fails_unless_it_is_left_out_which_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["swinir", str(tmp_path)]) == (1 if UNPUBLISHED else 0)
    capsys.readouterr()
    assert command.main(["swinir", str(tmp_path), "--verified-only"]) == 0
    said = capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {file_name(row) for row in PUBLISHED}
    assert [row.name for row in UNPUBLISHED if f"{row.name} is left out: " not in said] == []
    assert f"{len(PUBLISHED)} of {len(ROWS)} networks are in {tmp_path}.\n" in said


def test_nothing_there_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["no-such-model", str(tmp_path), "--verified-only"]) == 1
    assert command.main(["swinir", str(tmp_path), "no-such-network", "--verified-only"]) == 1
    assert "there is no network 'no-such-network'" in capsys.readouterr().err
