"""Whatever a picture came as, its pixels come out right."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from images.samples import (
    TURNED,
    cyan_profile,
    exif,
    file_of,
    grey_profile,
    noise,
    pillow,
    rgb_profile,
    scene,
    tiff,
    turned,
    vips,
    with_chunk,
)
from PIL import ImageCms

from upscaling.errors import Code, UpscalingError
from upscaling.images import Header, Image, Limits, decode, probe
from upscaling.images.vips import pyvips

LIMITS = Limits()
PER_MM = 1 / 25.4  # pixels per inch → per millimetre

Read = Callable[[bytes], Image]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(data: bytes) -> Image:
        path = tmp_path / "picture"
        path.write_bytes(data)
        image = decode(path, LIMITS)
        assert probe(path, LIMITS) == Header(image.width, image.height, image.is_grey)
        return image

    return read


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
def test_a_resolution_that_is_none_does_no_harm(read: Read, kind: int, value: bytes) -> None:
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
