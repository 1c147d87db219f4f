"""Limits hold before anything is decoded."""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from images.samples import file_of, pillow, png_chunk, scene

from upscaling.errors import Code, UpscalingError
from upscaling.images import Limits, decode, probe

# Reads a warm-up picture, then the one that is too large; prints code, seconds, grown kilobytes, message.
MEASURE = """
import resource, sys, time
from pathlib import Path
from upscaling.errors import UpscalingError
from upscaling.images import Limits, decode, probe

def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

limits = Limits(input_megapixels=100)
decode(Path(sys.argv[1]), limits)
for refuses in (probe, decode):
    before, started = peak(), time.perf_counter()
    try:
        refuses(Path(sys.argv[2]), limits)
    except UpscalingError as error:
        print(error.code, time.perf_counter() - started, peak() - before, error.message, sep="|")
"""


def header(width: int, height: int, bits: int = 1) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + png_chunk(
        b"IHDR", width.to_bytes(4) + height.to_bytes(4) + bytes([bits, 0, 0, 0, 0])
    )  # fmt: skip


def test_a_bomb_is_refused_at_once_and_without_memory(tmp_path: Path) -> None:
    bomb, small = tmp_path / "bomb.png", tmp_path / "small.png"
    row = bytes(1 + 12_000 // 8)
    deflated = zlib.compress(row * 12_000, 9)
    bomb.write_bytes(header(12_000, 12_000) + png_chunk(b"IDAT", deflated) + png_chunk(b"IEND", b""))
    small.write_bytes(file_of(pillow(scene()), "PNG"))
    assert bomb.stat().st_size < 20_000
    lines = subprocess.run(
        [sys.executable, "-c", MEASURE, str(small), str(bomb)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        code, seconds, kilobytes, message = line.split("|")
        assert code == Code.TOO_LARGE
        assert float(seconds) < 1
        assert int(kilobytes) < 50_000
        assert "12000×12000, 144.0 MP" in message
        assert "the limit is 100 MP" in message


def test_a_header_that_claims_more_than_its_data_can_hold_is_damage_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "claims.png"
    path.write_bytes(
        header(14_000, 14_000, 8) + png_chunk(b"IDAT", zlib.compress(bytes(50_000))) + png_chunk(b"IEND", b"")
    )
    for refuses in (probe, decode):
        with pytest.raises(UpscalingError, match="it claims 14000×14000 pixels") as caught:
            refuses(path, Limits())
        assert caught.value.code is Code.DECODE


def test_data_that_deflates_as_far_as_it_can_is_a_picture(tmp_path: Path) -> None:
    path, side = tmp_path / "white.png", 4_000
    data = zlib.compress(bytes((1 + side) * side), 9)
    path.write_bytes(header(side, side, 8) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b""))
    assert decode(path, Limits()).width == side


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "AVIF"])
def test_the_limit_itself_is_allowed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "picture"
    path.write_bytes(file_of(pillow(scene(20, 50)), kind))
    assert probe(path, Limits(input_megapixels=0.001)).width == 50
    assert decode(path, Limits(input_megapixels=0.001)).width == 50
    for refuses in (probe, decode):
        with pytest.raises(UpscalingError) as caught:
            refuses(path, Limits(input_megapixels=0.000999))
        assert caught.value.code is Code.TOO_LARGE


def test_the_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UPSCALING_MAX_INPUT_MP", raising=False)
    monkeypatch.delenv("UPSCALING_MAX_OUTPUT_MP", raising=False)
    assert Limits.from_environment() == Limits()
    monkeypatch.setenv("UPSCALING_MAX_INPUT_MP", "12.5")
    monkeypatch.setenv("UPSCALING_MAX_OUTPUT_MP", "80")
    assert Limits.from_environment() == Limits(12.5, 80)


@pytest.mark.parametrize("value", ["", "many", "0", "-3", "nan", "inf"])
@pytest.mark.parametrize("variable", ["UPSCALING_MAX_INPUT_MP", "UPSCALING_MAX_OUTPUT_MP"])
def test_a_limit_that_is_not_a_number_above_0_is_an_input_error(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UpscalingError) as caught:
        Limits.from_environment()
    assert caught.value.code is Code.INPUT
    assert variable in caught.value.message
    assert repr(value) in caught.value.message


def largest_scale(limits: Limits, width: int, height: int) -> float:
    with pytest.raises(UpscalingError) as caught:
        limits.check_output(width * 10_000, height * 10_000, width, height)
    assert caught.value.code is Code.TOO_LARGE
    return float(caught.value.message.split("that fits this picture is ")[1].split(";")[0])


@given(width=st.integers(10, 4000), height=st.integers(10, 4000), megapixels=st.integers(1, 300))
@example(width=204, height=153, megapixels=1)
def test_the_scale_that_an_error_names_fits(width: int, height: int, megapixels: int) -> None:
    limits = Limits(output_megapixels=megapixels)
    scale = largest_scale(limits, width, height)
    limits.check_output(round(width * scale), round(height * scale), width, height)


def test_the_scale_that_an_error_names_is_the_largest() -> None:
    assert largest_scale(Limits(output_megapixels=16), 1000, 1000) == 4
    assert largest_scale(Limits(output_megapixels=10), 1000, 1000) == 3.16


@pytest.mark.parametrize(("megapixels", "width", "height"), [(5e-7, 100, 100), (1e-9, 1, 1), (1e-6, 3000, 3000)])
def test_a_limit_below_every_scale_is_reported_at_once(megapixels: float, width: int, height: int) -> None:
    with pytest.raises(UpscalingError, match="No scale fits it") as caught:
        Limits(output_megapixels=megapixels).check_output(4 * width, 4 * height, width, height)
    assert caught.value.code is Code.TOO_LARGE
