import gc
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import handmade
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from superres.tiling.untiled import picture, tiled, whole

import tiny
from upscaling.runtime.progress import Progress
from upscaling.superres.networks import Network, Stage
from upscaling.superres.tiling import TileSize, bounded, stream

STATES = {
    "rrdb ×4": lambda: tiny.rrdb(blocks=2),
    "rrdb ×2": lambda: tiny.rrdb(blocks=1, channels=12),
    "srvgg of 2 convolutions, less than a stage": lambda: tiny.srvgg(convolutions=0),
    "srvgg of 6, one full stage": lambda: tiny.srvgg(convolutions=4),
    "srvgg of 7, a stage and one": lambda: tiny.srvgg(convolutions=5, scale=2),
    "srvgg of 18, three stages": lambda: tiny.srvgg(convolutions=16),
}
FP32, BF16 = torch.float32, torch.bfloat16
# Spandrel's convolutions sum in another order and round more often, so a whole picture and ours differ by roundings.
ROUNDINGS = {FP32: 1e-5, BF16: 0.04}
WHOLE = TileSize(4096, 4096)
SIZES = [(1, 1), (1, 40), (40, 1), (3, 3), (16, 16), (31, 33), (50, 37), (37, 64)]

every_dtype = pytest.mark.parametrize("dtype", handmade.CPU_TYPES, ids=str)
every_network = pytest.mark.parametrize("name", STATES)


@cache
def state(name: str) -> tiny.StateDict:
    return handmade.vivid(STATES[name]())


@cache
def network(name: str, dtype: torch.dtype = FP32) -> Network:
    return tiny.network(state(name), dtype)


def evened(name: str, height: int, width: int) -> tuple[int, int]:
    """A size that the network takes as it is: the upscaler pads others."""
    multiple = network(name).multiple
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple


def to_bytes(values: torch.Tensor) -> torch.Tensor:
    return values.clamp(0, 1).mul(255).round().to(torch.uint8)


@every_network
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}×{size[1]}")
@every_dtype
def test_tiled_is_the_whole_picture_as_spandrel_has_it(name: str, size: tuple[int, int], dtype: torch.dtype) -> None:
    given_picture = picture(*evened(name, *size), dtype=dtype)
    result = tiled(network(name, dtype), given_picture, TileSize(width=19, height=14))
    torch.testing.assert_close(result, whole(state(name), given_picture), rtol=0, atol=ROUNDINGS[dtype])


@pytest.mark.exact
@every_dtype
@settings(max_examples=25)
@given(
    st.sampled_from(sorted(STATES)),
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(1, 70),
)
def test_any_picture_in_any_tiles_from_any_bands_is_the_untiled_one_to_the_bit(
    dtype: torch.dtype, name: str, height: int, width: int, tile_height: int, tile_width: int, band: int
) -> None:
    given_picture = picture(*evened(name, height, width), dtype=dtype)
    result = tiled(network(name, dtype), given_picture, TileSize(tile_width, tile_height), band=band)
    assert torch.equal(result, tiled(network(name, dtype), given_picture, WHOLE))


@pytest.mark.exact
@every_dtype
@every_network
def test_tile_size_never_changes_a_bit(name: str, dtype: torch.dtype) -> None:
    given_picture = picture(*evened(name, 67, 83), dtype=dtype)
    results = [
        tiled(network(name, dtype), given_picture, TileSize(*size)) for size in [(128, 128), (32, 32), (40, 9), (5, 70)]
    ]
    assert all(torch.equal(result, results[0]) for result in results[1:])


@pytest.mark.exact
@every_dtype
@pytest.mark.parametrize("make", [tiny.rrdb, tiny.srvgg])
def test_tile_size_never_changes_a_bit_with_as_many_features_as_the_real_networks(
    make: Callable[..., tiny.StateDict], dtype: torch.dtype
) -> None:
    wide = tiny.network(handmade.vivid(make(1, features=64)), dtype)
    given_picture = picture(50, 61, dtype=dtype)
    expected = tiled(wide, given_picture, TileSize(64, 64))
    assert torch.equal(tiled(wide, given_picture, TileSize(8, 8)), expected)
    assert torch.equal(tiled(wide, given_picture, TileSize(32, 32)), expected)


@every_network
def test_results_differ_all_over_so_that_equality_says_something(name: str) -> None:
    values = to_bytes(whole(state(name), picture(32, 32)))
    assert len(values.unique()) > 100
    assert ((values == 0) | (values == 255)).float().mean() < 0.5


@every_network
def test_progress_rises_to_exactly_one_and_tiles_are_counted(name: str) -> None:
    shares: list[float] = []
    progress = Progress(shares.append)
    tiled(network(name), picture(*evened(name, 43, 51)), TileSize(20, 20), progress)
    assert shares == sorted(set(shares))
    assert shares[-1] == 1.0
    assert progress.share == 1.0
    assert progress.figures["tiles"] == len(shares)
    assert progress.figures["retries"] == 0


def test_a_picture_smaller_than_the_tile_is_one_call_per_stage() -> None:
    progress = Progress()
    tiled(network("rrdb ×4"), picture(20, 20), TileSize(32, 32), progress)
    assert progress.figures["tiles"] == len(network("rrdb ×4").stages)


@contextmanager
def _older_objects_left_out() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _live_bytes() -> int:
    """The memory of all tensors made since that Python can reach, each counted once."""
    storages = [tensor.untyped_storage() for tensor in gc.get_objects() if type(tensor) is torch.Tensor]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _peak_bytes(network: Network, height: int, width: int) -> int:
    peak = 0

    def measure(_: float) -> None:
        nonlocal peak
        peak = max(peak, _live_bytes())

    (plan,) = bounded(network, (height, width), (height, width), TileSize(32, 8))
    bands = (picture(8, width) for _ in range(height // 8))
    deque(stream(network, bands, plan, Progress(measure)), maxlen=0)
    return peak


@every_network
def test_memory_grows_with_the_width_and_never_the_height(name: str) -> None:
    loaded = network(name)
    with _older_objects_left_out():
        low = _peak_bytes(loaded, 128, 64)
        assert _peak_bytes(loaded, 256, 64) <= low
        assert _peak_bytes(loaded, 128, 192) > 1.5 * low


def test_a_stage_holds_no_more_than_its_halo_while_later_ones_work() -> None:
    stages, width, band = 30, 16, 8
    chain = replace(network("rrdb ×4"), stages=(Stage(run=torch.clone, halo=1),) * stages, scale=1)
    with _older_objects_left_out():
        rows = _peak_bytes(chain, 128, width) / (3 * width * FP32.itemsize)
    halos, at_work = stages * 3, 4 * (band + 2)
    assert rows < halos + at_work
