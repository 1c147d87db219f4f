"""Ours against realesrgan.RealESRGANer, untiled and in fp32: where they agree, and where ours differs on purpose."""

from collections.abc import Callable
from pathlib import Path

import cv2
import handmade
import numpy as np
import pytest
import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from realesrgan import RealESRGANer
from realesrgan.archs.srvgg_arch import SRVGGNetCompact

import tiny
from upscaling.images import Image
from upscaling.images.image import Pixels
from upscaling.serving.output import Output
from upscaling.superres.tiling import TileSize
from upscaling.superres.upscaler import Upscaler

TILE = TileSize(width=32, height=24)
CAT = cv2.cvtColor(cv2.imread(str(Path(__file__).parents[1] / "data/cat.png")), cv2.COLOR_BGR2RGB)
STATES = {
    "rrdb ×4": (handmade.vivid(tiny.rrdb()), 4, lambda: RRDBNet(3, 3, scale=4, num_feat=8, num_block=2)),
    "rrdb ×2": (handmade.vivid(tiny.rrdb(channels=12)), 2, lambda: RRDBNet(3, 3, scale=2, num_feat=8, num_block=2)),
    "srvgg": (tiny.srvgg(), 4, lambda: SRVGGNetCompact(3, 3, num_feat=8, num_conv=4)),
    # No residual at all: every pixel becomes a square, and what is seen is the work around the network.
    "plain": (
        {name: value * 0 for name, value in tiny.srvgg().items()},
        4,
        lambda: SRVGGNetCompact(3, 3, num_feat=8, num_conv=4),
    ),
}
Enhance = Callable[..., Pixels]
every_network = pytest.mark.parametrize("name", ["rrdb ×4", "rrdb ×2", "srvgg"])


@pytest.fixture
def theirs(tmp_path: Path) -> Enhance:
    """RealESRGANer with a network, on pixels in red, green, blue."""

    def enhance(name: str, pixels: Pixels, outscale: float | None = None) -> Pixels:
        state, scale, model = STATES[name]
        torch.save({"params": state}, tmp_path / "weights.pth")
        upsampler = RealESRGANer(
            scale, str(tmp_path / "weights.pth"), model=model(), tile=0, pre_pad=0, half=False, device="cpu"
        )
        swapped = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]] if pixels.ndim == 3 else pixels
        result, _ = upsampler.enhance(swapped, outscale=outscale)
        return result[..., [2, 1, 0, 3][: result.shape[2]]] if result.ndim == 3 else result

    return enhance


def ours(name: str, image: Image, outscale: float | None = None) -> Image:
    state, scale, _ = STATES[name]
    upscaler = Upscaler(lambda dtype: tiny.network(state, dtype), torch.float32)
    width, height = Output(scale=outscale or scale).size(image.width, image.height)
    return upscaler.upscale(image, width, height, TILE)


def apart(one: Pixels, other: Pixels) -> int:
    assert one.shape == other.shape
    assert one.dtype == other.dtype
    return int(np.abs(one.astype(int) - other).max())


@every_network
@pytest.mark.parametrize("side", [64, 31])
def test_colours_agree_to_one_level(theirs: Enhance, name: str, side: int) -> None:
    pixels = CAT[:side, :40]
    assert apart(ours(name, Image(pixels)).pixels, theirs(name, pixels)) <= 1


@every_network
def test_grey_agrees_to_one_level(theirs: Enhance, name: str) -> None:
    grey = np.ascontiguousarray(CAT[:31, :40, 1])
    assert apart(ours(name, Image(grey[..., None])).pixels[..., 0], theirs(name, grey)) <= 1


@every_network
def test_16_bit_colours_agree_to_what_fp32_keeps(theirs: Enhance, name: str) -> None:
    pixels = CAT[:31, :40].astype(np.uint16) * 257 + 100
    assert apart(ours(name, Image(pixels)).pixels, theirs(name, pixels)) <= 2


@every_network
def test_colours_of_an_opaque_picture_agree_and_only_our_alpha_stays_opaque(theirs: Enhance, name: str) -> None:
    opaque = np.full(CAT.shape[:2], 255, np.uint8)
    expected = theirs(name, np.dstack([CAT, opaque]))
    result = ours(name, Image(CAT, opaque))
    assert apart(result.pixels, expected[..., :3]) <= 1
    assert result.alpha is not None
    assert result.alpha.min() == 255 > expected[..., 3].min()


def test_a_dark_16_bit_picture_stays_dark_where_theirs_is_taken_for_8_bits(theirs: Enhance) -> None:
    dark = np.full((9, 9, 3), 200, np.uint16)
    assert np.unique(ours("plain", Image(dark)).pixels).tolist() == [200]
    assert theirs("plain", dark).max() == 200  # as 8 bits: 78 % of white in place of 0.3 %
    assert theirs("plain", dark).dtype == np.uint8


@pytest.mark.parametrize("outscale", [3.5, 2])
def test_soft_pictures_at_other_factors_differ_by_less_than_five_levels(theirs: Enhance, outscale: float) -> None:
    # OpenCV's kernel has eight weights from a table, and is not widened when reducing.
    soft = cv2.GaussianBlur(CAT, (0, 0), sigmaX=3)
    expected, result = theirs("plain", soft, outscale), ours("plain", Image(soft), outscale).pixels
    assert apart(result, expected) < 5
    assert np.abs(result.astype(int) - expected).mean() < 0.6


def test_stripes_too_fine_for_the_size_turn_grey_where_theirs_become_other_stripes(theirs: Enhance) -> None:
    stripes = np.zeros((60, 60, 3), np.uint8)
    stripes[:, ::2] = 255
    expected, result = theirs("plain", stripes, 0.6), ours("plain", Image(stripes), 0.6).pixels
    inner = slice(4, -4)
    assert np.abs(result[inner, inner] - 127.5).max() < 2
    assert np.abs(expected[inner, inner] - 127.5).max() > 100


def test_sizes_are_rounded_where_theirs_are_cut(theirs: Enhance) -> None:
    pixels = CAT[:9, :19]
    assert theirs("plain", pixels, 2.3).shape == (20, 43, 3)  # 20.7 and 43.7
    assert ours("plain", Image(pixels), 2.3).pixels.shape == (21, 44, 3)


def test_edges_of_a_white_shape_stay_white_where_theirs_take_the_hidden_black(theirs: Enhance) -> None:
    alpha = np.zeros((32, 32), np.uint8)
    alpha[8:24, 8:24] = 255
    white = np.where(alpha[..., None] > 0, 255, 0).repeat(3, axis=2).astype(np.uint8)
    result, expected = ours("plain", Image(white, alpha), 3), theirs("plain", np.dstack([white, alpha]), 3)
    assert result.alpha is not None
    assert result.pixels[result.alpha > 0].min() == 255
    assert expected[expected[..., 3] > 0, :3].min() < 200
