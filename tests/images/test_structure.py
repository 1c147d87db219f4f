"""Files whose structure says more, or less, than their pixels: none becomes a wrong picture."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from images.samples import file_of, noise, pillow, scene, with_chunk

from upscaling.errors import Code, UpscalingError
from upscaling.images import Image, Limits, decode

END = b"\xff\xd9"
KINDS = {"baseline": {}, "progressive": {"progressive": True}, "restarts": {"restart_marker_blocks": 7}}
JPEGS = {kind: file_of(pillow(noise(90, 120, 3)), "JPEG", **options) for kind, options in KINDS.items()}

Read = Callable[[bytes], Image]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(data: bytes) -> Image:
        (tmp_path / "picture").write_bytes(data)
        return decode(tmp_path / "picture", Limits())

    return read


def refused(read: Read, data: bytes) -> Code:
    with pytest.raises(UpscalingError) as caught:
        read(data)
    return caught.value.code


def test_a_progressive_jpeg_without_its_last_scans_is_damage(read: Read) -> None:
    data = JPEGS["progressive"]
    scans = [at for at in range(len(data)) if data.startswith(b"\xff\xda", at)]
    assert len(scans) > 5
    for at in scans[1:]:
        tables = data.rfind(b"\xff\xc4", 0, at)  # Huffman tables stand before a scan
        assert refused(read, data[:tables] + END) is Code.DECODE


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("oddity", ["revision of JFIF", "parameters of a scan", "stray bytes", "stray markers' halves"])
def test_what_libjpeg_forgives_hides_no_missing_pixels(read: Read, kind: str, oddity: str) -> None:
    data = JPEGS[kind]
    tables, scan = data.index(b"\xff\xdb"), data.index(b"\xff\xda")
    parameters = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4]) - 3
    odd = {
        "revision of JFIF": data[:11] + b"\x09" + data[12:],
        "parameters of a scan": data[:parameters] + bytes(3) + data[parameters + 3 :],
        "stray bytes": data[:tables] + b"stray" + data[tables:],
        "stray markers' halves": data[:tables] + b"\xff\0" * 5000 + data[tables:],
    }[oddity]
    cut = odd[: len(odd) - len(data) // 3] + END
    assert refused(read, cut) is Code.DECODE
    if (kind, oddity) != ("progressive", "parameters of a scan"):
        assert np.array_equal(read(odd).pixels, read(data).pixels)


def test_a_jpeg_of_endless_segments_is_refused(read: Read) -> None:
    data = JPEGS["baseline"]
    assert refused(read, data[:2] + b"\xff\x01" * 1_000_000 + data[2:]) is Code.DECODE


@pytest.mark.parametrize("canvas", [(3000, 2500), (300, 250), (5, 5), (10, 21)], ids=str)
def test_a_gif_that_does_not_fill_its_canvas_is_refused(read: Read, canvas: tuple[int, int]) -> None:
    data = file_of(pillow(scene(20, 10)), "GIF")
    assert read(data).pixels.shape == (20, 10, 3)
    assert refused(read, data[:6] + struct.pack("<HH", *canvas) + data[10:]) is Code.FORMAT


def test_a_tiff_with_an_empty_directory_is_damage_and_no_lack_of_memory(read: Read) -> None:
    for order, mark in (("<", b"II"), (">", b"MM")):
        small = mark + struct.pack(order + "HI", 42, 8) + bytes(60)
        big = mark + struct.pack(order + "HHHQ", 43, 8, 0, 16) + bytes(60)
        for data in (small, big):
            assert refused(read, data) is Code.DECODE


def test_a_palette_is_of_short_numbers_and_within_the_file(read: Read) -> None:
    data = file_of(pillow(scene()).quantize(256), "TIFF")
    entry = data.index(struct.pack("<HHI", 320, 3, 768))
    assert read(data).pixels.shape == (24, 32, 3)
    wrong_type = data[: entry + 2] + struct.pack("<H", 4) + data[entry + 4 :]
    outside = data[: entry + 8] + struct.pack("<I", len(data) - 1000) + data[entry + 12 :]
    for damaged in (wrong_type, outside):
        assert refused(read, damaged) in (Code.FORMAT, Code.DECODE)


@pytest.mark.parametrize("codes", [(1, 13, 1, 1), (1, 13, 0, 0)], ids=["YCbCr", "narrow range"])
def test_video_samples_in_a_png_are_refused(read: Read, codes: tuple[int, ...]) -> None:
    assert refused(read, with_chunk(file_of(pillow(scene()), "PNG"), b"cICP", bytes(codes))) is Code.FORMAT
