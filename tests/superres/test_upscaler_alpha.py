import handmade
import numpy as np
import pytest
import torch

import tiny
from upscaling.images import Image
from upscaling.images.image import Pixels
from upscaling.runtime.progress import Progress
from upscaling.superres.tiling import TileSize
from upscaling.superres.upscaler import Upscaler

TILE = TileSize(width=32, height=16)
SIDE = 40
COLOUR = 200
CLEAR = {
    "black": lambda: np.zeros((SIDE, SIDE, 3), np.uint8),
    "white": lambda: np.full((SIDE, SIDE, 3), 255, np.uint8),
    "random": lambda: np.random.default_rng(5).integers(0, 256, (SIDE, SIDE, 3), np.uint8),
}
PLAIN = Upscaler(lambda dtype: handmade.enlarging(4, dtype), torch.float32)
RANDOM = Upscaler(lambda dtype: tiny.network(handmade.vivid(tiny.srvgg()), dtype), torch.float32)
both = pytest.mark.parametrize("upscaler", [PLAIN, RANDOM], ids=["plain", "random weights"])
every_size = pytest.mark.parametrize("times", [4, 3, 1.7])


def disc(hidden: str, dtype: type[np.unsignedinteger] = np.uint8) -> Image:
    """A light disc with a soft edge; the colours where it is clear are the given ones."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    alpha = np.clip(12.5 - np.hypot(y, x), 0, 1)
    pixels = np.where(alpha[..., None] > 0, COLOUR, CLEAR[hidden]()).astype(dtype)
    factor = np.iinfo(dtype).max // 255
    return Image(pixels * dtype(factor), (alpha * np.iinfo(dtype).max).round().astype(dtype))


def upscaled(upscaler: Upscaler, image: Image, times: float, progress: Progress | None = None) -> tuple[Pixels, Pixels]:
    result = upscaler.upscale(image, round(image.width * times), round(image.height * times), TILE, progress)
    assert result.alpha is not None
    assert result.alpha.shape == result.pixels.shape[:2]
    return result.pixels, result.alpha


@both
@every_size
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_hidden_colours_change_nothing(upscaler: Upscaler, times: float, dtype: type[np.unsignedinteger]) -> None:
    expected, expected_alpha = upscaled(upscaler, disc("black", dtype), times)
    for hidden in ("white", "random"):
        pixels, alpha = upscaled(upscaler, disc(hidden, dtype), times)
        assert np.array_equal(pixels, expected)
        assert np.array_equal(alpha, expected_alpha)


@every_size
@pytest.mark.parametrize("hidden", CLEAR)
def test_the_edge_has_no_fringe_on_white_nor_on_black(hidden: str, times: float) -> None:
    pixels, alpha = upscaled(PLAIN, disc(hidden), times)
    share = alpha[..., None] / 255
    on_black, on_white = pixels * share, pixels * share + 255 * (1 - share)
    assert on_black.max() <= COLOUR + 2
    assert on_white.min() >= COLOUR - 2
    assert 0 < share.mean() < 1


def _eroded(mask: np.ndarray, reach: int) -> np.ndarray:
    """Where everything as far as `reach` is set too."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(mask, reach, constant_values=True), (2 * reach + 1,) * 2)
    return windows.all(axis=(2, 3))


@pytest.mark.parametrize(("times", "reach"), [(4, 1), (3, 3), (2, 3)])
def test_opaque_and_clear_areas_stay_so_whatever_the_network_does(times: int, reach: int) -> None:
    image = disc("black")
    _, alpha = upscaled(RANDOM, image, times)
    for value in (0, 255):
        solid = _eroded(image.alpha == value, reach).repeat(times, axis=0).repeat(times, axis=1)
        assert solid.any()
        assert np.unique(alpha[solid]).tolist() == [value]


@both
@every_size
@pytest.mark.parametrize("value", [0, 1, 128, 255])
def test_flat_alpha_stays_flat_and_takes_no_pass_of_its_own(upscaler: Upscaler, times: float, value: int) -> None:
    opaque = Image(disc("random").pixels)
    size = round(SIDE * times)
    alone, with_alpha = Progress(), Progress()
    expected = upscaler.upscale(opaque, size, size, TILE, alone)
    image = Image(opaque.pixels, np.full((SIDE, SIDE), value, np.uint8))
    pixels, alpha = upscaled(upscaler, image, times, with_alpha)
    assert np.unique(alpha).tolist() == [value]
    assert with_alpha.figures["tiles"] == alone.figures["tiles"]
    assert np.array_equal(pixels, expected.pixels) == (value > 0)


def test_alpha_of_its_own_doubles_the_work_and_progress_ends_at_exactly_one() -> None:
    shares: list[float] = []
    alone, with_alpha = Progress(), Progress(shares.append)
    RANDOM.upscale(Image(disc("black").pixels), 160, 160, TILE, alone)
    upscaled(RANDOM, disc("black"), 4, with_alpha)
    assert with_alpha.figures["tiles"] == len(shares) == 2 * int(alone.figures["tiles"])
    assert shares == sorted(set(shares))
    assert shares[-1] == 1.0


@every_size
def test_grey_with_alpha_stays_grey_with_alpha(times: float) -> None:
    image = disc("random")
    pixels, alpha = upscaled(RANDOM, Image(image.pixels[..., :1], image.alpha), times)
    assert pixels.shape == (*alpha.shape, 1)
    assert np.array_equal(alpha, upscaled(RANDOM, image, times)[1])


def test_alpha_is_left_alone_by_networks_that_enlarge_nothing() -> None:
    darkened = handmade.with_run(handmade.enlarging(1), 1, lambda run: lambda tile: run(tile) * 0.5)
    given, progress = disc("random"), Progress()
    pixels, alpha = upscaled(Upscaler(lambda _: darkened, torch.float32), given, 1, progress)
    assert np.array_equal(alpha, given.alpha)
    assert not np.array_equal(pixels, given.pixels)
    assert progress.share == 1.0


def test_alpha_of_networks_that_enlarge_nothing_is_resampled_to_the_requested_size() -> None:
    restoring = Upscaler(lambda _: handmade.enlarging(1), torch.float32)
    alpha = upscaled(restoring, disc("black"), 2)[1]
    assert alpha.shape == (2 * SIDE, 2 * SIDE)
    assert (alpha[SIDE, SIDE], alpha[0, 0]) == (255, 0)
