"""Metadata that is not used costs no memory."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from images.samples import file_of, pillow, rgb_profile, scene, tiff

from upscaling.errors import Code, UpscalingError
from upscaling.images import Limits, decode

SIZE = 60_000_000  # bytes

# Reads a small picture, then the one with much metadata; prints by how many kilobytes the peak has grown.
MEASURE = """
import resource, sys
from pathlib import Path
from upscaling.images import Limits, decode

def peak() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # What getrusage says on Linux begins with the peak of the process that started this one.
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))

decode(Path(sys.argv[1]), Limits())
before = peak()
decode(Path(sys.argv[2]), Limits())
print(peak() - before)
"""


def large(kind: str, tag: int) -> bytes:
    if kind == "WEBP":
        return file_of(pillow(scene()), kind, lossless=True, xmp=bytes(SIZE))
    return tiff(scene(), 2, more={tag: (1 if tag == 700 else 7, SIZE, bytes(SIZE))})


@pytest.mark.parametrize(("kind", "tag"), [("WEBP", 0), ("TIFF", 700), ("TIFF", 34377), ("TIFF", 40000)])
def test_metadata_that_is_not_used_is_not_read(tmp_path: Path, kind: str, tag: int) -> None:
    small, much = tmp_path / "small", tmp_path / "much"
    small.write_bytes(file_of(pillow(scene()), kind, lossless=True))
    much.write_bytes(large(kind, tag))
    assert much.stat().st_size > SIZE
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(small), str(much)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 30_000
    assert np.array_equal(decode(much, Limits()).pixels, scene())


def test_what_a_tiff_says_of_itself_takes_nothing_from_its_pixels(tmp_path: Path) -> None:
    texts = dict.fromkeys((269, 270, 271, 272, 305, 306, 315, 33432), (2, 9, b"some text"))
    numbers = {
        34675: (7, len(rgb_profile()), rgb_profile()),
        282: (5, 1, struct.pack("<II", 300, 1)),
        296: (3, 1, b"\2\0"),
    }
    resolution = {283: numbers[282]}
    (tmp_path / "picture").write_bytes(tiff(scene(), 2, more=texts | numbers | resolution))
    image = decode(tmp_path / "picture", Limits())
    assert np.array_equal(image.pixels, scene())
    assert image.profile == rgb_profile()
    assert image.resolution == pytest.approx((300 / 25.4, 300 / 25.4), abs=1e-3)


@pytest.mark.parametrize("kind", ["WEBP", "TIFF"])
def test_a_profile_larger_than_any_is_refused(tmp_path: Path, kind: str) -> None:
    profile = bytes(9_000_000)
    data = (
        file_of(pillow(scene()), kind, icc_profile=profile)
        if kind == "WEBP"
        else tiff(scene(), 2, more={34675: (7, len(profile), profile)})
    )
    (tmp_path / "picture").write_bytes(data)
    with pytest.raises(UpscalingError, match=r"colour profile of the picture is 9\.0 MB") as caught:
        decode(tmp_path / "picture", Limits())
    assert caught.value.code is Code.TOO_LARGE
