"""SwinIR cut to stages and tiles, with tiny networks of random weights; true sizes are in tests/reference."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import product
from threading import Barrier
from typing import Any

import handmade
import numpy as np
import pytest
import random_swinir
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from superres.tiling.untiled import tiled

import tiny
from upscaling.images import Image
from upscaling.superres.networks import Network, Stage
from upscaling.superres.networks.windows import WindowLayer
from upscaling.superres.tiling import TileSize
from upscaling.superres.upscaler import Upscaler

FP32, BF16 = torch.float32, torch.bfloat16
# One product over a window and one over all of them may round otherwise in the last place.
ROUNDINGS = 1e-5
SETTINGS = {task: random_swinir.tiny(task) for task in random_swinir.TASKS} | {
    "heads of whole eights": random_swinir.tiny("real_sr medium", embed_dim=16),
    "three and one layers": random_swinir.tiny("color_dn", depths=[3, 1]),
    "classical ×3": random_swinir.tiny("real_sr medium", upsampler="pixelshuffle", upscale=3),
    "classical ×4": random_swinir.tiny("real_sr medium", upsampler="pixelshuffle"),
    "lightweight ×2": random_swinir.tiny("real_sr medium", upsampler="pixelshuffledirect", upscale=2),
    "×2 of ×4 by unshuffling": random_swinir.tiny("real_sr medium", start_unshuffle=2),
}
every_network = pytest.mark.parametrize("name", SETTINGS)
every_dtype = pytest.mark.parametrize("dtype", handmade.CPU_TYPES, ids=str)


@cache
def state(name: str) -> tiny.StateDict:
    return random_swinir.state(SETTINGS[name])


@cache
def network(name: str, dtype: torch.dtype = FP32) -> Network:
    return tiny.network(state(name), dtype)


@cache
def spandrels(name: str) -> Any:
    model = random_swinir.model(SETTINGS[name])
    renamed = {key.replace("conv_first.1.", "conv_first."): value for key, value in state(name).items()}
    model.load_state_dict(renamed)
    return model


def picture(name: str, rows: int, columns: int) -> torch.Tensor:
    """Noise of so many rows and columns of windows."""
    side, channels = network(name).multiple, network(name).channels
    generator = torch.Generator().manual_seed(rows * 100 + columns)
    return torch.rand(1, channels, rows * side, columns * side, generator=generator)


def whole(name: str, given_picture: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return spandrels(name)(given_picture)


def attention_stages(network: Network) -> list[Stage]:
    """The stages that are made of windows."""
    return [stage for stage in network.stages if stage.align > 1 and stage.scale == 1]


@pytest.mark.parametrize(
    ("name", "scale", "channels", "multiple"),
    [
        ("real_sr medium", 4, 3, 8),
        ("real_sr large", 4, 3, 8),
        ("gray_dn", 1, 1, 8),
        ("color_dn", 1, 3, 8),
        ("jpeg_car", 1, 1, 7),
        ("color_jpeg_car", 1, 3, 7),
        ("classical ×3", 3, 3, 8),
        ("lightweight ×2", 2, 3, 8),
        ("×2 of ×4 by unshuffling", 2, 3, 16),
    ],
)
def test_the_network_is_recognised(name: str, scale: int, channels: int, multiple: int) -> None:
    loaded = network(name)
    assert (loaded.scale, loaded.channels, loaded.multiple) == (scale, channels, multiple)
    assert (loaded.padding, loaded.least_padding) == ("symmetric", 1)


@every_network
@pytest.mark.parametrize("windows", [(1, 1), (1, 5), (4, 1), (3, 4)], ids=str)
def test_tiled_in_fp32_is_the_whole_picture(name: str, windows: tuple[int, int]) -> None:
    given_picture = picture(name, *windows)
    result = tiled(network(name), given_picture, TileSize(width=19, height=14))
    torch.testing.assert_close(result, whole(name, given_picture), rtol=0, atol=ROUNDINGS)


@pytest.mark.exact
@every_dtype
@settings(max_examples=25)
@given(
    st.sampled_from(sorted(SETTINGS)),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(8, 60),
    st.integers(8, 60),
    st.integers(1, 60),
)
def test_any_picture_in_any_tiles_from_any_bands_is_the_untiled_one_to_the_bit(
    dtype: torch.dtype, name: str, rows: int, columns: int, tile_height: int, tile_width: int, band: int
) -> None:
    given_picture = picture(name, rows, columns).to(dtype)
    result = tiled(network(name, dtype), given_picture, TileSize(tile_width, tile_height), band=band)
    assert torch.equal(result, tiled(network(name, dtype), given_picture, TileSize(256, 256)))


@pytest.mark.exact
@pytest.mark.parametrize("threads", [1, 3])
@every_dtype
@pytest.mark.parametrize("task", ["real_sr medium", "real_sr large", "jpeg_car"])
def test_tile_size_never_changes_a_bit_with_as_many_channels_as_the_real_networks(
    task: str, dtype: torch.dtype, threads: int
) -> None:
    full = random_swinir.TASKS[task]
    wide = tiny.network(random_swinir.state(full | {"depths": [2], "num_heads": full["num_heads"][:1]}), dtype)
    generator = torch.Generator().manual_seed(0)
    given_picture = torch.rand(1, wide.channels, 6 * wide.multiple, 7 * wide.multiple, generator=generator).to(dtype)
    torch.set_num_threads(threads)
    try:
        results = [tiled(wide, given_picture, TileSize(side, side)) for side in (256, 32, 25)]
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(result, results[0]) for result in results[1:])


@every_network
def test_results_differ_all_over_so_that_equality_says_something(name: str) -> None:
    values = whole(name, picture(name, 3, 3))
    assert len(values.mul(255).round().unique()) > 50
    assert ((values < 0) | (values > 1)).float().mean() < 0.5


@pytest.mark.parametrize(("task", "window"), [("color_dn", 8), ("color_jpeg_car", 7)])
@pytest.mark.parametrize("depth", [2, 4, 6])
def test_the_halos_of_a_block_add_up_to_window_times_half_its_depth(task: str, window: int, depth: int) -> None:
    settings = random_swinir.tiny(task, depths=[depth], num_heads=[2])
    stages = attention_stages(tiny.network(random_swinir.state(settings)))
    assert sum(stage.halo for stage in stages) == window * depth // 2
    assert all(stage.align == window and stage.halo % window == 0 for stage in stages)


@pytest.mark.parametrize(("task", "window"), [("color_dn", 8), ("color_jpeg_car", 7)])
@pytest.mark.parametrize("depth", [2, 4, 6])
def test_a_window_reads_exactly_as_far_as_that_halo(task: str, window: int, depth: int) -> None:
    settings = random_swinir.tiny(task, depths=[depth], num_heads=[2])
    stages = attention_stages(tiny.network(random_swinir.state(settings)))
    halo = window * depth // 2
    start, end = halo + window, halo + 2 * window  # one window on its own, with more than the halo around
    features = torch.rand(1, 12, end + halo + window, 2 * window, generator=torch.Generator().manual_seed(0))

    def middle(changed_row: int | None = None, along: int = 2) -> torch.Tensor:
        values = features.clone() if along == 2 else features.transpose(2, 3).clone()
        if changed_row is not None:
            values.select(along, changed_row).add_(torch.linspace(-3, 3, 12)[:, None])
        for stage in stages:
            values = stage.run(values)
        return values.narrow(along, start, end - start)

    with torch.inference_mode():
        for along in (2, 3):
            assert torch.equal(middle(start - halo - 1, along), middle(along=along))
            assert torch.equal(middle(end + halo, along), middle(along=along))
            assert not torch.equal(middle(start - halo, along), middle(along=along))
            assert not torch.equal(middle(end + halo - 1, along), middle(along=along))


@pytest.mark.parametrize("name", ["color_dn", "color_jpeg_car"])
def test_a_halo_less_by_a_window_is_not_enough(name: str) -> None:
    cut = [
        replace(stage, halo=max(stage.halo - stage.align, 0)) if stage.align > 1 else stage
        for stage in network(name).stages
    ]
    given_picture = picture(name, 4, 4)
    result = tiled(replace(network(name), stages=tuple(cut)), given_picture, TileSize(16, 16))
    assert (result - whole(name, given_picture)).abs().max() > 10 * ROUNDINGS


@pytest.mark.parametrize("name", ["color_dn", "color_jpeg_car"])
def test_no_value_crosses_from_one_border_to_the_opposite_one(name: str) -> None:
    stages = attention_stages(network(name))[:1]
    side = network(name).multiple
    features = torch.rand(1, 12, 4 * side, 4 * side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = stages[0].run(features)
        for rows, columns in product((0, -1), (0, -1)):
            changed = features.clone()
            changed[:, :, rows, columns] = 1e4  # infinity times a hundredth would still show
            after = stages[0].run(changed)
            far = (slice(2 * side, None) if rows == 0 else slice(2 * side),
                   slice(2 * side, None) if columns == 0 else slice(2 * side))  # fmt: skip
            assert torch.equal(after[:, :, far[0], :], before[:, :, far[0], :])
            assert torch.equal(after[:, :, :, far[1]], before[:, :, :, far[1]])
            assert not torch.equal(after, before)


@every_network
def test_bf16_keeps_45_decibels_of_the_range(name: str) -> None:
    given_picture = picture(name, 3, 4)
    expected = tiled(network(name), given_picture, TileSize(256, 256))
    result = tiled(network(name, BF16), given_picture.to(BF16), TileSize(256, 256))
    assert decibels(result, expected) >= 45


def decibels(result: torch.Tensor, expected: torch.Tensor) -> float:
    span = expected.max() - expected.min()
    return float(20 * torch.log10(span / (result - expected).square().mean().sqrt()))


@every_dtype
def test_pictures_side_by_side_are_as_each_alone(dtype: torch.dtype) -> None:
    stage = attention_stages(network("color_jpeg_car", dtype))[0]
    features = torch.rand(3, 12, 14, 21, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.inference_mode():
        assert torch.equal(stage.run(features), torch.cat([stage.run(alone) for alone in features.split(1)]))


def test_a_stage_leaves_its_tile_alone() -> None:
    for stage in network("color_dn").stages[:4]:
        tile = torch.rand(1, 3 if stage is network("color_dn").stages[0] else 12, 16, 16)
        kept = tile.clone()
        stage.run(tile)
        assert torch.equal(tile, kept)


def test_masks_and_position_biases_are_made_at_loading() -> None:
    layer = WindowLayer.of(spandrels("color_dn").layers[0].residual_group.blocks[1])
    whole_windows, *cut = (bias[0] for bias in layer.biases)
    assert layer.biases.shape == (4, 1, 2, 64, 64)
    assert whole_windows.isfinite().all()
    for bias in cut:
        assert bias.isinf().any()
        assert bias.diagonal(dim1=1, dim2=2).isfinite().all()


def noise(height: int, width: int, channels: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, channels), np.uint8)


def upscaler(name: str, dtype: torch.dtype = FP32) -> Upscaler:
    return Upscaler(lambda wanted: network(name, wanted), dtype)


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (3, 3), (8, 16), (13, 9), (28, 21)], ids=str)
@every_network
def test_every_network_takes_every_size(name: str, size: tuple[int, int]) -> None:
    scale = network(name).scale
    image = Image(noise(*size, network(name).channels))
    result = upscaler(name).upscale(image, size[1] * scale, size[0] * scale, TileSize(32, 32))
    assert result.pixels.shape == (size[0] * scale, size[1] * scale, network(name).channels)


@pytest.mark.parametrize("name", ["real_sr medium", "color_jpeg_car", "gray_dn"])
def test_the_same_bytes_at_any_tile_size(name: str) -> None:
    image = Image(noise(61, 75, network(name).channels))
    size = 75 * network(name).scale, 61 * network(name).scale
    first, *others = [
        upscaler(name).upscale(image, *size, TileSize(side, side)).pixels for side in (2048, 32, 33, 47, 64)
    ]
    assert all(np.array_equal(first, other) for other in others)


def test_a_grey_network_takes_grey_as_it_is() -> None:
    image = Image(noise(20, 24, 1))
    result = upscaler("gray_dn").upscale(image, 24, 20, TileSize(32, 32))
    flipped = np.pad(image.pixels[..., 0], ((0, 4), (0, 8)), mode="symmetric")
    values = whole("gray_dn", torch.as_tensor(flipped.astype(np.float32))[None, None] / 255)
    expected = values[0, 0, :20, :24].clamp(0, 1).mul(255).round().to(torch.uint8).numpy()
    assert np.array_equal(result.pixels[..., 0], expected)


def test_a_colour_network_takes_grey_as_colour_and_gives_it_back_grey() -> None:
    grey = noise(20, 24, 1)
    as_grey = upscaler("color_dn").upscale(Image(grey), 24, 20, TileSize(32, 32)).pixels
    as_colour = upscaler("color_dn").upscale(Image(grey.repeat(3, axis=2)), 24, 20, TileSize(32, 32)).pixels
    luma = (as_colour.astype(float) * (0.299, 0.587, 0.114)).sum(axis=2)
    assert as_grey.shape == (20, 24, 1)
    assert np.abs(as_grey[..., 0] - luma).max() <= 1


@pytest.mark.parametrize("name", ["color_dn", "gray_dn"])
def test_alpha_goes_through_every_network(name: str) -> None:
    image = Image(noise(20, 24, network(name).channels), alpha=noise(20, 24, 1)[..., 0])
    result = upscaler(name).upscale(image, 24, 20, TileSize(32, 32))
    assert result.alpha is not None
    assert result.alpha.shape == (20, 24)


def test_pictures_at_the_same_time_give_the_bytes_of_single_runs() -> None:
    run = upscaler("real_sr medium")
    images = [Image(noise(16 + 8 * i, 40 - 8 * i, 3)) for i in range(4)]
    single = [run.upscale(image, 64, 64, TileSize(32, 32)).pixels for image in images]
    start = Barrier(2)

    def all_of(chosen: list[Image]) -> list[np.ndarray]:
        start.wait(timeout=60)
        return [run.upscale(image, 64, 64, TileSize(32, 32)).pixels for image in chosen]

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(all_of, [images, images[::-1]])
    for expected, *results in zip(single, first, second[::-1], strict=True):
        assert all(np.array_equal(result, expected) for result in results)
