from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier

import handmade
import numpy as np
import pytest
import torch
from superres.tiling.untiled import whole

import tiny
from upscaling.errors import Code, UpscalingError
from upscaling.images import Image, Size
from upscaling.images.image import Pixels
from upscaling.runtime.progress import Progress
from upscaling.superres.networks import Network
from upscaling.superres.tiling import TileSize
from upscaling.superres.upscaler import Upscaler

TILE = TileSize(width=32, height=16)
LARGE = TileSize(width=256, height=256)
FP32, BF16 = torch.float32, torch.bfloat16
STATES = {
    "rrdb ×4": tiny.rrdb(blocks=1),
    "rrdb ×2": tiny.rrdb(blocks=1, channels=12),
    "srvgg": tiny.srvgg(convolutions=7),
}
every_network = pytest.mark.parametrize("name", STATES)


@cache
def network(name: str, dtype: torch.dtype) -> Network:
    return tiny.network(handmade.vivid(STATES[name]), dtype)


def of_random_weights(name: str, dtype: torch.dtype = FP32) -> Upscaler:
    return Upscaler(lambda wanted: network(name, wanted), dtype)


def plain(scale: int, dtype: torch.dtype = FP32) -> Upscaler:
    """Only enlarges: what is not in the picture is not in the result either."""
    return Upscaler(lambda wanted: handmade.enlarging(scale, wanted), dtype)


def noise(height: int, width: int, channels: int = 3, dtype: type[np.unsignedinteger] = np.uint8) -> Pixels:
    return np.random.default_rng(7).integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)


def flat(height: int, width: int) -> Image:
    return Image(np.full((height, width, 3), 137, np.uint8))


def sizes() -> list[tuple[int, int]]:
    awkward = [(1, 1), (1, 500), (500, 1), (2, 2), (3, 3), (7, 9), (16, 16), (17, 33), (31, 33), (64, 5)]
    return awkward + [(int(h), int(w)) for h, w in np.random.default_rng(3).integers(1, 90, (50, 2))]


@pytest.mark.parametrize("size", sizes(), ids=lambda size: f"{size[0]}×{size[1]}")
def test_the_result_has_every_row_and_column_that_was_asked_for(size: tuple[int, int]) -> None:
    for scale in (0.5, 1, 1.5, 2, 3, 4):
        height, width = (max(round(side * scale), 1) for side in size)
        rows = next(plain(4).attempts(flat(*size), Size(width, height), TILE, Progress()))
        assert np.array_equal(np.concatenate([colour for colour, _ in rows]), flat(height, width).pixels), f"×{scale}"


@every_network
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 3), (7, 9), (33, 31)], ids=lambda size: f"{size[0]}×{size[1]}")
def test_every_network_takes_every_size(name: str, size: tuple[int, int]) -> None:
    height, width = size
    for times in (1, 2, 3, 4):
        result = of_random_weights(name).upscale(Image(noise(*size)), width * times, height * times, TILE)
        assert result.pixels.shape == (height * times, width * times, 3)
        assert result.alpha is None


@pytest.mark.parametrize("size", [(7, 9), (8, 9), (33, 20), (50, 51)], ids=lambda size: f"{size[0]}×{size[1]}")
def test_odd_sizes_through_the_network_of_times_two_are_what_spandrel_gives(size: tuple[int, int]) -> None:
    pixels = noise(*size)
    result = of_random_weights("rrdb ×2").upscale(Image(pixels), size[1] * 2, size[0] * 2, TILE)
    values = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    expected = whole(handmade.vivid(STATES["rrdb ×2"]), values)[0].permute(1, 2, 0).clamp(0, 1) * 255
    # Half a level is what rounding takes, and values on the edge of it may fall either way.
    assert np.abs(result.pixels - expected.numpy()).max() < 0.501


@every_network
@pytest.mark.parametrize("dtype", [FP32, BF16], ids=str)
@pytest.mark.parametrize("size", [(200, 228), (150, 111)], ids=["×4", "×3"])
def test_tile_size_never_changes_a_byte(name: str, dtype: torch.dtype, size: tuple[int, int]) -> None:
    given = Image(noise(50, 57), alpha=noise(50, 57, 1)[..., 0])
    upscaler = of_random_weights(name, dtype)
    expected = upscaler.upscale(given, size[1], size[0], LARGE)
    for tile in (TileSize(32, 32), TileSize(40, 17), TileSize(9, 64)):
        result = upscaler.upscale(given, size[1], size[0], tile)
        assert np.array_equal(result.pixels, expected.pixels)
        assert np.array_equal(result.alpha, expected.alpha)


@every_network
@pytest.mark.parametrize("size", [(200, 228), (150, 111)], ids=["×4", "×3"])
def test_tile_size_never_changes_a_byte_of_16_bit_pictures(name: str, size: tuple[int, int]) -> None:
    given = Image(noise(50, 57, dtype=np.uint16))
    expected = of_random_weights(name).upscale(given, size[1], size[0], LARGE)
    result = of_random_weights(name).upscale(given, size[1], size[0], TileSize(12, 9))
    assert np.array_equal(result.pixels, expected.pixels)


@every_network
def test_grey_stays_grey_and_has_the_lightness_of_the_colours(name: str) -> None:
    grey, scale = noise(20, 23, 1), network(name, FP32).scale
    result = of_random_weights(name).upscale(Image(grey), 23 * scale, 20 * scale, TILE)
    coloured = of_random_weights(name).upscale(Image(grey.repeat(3, axis=2)), 23 * scale, 20 * scale, TILE)
    assert result.pixels.shape == (20 * scale, 23 * scale, 1)
    lightness = coloured.pixels @ np.array([0.299, 0.587, 0.114])
    assert np.abs(result.pixels[..., 0] - lightness).max() < 1.01


@pytest.mark.parametrize("channels", [1, 3])
def test_all_16_bits_of_a_ramp_are_kept_though_the_fast_type_has_8(channels: int) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).round().astype(np.uint16).reshape(64, 64, 1).repeat(channels, axis=2)
    result = plain(4, BF16).upscale(Image(ramp), 256, 256, TILE)
    assert np.array_equal(result.pixels, ramp.repeat(4, axis=0).repeat(4, axis=1))


def test_a_dark_16_bit_picture_stays_dark() -> None:
    dark = np.full((9, 9, 3), 200, np.uint16)
    assert np.unique(plain(4).upscale(Image(dark), 27, 27, TILE).pixels).tolist() == [200]


def test_8_bit_pictures_take_the_fast_type_and_16_bit_ones_fp32() -> None:
    asked: list[torch.dtype] = []

    def load(dtype: torch.dtype) -> Network:
        asked.append(dtype)
        return handmade.enlarging(2, dtype)

    upscaler = Upscaler(load, BF16)
    upscaler.upscale(Image(noise(4, 4)), 8, 8, TILE)
    upscaler.upscale(Image(noise(4, 4, dtype=np.uint16)), 8, 8, TILE)
    assert asked == [BF16, FP32]


def test_the_type_that_is_told_is_the_one_that_the_network_was_loaded_in() -> None:
    progress = Progress()
    Upscaler(lambda _: handmade.enlarging(2, FP32), torch.float16).upscale(Image(noise(4, 4)), 8, 8, TILE, progress)
    assert progress.figures["dtype"] == "float32"


def test_profile_and_resolution_are_handed_on() -> None:
    given = Image(noise(4, 4), profile=b"profile", resolution=(11.8, 11.8))
    result = plain(2).upscale(given, 8, 8, TILE)
    assert (result.profile, result.resolution) == (b"profile", (11.8, 11.8))


@pytest.mark.parametrize("native", [2, 4])
@pytest.mark.parametrize("times", [1, 1.5, 2, 3, 4])
def test_nothing_shifts_by_a_tenth_of_a_pixel(native: int, times: float) -> None:
    y, x = np.mgrid[:40, :48]
    spot = np.exp(-((y - 17.3) ** 2 + (x - 25.6) ** 2) / 30)
    spot = (spot * 65535).round().astype(np.uint16)
    as_colour, as_alpha = Image(spot[..., None]), Image(np.zeros((40, 48, 1), np.uint16), alpha=spot)
    size = round(48 * times), round(40 * times)
    for result in (plain(native).upscale(as_colour, *size, TILE).pixels[..., 0],
                   plain(native).upscale(as_alpha, *size, TILE).alpha):  # fmt: skip
        assert np.abs((centre(result) + 0.5) / times - 0.5 - centre(spot)).max() < 0.1


def centre(plane: Pixels | None) -> np.ndarray:
    assert plane is not None
    places = np.mgrid[: plane.shape[0], : plane.shape[1]]
    return (places * plane.astype(float)).sum(axis=(1, 2)) / plane.astype(float).sum()


@every_network
def test_pictures_at_the_same_time_give_the_bytes_of_single_runs(name: str) -> None:
    upscaler = of_random_weights(name)
    pictures = [Image(np.full((24, 24 + i, 3), 40 * i, np.uint8), alpha=noise(24, 24 + i, 1)[..., 0]) for i in range(6)]
    single = [upscaler.upscale(picture, 96, 96, TILE) for picture in pictures]
    start = Barrier(2)

    def run(chosen: list[Image]) -> list[Image]:
        start.wait(timeout=60)
        return [upscaler.upscale(picture, 96, 96, TILE) for picture in chosen]

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(run, [pictures, pictures[::-1]])
    for expected, *results in zip(single, first, second[::-1], strict=True):
        for result in results:
            assert np.array_equal(result.pixels, expected.pixels)
            assert np.array_equal(result.alpha, expected.alpha)


def test_a_picture_after_another_is_as_if_it_were_alone() -> None:
    upscaler = of_random_weights("srvgg")
    first = upscaler.upscale(Image(noise(20, 20)), 50, 50, TILE)
    upscaler.upscale(Image(noise(9, 31, 1)), 70, 20, TILE)
    assert np.array_equal(upscaler.upscale(Image(noise(20, 20)), 50, 50, TILE).pixels, first.pixels)


def test_a_result_that_fits_no_memory_is_a_coded_error() -> None:
    with pytest.raises(UpscalingError, match="10000000×10000000") as raised:
        plain(4).upscale(flat(2, 2), 10_000_000, 10_000_000, TILE)
    assert raised.value.code is Code.MEMORY


def raising(error: Exception) -> Upscaler:
    def load(_: torch.dtype) -> Network:
        raise error

    return Upscaler(load, FP32)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory.")], ids=repr)
def test_memory_running_out_outside_of_the_stages_is_a_coded_error(error: Exception) -> None:
    with pytest.raises(UpscalingError, match="8×6 pixels") as raised:
        next(next(raising(error).attempts(flat(3, 4), Size(8, 6), TILE, Progress())))
    assert raised.value.code is Code.MEMORY


def test_any_other_error_passes_unchanged() -> None:
    error = RuntimeError("a shape is wrong")
    with pytest.raises(RuntimeError) as raised:
        raising(error).upscale(flat(3, 4), 8, 6, TILE)
    assert raised.value is error
