"""Colours: profiles are kept, what a file says by numbers is understood or refused, CMYK and Lab become sRGB."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from images.samples import (
    LIMITS,
    Read,
    cyan_profile,
    file_of,
    grey_profile,
    noise,
    pillow,
    rgb_profile,
    scene,
    tiff,
    with_chunk,
)
from PIL import ImageCms

from upscaling.errors import Code, UpscalingError
from upscaling.images import decode


def srgb_png(*chunks: tuple[bytes, bytes]) -> bytes:
    png = file_of(pillow(scene()), "PNG")
    for kind, data in chunks:
        png = with_chunk(png, kind, data)
    return png


SRGB_CHRM = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
P3_CHRM = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
GAMMA_1 = (b"gAMA", struct.pack(">I", 100_000))


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"gAMA", struct.pack(">I", 45455)), (b"cHRM", SRGB_CHRM)],
        [(b"gAMA", struct.pack(">I", 45454))],
        [(b"sRGB", b"\0"), GAMMA_1],
        [(b"cICP", b"\1\15\0\1"), GAMMA_1],
    ],
    ids=["numbers of sRGB", "rounded", "sRGB over gamma", "cICP over gamma"],
)
def test_a_png_that_says_srgb_by_numbers_is_read(read: Read, chunks: list[tuple[bytes, bytes]]) -> None:
    image = read(srgb_png(*chunks))
    assert image.profile is None
    assert np.array_equal(image.pixels, scene())


def test_a_profile_overrides_other_colours(read: Read) -> None:
    data = with_chunk(file_of(pillow(scene()), "PNG", icc_profile=rgb_profile()), *GAMMA_1)
    assert read(data).profile == rgb_profile()


@pytest.mark.parametrize("kind", ["PNG", "AVIF"])
def test_display_p3_by_numbers_becomes_a_profile(read: Read, kind: str) -> None:
    if kind == "PNG":
        data = srgb_png((b"cICP", b"\14\15\0\1"))
    else:
        data = file_of(pillow(scene()), "AVIF").replace(b"nclx\0\1\0\15", b"nclx\0\14\0\15")
    assert read(data).profile == rgb_profile()


OTHER_COLOURS = {
    "gamma": srgb_png(GAMMA_1),
    "primaries": srgb_png((b"cHRM", P3_CHRM)),
    "PQ": srgb_png((b"cICP", b"\11\20\0\1")),
    "PQ of an AVIF": file_of(pillow(scene()), "AVIF").replace(b"nclx\0\1\0\15", b"nclx\0\11\0\20"),
}


@pytest.mark.parametrize("kind", OTHER_COLOURS)
def test_other_colours_without_a_profile_are_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "picture").write_bytes(OTHER_COLOURS[kind])
    with pytest.raises(UpscalingError, match="save it as sRGB") as caught:
        decode(tmp_path / "picture", LIMITS)
    assert caught.value.code is Code.FORMAT


# Colours of the FOGRA-like profile that stands in where a file brings none, as far as any CMYK has them.
INKS = {
    (0, 0, 0, 0): (255, 255, 255),
    (255, 0, 0, 0): (0, 160, 230),
    (0, 255, 0, 0): (228, 0, 125),
    (0, 0, 255, 0): (255, 235, 0),
    (0, 0, 0, 255): (15, 10, 20),
}


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_srgb_and_is_never_inverted(read: Read, kind: str) -> None:
    inks = np.repeat(np.repeat(np.array([list(INKS)], np.uint8), 16, axis=0), 16, axis=1)
    picture = PIL.Image.frombytes("CMYK", (inks.shape[1], 16), inks.tobytes())
    data = file_of(picture, kind, **({"quality": 100} if kind == "JPEG" else {}))
    assert kind == "TIFF" or b"Adobe" in data
    image = read(data)
    assert image.profile is None
    assert image.pixels.shape == (16, 16 * len(INKS), 3)
    for index, expected in enumerate(INKS.values()):
        assert np.abs(image.pixels[8, 16 * index + 8].astype(int) - expected).max() <= 30


def test_cmyk_is_converted_by_its_own_profile(read: Read) -> None:
    inks = PIL.Image.frombytes("CMYK", (3, 1), bytes([0, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0]))
    image = read(file_of(inks, "TIFF", icc_profile=cyan_profile()))
    assert image.profile is None
    assert image.pixels[0, :, 0].tolist() == [255, 0, 255]


@pytest.mark.parametrize("bits", [8, 16])
def test_cmyk_keeps_its_depth_and_its_alpha(read: Read, bits: int) -> None:
    samples = scene(24, 32, 4, bits)
    alpha = noise(24, 32, 1, bits)
    image = read(tiff(np.dstack([samples, alpha]), 5, extra=[2]))
    assert image.bits == bits
    assert image.alpha is not None
    assert np.array_equal(image.alpha, alpha[..., 0])


@pytest.mark.parametrize("form", ["float", "16 bit"])
def test_lab_becomes_srgb(read: Read, form: str) -> None:
    srgb = scene().astype(int) // 2 + 64
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )  # fmt: skip
    lab8 = np.array(ImageCms.applyTransform(pillow(srgb.astype(np.uint8)), to_lab)).astype(np.float32)
    lab = np.dstack([lab8[..., :1] / 2.55, (lab8[..., 1:] + 128) % 256 - 128])
    if form == "float":
        data = tiff(lab.astype(np.float32), 8, form=3)
    else:
        data = tiff(np.rint(lab * (655.35, 256, 256)).astype(np.int32).astype(np.uint16), 8)
    image = read(data)
    assert image.profile is None
    assert image.bits == 16
    assert np.abs(image.pixels / 257 - srgb).max() < 4


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
def test_an_rgb_profile_is_kept(read: Read, kind: str) -> None:
    assert read(file_of(pillow(scene()), kind, icc_profile=rgb_profile())).profile == rgb_profile()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_grey_profile_is_kept(read: Read, kind: str) -> None:
    image = read(file_of(pillow(scene(channels=1)), kind, icc_profile=grey_profile()))
    assert image.profile == grey_profile()
    assert image.is_grey


@pytest.mark.parametrize(
    ("channels", "profile"),
    [
        (3, grey_profile()),
        (1, rgb_profile()),
        (3, rgb_profile("cmyk")),
        (3, b"nonsense"),
        (3, rgb_profile()[:200]),
        (3, rgb_profile()[:132] + b"\xaa" * 348),
        (1, grey_profile()[:200] + b"\xaa" * 100),
    ],
    ids=["grey", "RGB", "CMYK", "nonsense", "cut", "damaged tags", "damaged curve"],
)
def test_a_profile_that_does_not_fit_is_dropped(
    read: Read, channels: int, profile: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    image = read(file_of(pillow(scene(channels=channels)), "TIFF", icc_profile=profile))
    assert image.profile is None
    assert "profile" in caplog.text


def test_padding_behind_a_profile_is_cut(read: Read) -> None:
    assert read(file_of(pillow(scene()), "JPEG", icc_profile=rgb_profile() + bytes(9))).profile == rgb_profile()
