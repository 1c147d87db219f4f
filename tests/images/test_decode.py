"""Whatever a picture came as, its pixels come out right."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from images.samples import (
    LIMITS,
    TURNED,
    Read,
    exif,
    file_of,
    noise,
    pillow,
    scene,
    tiff,
    turned,
    vips,
)

from upscaling.images import decode
from upscaling.images.vips import pyvips

PER_MM = 1 / 25.4  # pixels per inch → per millimetre


def lossless(kind: str) -> dict[str, object]:
    return {"lossless": True, "exact": True} if kind == "WEBP" else {}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_an_orientation_is_applied_once(read: Read, kind: str, orientation: int) -> None:
    stored = pillow(turned(scene(9, 14), orientation))
    image = read(file_of(stored, kind, exif=exif({274: orientation}), **lossless(kind)))
    assert np.array_equal(image.pixels, scene(9, 14))


def test_the_eight_orientations_of_a_jpeg_are_one_picture(read: Read) -> None:
    uprights = []
    for orientation in TURNED:
        stored = pillow(turned(scene(24, 32), orientation))
        data = file_of(stored, "JPEG", quality=100, subsampling=0, exif=exif({274: orientation}))
        uprights.append(read(data).pixels.astype(int))
    for upright in uprights:
        assert np.abs(upright - scene(24, 32)).max() <= 4


@pytest.mark.parametrize("orientation", [1, 6, 3])
def test_an_avif_is_turned_as_it_says(read: Read, orientation: int) -> None:
    stored = pillow(turned(scene(), orientation))
    image = read(file_of(stored, "AVIF", quality=100, subsampling="4:4:4", exif=exif({274: orientation})))
    assert np.abs(image.pixels.astype(int) - scene()).max() <= 4


def test_the_exif_of_an_avif_turns_nothing(read: Read) -> None:
    avif = file_of(pillow(scene()), "AVIF", quality=100, subsampling="4:4:4", exif=exif({271: "maker"}))
    # Pillow takes the orientation out of EXIF and writes irot: here the maker becomes an orientation.
    maker, orientation = struct.pack(">HHII", 271, 2, 6, 26), struct.pack(">HHIHH", 274, 3, 1, 6, 0)
    assert maker in avif and b"irot" not in avif
    image = read(avif.replace(maker, orientation))
    assert np.abs(image.pixels.astype(int) - scene()).max() <= 4


def test_damaged_exif_does_no_harm(read: Read) -> None:
    image = read(file_of(pillow(scene()), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xffnonsense"))
    assert np.array_equal(image.pixels, scene())


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4], ids=["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("kind", [".png", ".tif"])
def test_every_depth_and_channel_is_kept(read: Read, kind: str, channels: int, bits: int) -> None:
    pixels = noise(7, 9, channels, bits)
    image = read(vips(pixels).write_to_buffer(kind))
    colours = channels - (channels % 2 == 0)
    assert image.pixels.dtype == pixels.dtype
    assert np.array_equal(image.pixels, pixels[..., :colours])
    assert image.is_grey == (channels < 3)
    if colours == channels:
        assert image.alpha is None
    else:
        assert image.alpha is not None
        assert np.array_equal(image.alpha, pixels[..., colours])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_one_bit_becomes_black_and_white_grey(read: Read, kind: str) -> None:
    bits = noise(9, 13, 1) > 127
    image = read(file_of(PIL.Image.fromarray(bits[..., 0]), kind))
    assert np.array_equal(image.pixels, bits * np.uint8(255))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "GIF"])
def test_a_palette_is_looked_up(read: Read, kind: str) -> None:
    picture = pillow(scene()).quantize(30)
    image = read(file_of(picture, kind))
    assert np.array_equal(image.pixels, np.array(picture.convert("RGB")))
    assert image.alpha is None


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_entry_becomes_alpha(read: Read, kind: str) -> None:
    picture = pillow(scene()).quantize(30)
    image = read(file_of(picture, kind, transparency=5))
    assert image.alpha is not None
    assert np.array_equal(image.alpha == 0, np.array(picture) == 5)
    assert np.array_equal(image.pixels[image.alpha > 0], np.array(picture.convert("RGB"))[image.alpha > 0])


def test_a_transparent_colour_becomes_alpha(read: Read) -> None:
    pixels = noise(9, 13, 3)
    pixels[2:5, 3:7] = 10, 20, 30
    image = read(file_of(pillow(pixels), "PNG", transparency=(10, 20, 30)))
    assert image.alpha is not None
    assert np.array_equal(image.alpha == 0, (pixels == (10, 20, 30)).all(axis=2))


@pytest.mark.parametrize("channels", [3, 4])
def test_a_lossless_webp_is_exact(read: Read, channels: int) -> None:
    pixels = noise(9, 13, channels)
    image = read(file_of(pillow(pixels), "WEBP", lossless=True, exact=True))
    assert np.array_equal(image.pixels, pixels[..., :3])
    assert image.alpha is None if channels == 3 else np.array_equal(image.alpha, pixels[..., 3])


@pytest.mark.parametrize(("depth", "error"), [(8, 0), (10, 64), (12, 16)])
def test_an_avif_of_any_depth_uses_the_full_range(read: Read, depth: int, error: int) -> None:
    bits = 8 if depth == 8 else 16
    pixels = scene(24, 32, 4, bits)
    image = read(vips(pixels).heifsave_buffer(compression="av1", lossless=True, bitdepth=depth, effort=0))
    assert image.alpha is not None
    assert image.bits == bits
    assert np.abs(np.dstack([image.pixels, image.alpha]).astype(int) - pixels).max() <= error
    assert image.pixels.min() == 0
    assert image.pixels.max() == image.alpha.max() == 2**bits - 1


def test_min_is_white_is_turned_round(read: Read) -> None:
    for bits in (8, 16):
        pixels = noise(5, 6, 1, bits)
        assert np.array_equal(read(tiff(pixels, 0)).pixels, np.iinfo(pixels.dtype).max - pixels)


def test_a_big_endian_tiff_is_read(read: Read) -> None:
    pixels = noise(5, 6, 1, bits=16)
    data = file_of(PIL.Image.fromarray(pixels[..., 0].astype(">u2")), "TIFF")
    assert data.startswith(b"MM")
    assert np.array_equal(read(data).pixels, pixels)


def test_premultiplied_alpha_becomes_straight(read: Read) -> None:
    pixels = scene(24, 32, 4)
    pixels[..., 3] = np.maximum(pixels[..., 3], 128)
    alpha = pixels[..., 3:].astype(int)
    premultiplied = np.dstack([(pixels[..., :3] * alpha + 127) // 255, alpha]).astype(np.uint8)
    image = read(tiff(premultiplied, 2, extra=[1]))
    assert np.abs(image.pixels.astype(int) - pixels[..., :3]).max() <= 2
    assert image.alpha is not None
    assert np.array_equal(image.alpha, pixels[..., 3])


def test_a_tiff_of_jpeg_ycbcr_has_its_colours(read: Read) -> None:
    data = vips(scene()).tiffsave_buffer(compression="jpeg", Q=80)
    assert PIL.Image.open(BytesIO(data)).tag_v2[262] == 6  # YCbCr indeed
    assert np.abs(read(data).pixels.astype(int) - scene()).max() <= 24


@pytest.mark.parametrize("dpi", [(72, 72), (300, 300), (300, 150)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_the_resolution_is_kept(read: Read, kind: str, dpi: tuple[int, int]) -> None:
    data = file_of(pillow(scene()), kind, dpi=dpi)
    assert read(data).resolution == pytest.approx((dpi[0] * PER_MM, dpi[1] * PER_MM), abs=1e-3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF", "GIF"])
def test_no_resolution_is_made_up(read: Read, kind: str) -> None:
    assert read(file_of(pillow(scene()), kind)).resolution is None


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (10, struct.pack("<ii", -300, 1)), (11, struct.pack("<f", float("nan"))), (12, struct.pack("<d", -1)),
        (12, struct.pack("<d", float("-inf"))), (5, struct.pack("<II", 1, 0)),
    ],
)  # fmt: skip
def test_an_invalid_resolution_is_ignored(read: Read, kind: int, value: bytes) -> None:
    image = read(tiff(scene(), 2, more={282: (kind, 1, value), 283: (kind, 1, value), 296: (3, 1, b"\2\0")}))
    assert image.resolution is None
    assert np.array_equal(image.pixels, scene())


def test_the_resolution_turns_with_the_picture(read: Read) -> None:
    data = file_of(pillow(scene()), "JPEG", dpi=(300, 150), exif=exif({274: 6}))
    assert read(data).resolution == pytest.approx((150 * PER_MM, 300 * PER_MM), abs=1e-3)


@pytest.mark.parametrize("name", ["x.jpg", "图 1.png", "a[n=-1].png", "b[page=3]", "c.pdf", "-d %s.png", "e.svg"])
def test_the_file_name_does_not_matter(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(file_of(pillow(scene()), "PNG"))
    assert np.array_equal(decode(path, LIMITS).pixels, scene())


def test_a_path_used_again_gives_the_new_picture(read: Read) -> None:
    for seed in (1, 2):
        pixels = noise(5, 6, 3, seed=seed)
        assert np.array_equal(read(file_of(pillow(pixels), "PNG")).pixels, pixels)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF", "GIF"])
def test_a_single_pixel_is_a_picture(read: Read, kind: str) -> None:
    image = read(file_of(pillow(np.full((1, 1, 3), 200, np.uint8)), kind, **lossless(kind)))
    assert np.abs(image.pixels.astype(int) - 200).max() <= 2


def test_an_interlaced_png_is_read(read: Read) -> None:
    pixels = noise(21, 17, 3)
    assert np.array_equal(read(vips(pixels).pngsave_buffer(interlace=True)).pixels, pixels)


def test_libvips_calls_no_python_that_could_swallow_a_cancel() -> None:
    assert pyvips._log_handler_id is None
