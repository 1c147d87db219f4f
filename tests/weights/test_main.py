"""python -m upscaling.weights, the command behind `make weights`."""

from __future__ import annotations

from pathlib import Path

import pytest

from upscaling import weights
from upscaling.errors import Code, UpscalingError
from upscaling.weights import __main__ as command

ROWS = weights.of_model("swinir")
PUBLISHED = [row for row in ROWS if row.is_verifiable]
UNPUBLISHED = [row for row in ROWS if not row.is_verifiable]


@pytest.fixture(autouse=True)
def _put(monkeypatch: pytest.MonkeyPatch) -> None:
    def put(entry: weights.Entry, folder: Path) -> Path:
        if not entry.is_verifiable:
            raise UpscalingError(Code.WEIGHTS, f"no checksum of {entry.name}")
        (folder / entry.name / "unet").mkdir(parents=True, exist_ok=True)
        (folder / entry.name / "unet" / "a.safetensors").write_bytes(bytes(2_500_000))
        return folder / entry.name

    monkeypatch.setattr(command, "put", put)


def test_networks_without_a_checksum_fail_or_are_skipped_with_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["swinir", str(tmp_path)]) == (1 if UNPUBLISHED else 0)
    capsys.readouterr()
    assert command.main(["swinir", str(tmp_path), "--verified-only"]) == 0
    said = capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {row.name for row in PUBLISHED}
    assert [row.name for row in UNPUBLISHED if f"{row.name} is skipped: " not in said] == []
    assert f"{len(PUBLISHED)} of {len(ROWS)} networks are in {tmp_path}.\n" in said


def test_networks_that_may_not_be_passed_on_are_left_out_of_images_for_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["ultimate-sd-upscale", str(tmp_path), "--verified-only", "--for-others"]) == 0
    said = capsys.readouterr().err
    there = {path.name for path in tmp_path.iterdir()}
    assert "4x-UltraSharp is skipped: its licence is CC BY-NC-SA 4.0, non-commercial use only.\n" in said
    assert {"RealESRGAN_x4plus", "Realistic_Vision_V5.1", "control_v11f1e_sd15_tile_fp16"} <= there
    assert not {"4x-UltraSharp", "Deliberate_v2", "add_detail"} & there


def test_what_is_to_be_left_out_must_not_lie_in_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Deliberate_v2").mkdir()
    assert command.main(["ultimate-sd-upscale", str(tmp_path), "--verified-only", "--for-others"]) == 1
    said = capsys.readouterr().err
    assert f"E_WEIGHTS: {tmp_path / 'Deliberate_v2'} is to be left out, since its licence is" in said


def test_a_command_that_downloads_nothing_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["no-such-model", str(tmp_path), "--verified-only"]) == 1
    assert command.main(["swinir", str(tmp_path), "no-such-network", "--verified-only"]) == 1
    assert "there is no network 'no-such-network'" in capsys.readouterr().err


def test_sizes_are_told_before_the_first_download(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> Path:
        raise KeyboardInterrupt

    (tmp_path / "4x-UltraSharp").mkdir()
    monkeypatch.setattr(command, "put", stopped)
    with pytest.raises(KeyboardInterrupt):
        command.main(["ultimate-sd-upscale", str(tmp_path)])
    first, *listed, last = capsys.readouterr().err.splitlines()
    sizes = {name: size for name, _, size in (line.strip().partition("  ") for line in listed)}
    assert sizes.keys() == {row.name for row in weights.of_model("ultimate-sd-upscale")} - {"4x-UltraSharp"}
    assert sizes["RealESRGAN_x4plus"] == "67.0 MB"
    assert sizes["more_details"] == "size not published"
    assert 7000 < float(first.removeprefix("To download, ").removesuffix(" MB:").replace(",", "")) < 9000
    assert 'NAMES="…"' in last


def test_what_is_fetched_is_told_with_its_licence_and_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["real-esrgan", str(tmp_path), "codeformer", "RealESRGAN_x2plus"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[4:] == [
        f"{tmp_path}/codeformer  (S-Lab License 1.0, non-commercial use only, 2.5 MB)",
        f"{tmp_path}/RealESRGAN_x2plus  (BSD-3-Clause, 2.5 MB)",
        f"2 of 2 networks are in {tmp_path}.",
    ]
