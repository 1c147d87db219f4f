from __future__ import annotations

import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upscaling.errors import UpscalingError
from upscaling.images import Limits, PngHeader, decode, write_png
from upscaling.images.image import Pixels
from upscaling.images.png import _joined_adler


def noise(height: int, width: int, channels: int, bits: int) -> Pixels:
    generator = np.random.default_rng(height * width)
    samples = generator.integers(0, 2**bits, (height, width, channels))
    return samples.astype(np.uint8 if bits == 8 else np.uint16)


def cut(samples: Pixels, rows: int) -> Iterator[Pixels]:
    return (samples[top : top + rows] for top in range(0, len(samples), rows))


def written(folder: Path, samples: Pixels, rows: int) -> Path:
    height, width, channels = samples.shape
    path = folder / "out.png"
    write_png(path, PngHeader(width, height, channels, samples.itemsize * 8), cut(samples, rows))
    return path


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (37, 1), (50, 61)])
def test_every_decoder_reads_the_same(tmp_path: Path, size: tuple[int, int], channels: int, bits: int) -> None:
    samples = noise(*size, channels, bits)
    path = written(tmp_path, samples, rows=7)
    read = decode(path, Limits())
    assert np.array_equal(read.pixels, samples[..., : 3 if channels > 2 else 1])
    assert (read.alpha is None) == (channels in (1, 3))
    if read.alpha is not None:
        assert np.array_equal(read.alpha, samples[..., -1])
    with PIL.Image.open(path) as image:
        image.load()
        assert image.size == size[::-1]
        if bits == 8:
            assert np.array_equal(np.asarray(image).reshape(samples.shape), samples)
    # OpenCV makes grey with alpha RGBA, and turns colours round.
    seen = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if channels != 2:
        order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
        assert np.array_equal(seen.reshape(*size, -1)[..., order], samples)


@settings(max_examples=30)
@given(height=st.integers(1, 60), rows=st.integers(1, 60))
def test_cuts_never_change_the_pixels(tmp_path_factory: pytest.TempPathFactory, height: int, rows: int) -> None:
    samples = noise(height, 300, 3, 8)
    with PIL.Image.open(written(tmp_path_factory.mktemp("png"), samples, rows)) as image:
        assert np.array_equal(np.asarray(image), samples)


def test_rows_of_more_than_a_block_are_one_stream(tmp_path: Path) -> None:
    samples = noise(9, 500_000, 3, 8)  # 1.5 MB a row
    assert np.array_equal(decode(written(tmp_path, samples, rows=4), Limits()).pixels, samples)


def test_file_is_about_as_small_as_pillows(tmp_path: Path) -> None:
    with PIL.Image.open(Path(__file__).parents[2] / "samples" / "cat.jpg") as image:
        photo = image.convert("RGB").resize((768, 768), PIL.Image.Resampling.LANCZOS)
    reference = BytesIO()
    photo.save(reference, "png")
    path = written(tmp_path, np.asarray(photo), rows=100)
    assert path.stat().st_size <= 1.1 * len(reference.getvalue())


@given(first=st.binary(max_size=300), second=st.binary(max_size=300))
def test_checksums_of_parts_join(first: bytes, second: bytes) -> None:
    assert _joined_adler(zlib.adler32(first), zlib.adler32(second), len(second)) == zlib.adler32(first + second)


def test_checksums_of_large_parts_join() -> None:
    first, second = b"\xff" * 1_000_003, b"\xfe" * 2_000_001
    assert _joined_adler(zlib.adler32(first), zlib.adler32(second), len(second)) == zlib.adler32(first + second)


def test_full_disk_is_a_coded_error_and_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "out.png").symlink_to("/dev/full")
    with pytest.raises(UpscalingError, match=r"E_ENCODE: .*No space left"):
        write_png(tmp_path / "out.png", PngHeader(2000, 2000, 3, 8), iter([noise(2000, 2000, 3, 8)]))
    assert list(tmp_path.iterdir()) == []


def test_missing_rows_are_an_error_and_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(UpscalingError, match="E_ENCODE: 3 of 10 rows are missing"):
        write_png(tmp_path / "out.png", PngHeader(5, 10, 3, 8), iter([noise(7, 5, 3, 8)]))
    assert list(tmp_path.iterdir()) == []


def test_failure_of_the_rows_passes_through_and_leaves_no_file(tmp_path: Path) -> None:
    def rows() -> Iterator[Pixels]:
        yield noise(10, 10, 3, 8)
        raise ConnectionResetError("the network's own")

    with pytest.raises(ConnectionResetError, match="the network's own"):
        write_png(tmp_path / "out.png", PngHeader(10, 20, 3, 8), rows())
    assert list(tmp_path.iterdir()) == []
