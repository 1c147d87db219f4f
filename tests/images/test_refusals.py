"""What is not read is refused with a code and a reason, and never becomes a picture."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from images.samples import file_of, noise, pillow, png_chunk, scene, tiff, vips, with_chunk

from upscaling.errors import Code, UpscalingError
from upscaling.images import Limits, decode, probe
from upscaling.images.vips import pyvips

LIMITS = Limits()


def refusal(path: Path, data: bytes, limits: Limits = LIMITS) -> UpscalingError:
    path.write_bytes(data)
    with pytest.raises(UpscalingError) as caught:
        decode(path, limits)
    return caught.value


def ftyp(*brands: bytes) -> bytes:
    body = b"ftyp" + brands[0] + bytes(4) + b"".join(brands)
    return struct.pack(">I", 4 + len(body)) + body + bytes(64)


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'
OTHERS = {
    "SVG": SVG,
    "SVG with a prologue": b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- drawn by hand -->\n' + SVG,
    "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "PostScript with a preview": b"\xc5\xd0\xd3\xc6" + bytes(28),
    "Photoshop": b"8BPS\0\1" + bytes(20),
    "HEIC": ftyp(b"heic", b"mif1", b"heic"),
    "HEIC of several brands": ftyp(b"mif1", b"mif1", b"heic"),
    "BMP": file_of(pillow(scene()), "BMP"),
    "ICO": file_of(pillow(scene(32, 32)), "ICO"),
    "JPEG 2000": file_of(pillow(scene()), "JPEG2000"),
    "JPEG XL": b"\xff\x0a" + bytes(20),
    "FITS": b"SIMPLE  =                    T" + b" " * 2850,
    "ZIP": b"PK\x03\x04" + bytes(30),
    "HTML": b"\n<!DOCTYPE html><html><body>404</body></html>",
    "HTML with a drawing": b"<html><body>" + SVG + b"</body></html>",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_another_kind_of_file_is_named(tmp_path: Path, kind: str) -> None:
    error = refusal(tmp_path / "picture.png", OTHERS[kind])
    assert error.code is Code.FORMAT
    assert f" {kind.split(' with ')[0].split(' of ')[0]} file" in error.message
    assert "PNG, JPEG, WebP, AVIF, TIFF, GIF" in error.message


@pytest.mark.parametrize("data", [b"x", b"just some words\n" * 9, b"\x89PN", ftyp(b"isom", b"mp42"), bytes(500)])
def test_an_unknown_file_is_a_format_error(tmp_path: Path, data: bytes) -> None:
    assert refusal(tmp_path / "picture.jpg", data).code is Code.FORMAT


def test_an_empty_file_is_called_empty(tmp_path: Path) -> None:
    error = refusal(tmp_path / "picture.png", b"")
    assert error.code is Code.DECODE
    assert "empty" in error.message


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_several_pictures_in_one_file_are_refused(tmp_path: Path, kind: str) -> None:
    frames = [pillow(noise(16, 16, 3, seed=seed)) for seed in range(3)]
    error = refusal(tmp_path / "picture", file_of(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert error.code is Code.FORMAT
    assert "animated or multi-page" in error.message


def test_an_animated_png_is_known_by_its_chunk_alone(tmp_path: Path) -> None:
    png = file_of(pillow(scene()), "PNG")
    far = b"".join(png_chunk(b"tEXt", b"k\0" + bytes(8000)) for _ in range(3))
    animated = png[:33] + far + png_chunk(b"acTL", struct.pack(">II", 2, 0)) + png[33:]
    assert refusal(tmp_path / "picture", animated).code is Code.FORMAT
    # Behind the pixels it has no meaning.
    (tmp_path / "still").write_bytes(png[:-12] + png_chunk(b"acTL", struct.pack(">II", 2, 0)) + png[-12:])
    assert np.array_equal(decode(tmp_path / "still", LIMITS).pixels, scene())


def test_an_animated_png_is_known_however_late_it_says_so(tmp_path: Path) -> None:
    png = file_of(pillow(scene()), "PNG")
    animated = png[:33] + png_chunk(b"tEXt", b"k\0") * 10_001 + png_chunk(b"acTL", struct.pack(">II", 2, 0)) + png[33:]
    assert refusal(tmp_path / "picture", animated).code is Code.FORMAT


def test_parts_without_end_are_a_format_error(tmp_path: Path) -> None:
    png = file_of(pillow(scene()), "PNG")
    error = refusal(tmp_path / "picture", png[:33] + png_chunk(b"tEXt", b"k\0") * 100_001 + png[33:])
    assert error.code is Code.FORMAT
    assert "100,000 chunks" in error.message


def test_a_further_page_of_a_tiff_is_known_without_reading_it(tmp_path: Path) -> None:
    error = refusal(tmp_path / "picture", tiff(scene(), 2, following=8))
    assert error.code is Code.FORMAT
    assert "multi-page" in error.message


def test_many_frames_of_a_gif_are_refused(tmp_path: Path) -> None:
    gif = file_of(pillow(scene()).quantize(256), "GIF")
    start = 13 + 3 * 256
    assert gif[start : start + 1] == b","
    error = refusal(tmp_path / "picture", gif[:start] + gif[start:-1] * 100_000 + gif[-1:])
    assert error.code is Code.FORMAT
    assert "animated" in error.message


def test_a_gif_with_a_canvas_above_the_limit_is_refused(tmp_path: Path) -> None:
    gif = file_of(pillow(scene()), "GIF")
    assert refusal(tmp_path / "picture", gif[:6] + b"\xff" * 4 + gif[10:]).code is Code.TOO_LARGE


def test_an_animation_with_one_frame_is_refused(tmp_path: Path) -> None:
    frames = [pillow(noise(16, 16, 3, seed=seed)) for seed in range(2)]
    webp = file_of(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    second = webp.index(b"ANMF", webp.index(b"ANMF") + 4)
    cut = b"RIFF" + struct.pack("<I", second - 8) + webp[8:second]
    assert refusal(tmp_path / "picture", cut).code is Code.FORMAT


def test_an_avif_sequence_is_known_whatever_it_calls_itself(tmp_path: Path) -> None:
    frames = [pillow(noise(16, 16, 3, seed=seed)) for seed in range(2)]
    avif = file_of(frames[0], "AVIF", save_all=True, append_images=frames[1:])
    still_first = avif[:8] + b"avif" + avif[12:]
    no_brand = still_first[:16] + still_first[16:44].replace(b"avis", b"miaf") + still_first[44:]
    for data in (still_first, no_brand):
        assert refusal(tmp_path / "picture", data).code is Code.FORMAT


LAB8 = np.full((8, 9, 3), (128, 10, 20), np.uint8)
ODD_TIFFS = {
    "float grey": tiff(scene(channels=1) / np.float32(255), 1, form=3),
    "float RGB": tiff(scene() / np.float32(255), 2, form=3),
    "double": tiff(scene(channels=1) / np.float64(255), 1, form=3),
    "32 bit": tiff(scene(channels=1).astype(np.uint32), 1),
    "signed": tiff(scene(channels=1).astype(np.int16), 1, form=2),
    "five channels": tiff(noise(5, 6, 5), 2, extra=[2, 0]),
    "three greys": tiff(noise(5, 6, 3), 1, extra=[0, 0]),
    "YCbCr": tiff(scene(), 6),
    "Lab of 8 bit": tiff(LAB8, 8),
    "ICC Lab": tiff(LAB8, 9),
    "Lab with alpha": tiff(noise(5, 6, 4, bits=16), 8, extra=[2]),
    "sensor data": tiff(noise(5, 6, 1, bits=16), 32803),
    "linear raw": tiff(noise(5, 6, 3, bits=16), 34892),
    "mask": tiff(noise(5, 6, 1), 4),
    "preview of a raw file": tiff(scene(), 2, subfile=1),
    "DNG": tiff(scene(), 2, more={50706: (1, 4, b"\1\4\0\0")}),
    "CR2": struct.pack("<2sHI", b"II", 42, 16) + b"CR\2\0\0\0\0\0" + tiff(scene(), 2)[8:],
    **{f"YCbCr as type {kind}": tiff(scene(), 2, more={262: (kind, 1, b"\6\0\0\0")}) for kind in (1, 6, 8, 9)},
    "palette of 16 bit": tiff(noise(5, 6, 1, bits=16), 3, more={320: (3, 768, bytes(1536))}),
    "palette without colours": tiff(noise(5, 6, 1), 3),
    "palette of few colours": tiff(noise(5, 6, 1), 3, more={320: (3, 300, bytes(600))}),
    "JPEG of the old kind": tiff(scene(), 2, more={259: (3, 1, b"\6\0")}),
}


@pytest.mark.parametrize("kind", ODD_TIFFS)
def test_a_tiff_without_an_rgb_or_grey_picture_is_refused(tmp_path: Path, kind: str) -> None:
    error = refusal(tmp_path / "picture", ODD_TIFFS[kind])
    assert error.code is Code.FORMAT
    assert "save it as" in error.message


NOISE = noise(90, 120, 3)
WHOLE: dict[str, bytes] = {
    "PNG": file_of(pillow(NOISE), "PNG"),
    "PNG interlaced": vips(NOISE).pngsave_buffer(interlace=True),
    "PNG of 16 bit": vips(noise(90, 120, 3, bits=16)).pngsave_buffer(),
    "JPEG": file_of(pillow(NOISE), "JPEG"),
    "JPEG progressive": file_of(pillow(NOISE), "JPEG", progressive=True),
    "WebP": file_of(pillow(NOISE), "WEBP"),
    "WebP lossless": file_of(pillow(NOISE), "WEBP", lossless=True),
    "WebP with alpha": file_of(pillow(noise(90, 120, 4)), "WEBP"),
    "TIFF": vips(NOISE).tiffsave_buffer(),
    "TIFF of Pillow": file_of(pillow(NOISE), "TIFF"),
    "TIFF deflated": vips(NOISE).tiffsave_buffer(compression="deflate"),
    "TIFF JPEG": vips(NOISE).tiffsave_buffer(compression="jpeg"),
    "TIFF tiled": vips(NOISE).tiffsave_buffer(tile=True),
    "GIF": file_of(pillow(NOISE), "GIF"),
    "AVIF": file_of(pillow(NOISE), "AVIF"),
}


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("kind", WHOLE)
def test_a_truncated_file_is_never_a_picture(tmp_path: Path, kind: str, share: float) -> None:
    data = WHOLE[kind]
    error = refusal(tmp_path / "picture", data[: int(len(data) * share)])
    assert error.code is Code.DECODE
    assert "damaged or truncated" in error.message


@pytest.mark.parametrize("kind", WHOLE)
def test_a_cut_file_gives_the_right_picture_or_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "picture"
    path.write_bytes(WHOLE[kind])
    whole = decode(path, LIMITS)
    for missing in (1, 2, 5, 13, 40, 200):
        path.write_bytes(WHOLE[kind][:-missing])
        try:
            pixels = decode(path, LIMITS).pixels
        except UpscalingError as error:
            assert error.code is Code.DECODE
        else:
            assert np.array_equal(pixels, whole.pixels)


@pytest.mark.parametrize("junk", [b"", b"stray", b"a\xff\0b"])
@pytest.mark.parametrize("kind", ["JPEG", "JPEG progressive"])
def test_a_jpeg_without_its_end_or_its_middle_is_never_a_picture(tmp_path: Path, kind: str, junk: bytes) -> None:
    whole = WHOLE[kind]
    tables, half = whole.index(b"\xff\xdb"), len(whole) // 2
    start = whole[:tables] + junk + whole[tables:half]
    for damaged in (start + b"\xff\xd9", start + b"\xff\xd9stray", start + whole[half + 1000 :]):
        error = refusal(tmp_path / "picture", damaged)
        assert error.code is Code.DECODE
        assert "damaged or truncated" in error.message


@pytest.mark.parametrize("kind", ["JPEG", "JPEG progressive"])
def test_stray_bytes_in_a_jpeg_do_no_harm(tmp_path: Path, kind: str) -> None:
    whole, path = WHOLE[kind], tmp_path / "picture"
    path.write_bytes(whole)
    pixels = decode(path, LIMITS).pixels
    tables = whole.index(b"\xff\xdb")
    for harmless in (
        whole + b"stray" * 100, whole[:-2] + b"stray" + whole[-2:], whole[:tables] + b"stray" + whole[tables:],
    ):  # fmt: skip
        path.write_bytes(harmless)
        assert np.array_equal(decode(path, LIMITS).pixels, pixels)


@pytest.mark.parametrize("kind", ["PNG", "PNG interlaced", "TIFF deflated"])
def test_a_flipped_bit_in_checked_data_is_damage(tmp_path: Path, kind: str) -> None:
    data = WHOLE[kind]
    for share in (0.1, 0.5, 0.9):
        damaged = bytearray(data)
        damaged[int(len(data) * share)] ^= 4
        assert refusal(tmp_path / "picture", bytes(damaged)).code is Code.DECODE


def test_a_header_without_a_picture_is_damage(tmp_path: Path) -> None:
    for kind in ("PNG", "JPEG", "WebP", "TIFF", "GIF", "AVIF"):
        path = tmp_path / kind
        path.write_bytes(WHOLE[kind][:24])
        with pytest.raises(UpscalingError) as caught:
            probe(path, LIMITS)
        assert caught.value.code is Code.DECODE


@pytest.mark.parametrize("offset", [3, 7, 8, 10**6, 2**32 - 1])
def test_a_tiff_whose_directory_is_elsewhere_is_damage(tmp_path: Path, offset: int) -> None:
    data = WHOLE["TIFF"][:4] + struct.pack("<I", offset) + WHOLE["TIFF"][8:]
    assert refusal(tmp_path / "picture", data).code is Code.DECODE


@pytest.mark.parametrize("offset", [2**64 - 1, 2**63, 2**63 - 1, 2**62])
def test_a_big_tiff_whose_directory_is_beyond_any_file_is_damage(tmp_path: Path, offset: int) -> None:
    data = vips(NOISE).tiffsave_buffer(bigtiff=True)
    error = refusal(tmp_path / "picture", data[:8] + struct.pack("<Q", offset) + data[16:])
    assert error.code is Code.DECODE
    assert "damaged or truncated" in error.message


@pytest.mark.parametrize("missing", range(1, 13))
def test_a_tiff_that_ends_within_its_directory_is_damage(tmp_path: Path, missing: int) -> None:
    entry = struct.pack("<HHII", 305, 2, 4, 0)
    data = struct.pack("<2sHIH", b"II", 42, 8, 1) + entry
    assert refusal(tmp_path / "picture", data[:-missing]).code is Code.DECODE


def test_an_avif_that_claims_more_than_the_decoder_takes_is_too_large(tmp_path: Path) -> None:
    at = WHOLE["AVIF"].index(b"ispe") + 8
    claims = WHOLE["AVIF"][:at] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + WHOLE["AVIF"][at + 8 :]
    assert refusal(tmp_path / "picture", claims).code is Code.TOO_LARGE


def test_a_damaged_colour_profile_is_no_damage_to_the_picture(tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(with_chunk(WHOLE["PNG"], b"iCCP", b"name\0\0nonsense"))
    image = decode(tmp_path / "picture", LIMITS)
    assert image.profile is None
    assert np.array_equal(image.pixels, NOISE)


def test_big_tiff_is_read_and_checked_alike(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    data = vips(NOISE).tiffsave_buffer(bigtiff=True)
    path.write_bytes(data)
    assert np.array_equal(decode(path, LIMITS).pixels, NOISE)
    # The photometric interpretation, RGB, becomes YCbCr.
    entry = struct.pack("<HHQ", 262, 3, 1)
    assert refusal(path, data.replace(entry + b"\2", entry + b"\6")).code is Code.FORMAT


def test_an_error_text_that_is_not_utf_8_changes_no_later_answer(tmp_path: Path) -> None:
    # The property that must be understood gets a name that is no text; libheif quotes it.
    assert b"\x01\x02\x83\x04" in WHOLE["AVIF"]
    hostile = WHOLE["AVIF"].replace(b"\x01\x02\x83\x04", b"\x01\x82\x83\x04").replace(b"pixi", b"\xff\xfe\xfd\xfc", 1)
    damaged = WHOLE["PNG"][: len(WHOLE["PNG"]) // 2]
    before = refusal(tmp_path / "damaged", damaged)
    for _ in range(2):
        assert refusal(tmp_path / "hostile", hostile).code is Code.DECODE
        assert str(refusal(tmp_path / "damaged", damaged)) == str(before)
        (tmp_path / "profile").write_bytes(file_of(pillow(NOISE), "TIFF", icc_profile=b"nonsense"))
        assert np.array_equal(decode(tmp_path / "profile", LIMITS).pixels, NOISE)


def test_an_error_text_that_was_left_behind_is_no_part_of_the_next(tmp_path: Path) -> None:
    header = WHOLE["PNG"][:20]
    before = str(refusal(tmp_path / "damaged", header))
    pyvips.vips_lib.vips_foreign_find_load(b"another picture")  # fails, and is not raised
    assert str(refusal(tmp_path / "damaged", header)) == before
