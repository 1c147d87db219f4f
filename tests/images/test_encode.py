"""What is written is what was made, as other programs read it too."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from images.samples import grey_profile, noise, rgb_profile, scene
from PIL import ImageCms

from upscaling.errors import Code, UpscalingError
from upscaling.images import Image, Limits, OutputFormat, check_format, decode, encode
from upscaling.images.image import Pixels

X_RESOLUTION, ORIENTATION = 282, 274  # EXIF
PNG, JPG, WEBP = OutputFormat

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(image: Image, output_format: OutputFormat, quality: int = 95) -> Path:
        path = tmp_path / f"output.{output_format}"
        encode(image, path, output_format, quality)
        return path

    return write


def again(path: Path) -> Image:
    return decode(path, Limits())


def difference(a: Pixels, b: Pixels) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b).max())


def picture(channels: int, bits: int, alpha: bool, size: tuple[int, int] = (9, 13)) -> Image:
    samples = noise(*size, channels, bits)
    return Image(samples, noise(*size, 1, bits, seed=1)[..., 0] if alpha else None)


@pytest.mark.parametrize("alpha", [False, True], ids=["opaque", "alpha"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_png_keeps_every_sample(write: Write, channels: int, bits: int, alpha: bool) -> None:
    image = picture(channels, bits, alpha)
    path = write(image, PNG)
    copy = again(path)
    assert copy.pixels.dtype == image.pixels.dtype
    assert np.array_equal(copy.pixels, image.pixels)
    assert copy.alpha is None if image.alpha is None else np.array_equal(copy.alpha, image.alpha)
    with PIL.Image.open(path) as opened:
        opened.load()
        assert opened.format == "PNG"
        assert opened.size == (13, 9)
        if bits == 8:
            expected = image.pixels if image.alpha is None else np.dstack([image.pixels, image.alpha])
            assert np.array_equal(np.array(opened).reshape(expected.shape), expected)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_keeps_the_picture(write: Write, channels: int, bits: int) -> None:
    path = write(Image(scene(channels=channels, bits=bits)), JPG, 100)
    assert difference(again(path).pixels, scene(channels=channels)) <= 3
    with PIL.Image.open(path) as opened:
        assert (opened.format, opened.mode) == ("JPEG", "L" if channels == 1 else "RGB")
        assert difference(np.array(opened).reshape(24, 32, channels), scene(channels=channels)) <= 3


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_webp_keeps_the_picture_and_its_alpha(write: Write, channels: int, bits: int) -> None:
    alpha = scene(channels=1, bits=bits)[..., 0]
    path = write(Image(scene(channels=channels, bits=bits), alpha), WEBP, 100)
    copy = again(path)
    visible = scene(channels=1)[..., 0] > 0
    expected = np.broadcast_to(scene(channels=channels), (24, 32, 3))
    assert np.abs(copy.pixels.astype(int) - expected)[visible].mean() < 4
    assert copy.alpha is not None
    assert np.array_equal(copy.alpha, scene(channels=1)[..., 0])
    with PIL.Image.open(path) as opened:
        assert (opened.format, opened.mode) == ("WEBP", "RGBA")
        assert np.array_equal(np.array(opened)[..., 3], copy.alpha)


def test_sixteen_bits_are_rounded_to_the_nearest_eight(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    values = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    path = write(Image(np.zeros((256, 256, 1), np.uint16), values), WEBP, 100)
    alpha = again(path).alpha  # lossless in WebP
    assert alpha is not None
    assert np.array_equal(alpha, np.rint(values / 257))
    assert "rounded" in caplog.text


def test_jpeg_flattens_alpha_on_white(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    pixels = np.zeros((16, 48, 3), np.uint8)
    alpha = np.zeros((16, 48), np.uint8)
    alpha[:, 16:32], alpha[:, 32:] = 128, 255
    for channels in (1, 3):
        flat = again(write(Image(pixels[..., :channels], alpha), JPG, 100)).pixels
        assert flat.shape[2] == channels
        assert [int(value) for value in flat[8, 8::16, 0]] == pytest.approx([255, 127, 0], abs=2)
    assert "white" in caplog.text


@pytest.mark.parametrize("output_format", [JPG, WEBP])
def test_more_quality_means_a_larger_and_truer_file(write: Write, output_format: OutputFormat) -> None:
    image = Image(noise(64, 64, 3))
    sizes, errors = [], []
    for quality in (1, 25, 50, 75, 95, 100):
        path = write(image, output_format, quality)
        sizes.append(path.stat().st_size)
        errors.append(float(np.abs(again(path).pixels.astype(int) - image.pixels).mean()))
    assert sizes == sorted(set(sizes))
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("output_format", OutputFormat)
def test_an_rgb_profile_is_written(write: Write, output_format: OutputFormat) -> None:
    path = write(Image(scene(), profile=rgb_profile()), output_format)
    assert again(path).profile == rgb_profile()
    with PIL.Image.open(path) as opened:
        assert opened.info["icc_profile"] == rgb_profile()


@pytest.mark.parametrize("output_format", [PNG, JPG])
def test_a_grey_profile_stays_with_grey(write: Write, output_format: OutputFormat) -> None:
    copy = again(write(Image(scene(channels=1), profile=grey_profile()), output_format))
    assert copy.is_grey
    assert copy.profile == grey_profile()


@pytest.mark.parametrize("alpha", [None, scene(channels=1)[..., 0]], ids=["opaque", "alpha"])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_grey_profile_is_converted_for_webp(write: Write, bits: int, alpha: Pixels | None) -> None:
    linear = scene(channels=1, bits=bits)
    full = 2**bits - 1
    own = None if alpha is None else alpha.astype(linear.dtype) * (full // 255)
    path = write(Image(linear, own, profile=grey_profile(gamma=1.0)), WEBP, 100)
    copy = again(path)
    light = linear / full
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    visible = np.ones((24, 32), bool) if alpha is None else alpha > 0
    assert np.abs(copy.pixels - srgb)[visible].mean() < 3
    assert copy.alpha is None if alpha is None else np.array_equal(copy.alpha, alpha)
    assert copy.profile is not None
    named = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(copy.profile)))
    assert "srgb" in named.lower()


@pytest.mark.parametrize("output_format", OutputFormat)
def test_without_a_profile_none_is_written(write: Write, output_format: OutputFormat) -> None:
    with PIL.Image.open(write(Image(scene()), output_format)) as opened:
        assert "icc_profile" not in opened.info


@pytest.mark.parametrize("dpi", [(72, 72), (96, 96), (300, 300), (300, 150)])
@pytest.mark.parametrize("output_format", OutputFormat)
def test_the_resolution_is_written(write: Write, output_format: OutputFormat, dpi: tuple[int, int]) -> None:
    path = write(Image(scene(), resolution=(dpi[0] / 25.4, dpi[1] / 25.4)), output_format)
    with PIL.Image.open(path) as opened:
        if output_format is PNG:
            assert opened.info["dpi"] == pytest.approx(dpi, abs=0.02)
        else:
            tags = opened.getexif()
            assert (tags[X_RESOLUTION], tags[X_RESOLUTION + 1]) == pytest.approx(dpi, abs=0.02)
            assert tags[ORIENTATION] == 1
    if output_format is not WEBP:  # whose EXIF libvips does not read back
        assert again(path).resolution == pytest.approx((dpi[0] / 25.4, dpi[1] / 25.4), abs=1e-3)


@pytest.mark.parametrize("output_format", OutputFormat)
def test_without_a_resolution_none_is_made_up(write: Write, output_format: OutputFormat) -> None:
    path = write(Image(scene()), output_format)
    assert again(path).resolution is None
    with PIL.Image.open(path) as opened:
        assert opened.info.get("dpi", (72, 72)) == pytest.approx((72, 72), abs=0.1)
        assert not opened.getexif()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 40), (40, 1), (7, 9)])
@pytest.mark.parametrize("output_format", OutputFormat)
def test_every_small_size_is_written(write: Write, output_format: OutputFormat, width: int, height: int) -> None:
    copy = again(write(picture(3, 16, alpha=True, size=(height, width)), output_format))
    assert (copy.width, copy.height) == (width, height)


def test_the_longest_sides_are_known_before_the_work() -> None:
    for name, longest in (("webp", 16_383), ("jpg", 65_500)):
        assert check_format(name, 95, longest, 1) == check_format(name, 95, 1, longest) == name
        for size in ((longest + 1, 1), (1, longest + 1)):
            with pytest.raises(UpscalingError) as caught:
                check_format(name, 95, *size)
            assert caught.value.code is Code.TOO_LARGE
            assert str(longest) in caught.value.message
            assert "png" in caught.value.message
    assert check_format("png", 95, 100_000, 100_000) is PNG


def test_the_longest_sides_can_be_written(write: Write) -> None:
    for output_format, longest in ((WEBP, 16_383), (JPG, 65_500)):
        assert again(write(Image(np.zeros((1, longest, 1), np.uint8)), output_format)).width == longest


@pytest.mark.parametrize("name", ["", "jpeg", "PNG", "tiff", "png "])
def test_an_unknown_format_is_an_input_error(name: str) -> None:
    with pytest.raises(UpscalingError) as caught:
        check_format(name, 95, 10, 10)
    assert caught.value.code is Code.INPUT
    assert "png, jpg, webp" in caught.value.message


@pytest.mark.parametrize("quality", [0, 101, -1])
def test_a_quality_outside_1_to_100_is_an_input_error(quality: int) -> None:
    with pytest.raises(UpscalingError) as caught:
        check_format("jpg", quality, 10, 10)
    assert caught.value.code is Code.INPUT
    assert str(quality) in caught.value.message


@pytest.mark.parametrize("output_format", OutputFormat)
@pytest.mark.parametrize(
    "target",
    [
        "no folder",
        "a file as folder",
        pytest.param("a full disk", marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")),
    ],
)
def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, output_format: OutputFormat, target: str) -> None:
    path = tmp_path / "inside" / f"output.{output_format}"
    if target == "a file as folder":
        path.parent.touch()
    elif target == "a full disk":
        path.parent.mkdir()
        path.symlink_to("/dev/full")
    with pytest.raises(UpscalingError) as caught:
        encode(Image(noise(90, 120, 3)), path, output_format, 95)
    assert caught.value.code is Code.ENCODE
    assert str(output_format) in caught.value.message
    assert not path.is_symlink()
    assert not path.exists()
