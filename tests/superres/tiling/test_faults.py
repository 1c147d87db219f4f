"""Faults at every call of every stage: the same picture, or one coded error, never a wrong picture."""

from collections.abc import Callable
from functools import cache

import handmade
import pytest
import torch
from superres.tiling.untiled import picture, tiled

import tiny
from upscaling.errors import Code, UpscalingError
from upscaling.runtime.progress import Progress
from upscaling.superres.networks import Network
from upscaling.superres.tiling import TileSize

FP32 = torch.float32
TILE = TileSize(width=24, height=24)
STATES = {
    "rrdb ×4": tiny.rrdb(blocks=1),
    "rrdb ×2": tiny.rrdb(blocks=1, channels=12),
    "srvgg": tiny.srvgg(convolutions=7),
}

every_network = pytest.mark.parametrize("name", STATES)


def cpu_allocator_error() -> RuntimeError:
    """What torch itself raises on a CPU."""
    try:
        torch.empty(1 << 60)
    except RuntimeError as error:
        return error
    raise AssertionError("no machine has so much memory")


MEMORY_ERRORS = {
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory."),
    "cpu": cpu_allocator_error,
    "python": MemoryError,
    "c++": lambda: RuntimeError("std::bad_alloc"),
    "cuda itself": lambda: torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be"),
    "cublas": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "cudnn": lambda: RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "cudnn's algorithms": lambda: RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
    "cudnn's engines": lambda: RuntimeError("GET was unable to find an engine to execute this computation"),
    "cudnn 9": lambda: RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
}
every_memory_error = pytest.mark.parametrize("error", MEMORY_ERRORS.values(), ids=MEMORY_ERRORS)


@cache
def network(name: str) -> Network:
    return tiny.network(handmade.vivid(STATES[name]))


@cache
def expected(name: str) -> torch.Tensor:
    return tiled(network(name), picture(40, 26), TILE)


class Faults:
    """Counts the calls of all stages of a network and spoils those that `strikes` says."""

    def __init__(self, network: Network, strikes: Callable[[int], bool], fault: Callable[[], Exception]) -> None:
        self.calls = 0
        self._strikes, self._fault = strikes, fault
        for index in range(len(network.stages)):
            network = handmade.with_run(network, index, self._spoiled)
        self.network = network

    def _spoiled(self, run: handmade.Run) -> handmade.Run:
        def spoiled(tile: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            if self._strikes(self.calls):
                raise self._fault()
            return run(tile)

        return spoiled


def calls_of(name: str) -> int:
    faults = Faults(network(name), lambda _: False, MemoryError)
    tiled(faults.network, picture(40, 26), TILE)
    return faults.calls


@every_memory_error
@every_network
def test_memory_running_out_at_any_call_changes_no_bit(name: str, error: Callable[[], Exception]) -> None:
    for call in range(1, calls_of(name) + 1):
        progress = Progress()
        faults = Faults(network(name), call.__eq__, error)
        assert torch.equal(tiled(faults.network, picture(40, 26), TILE, progress), expected(name)), f"call {call}"
        assert progress.figures["retries"] == 1
        assert progress.share == 1.0


@every_network
def test_memory_running_out_again_and_again_changes_no_bit(name: str) -> None:
    faults = Faults(network(name), lambda call: call in (1, 2, 4), MemoryError)
    progress = Progress()
    assert torch.equal(tiled(faults.network, picture(40, 26), TileSize(64, 64), progress), expected(name))
    assert progress.figures["retries"] == 3


@every_network
def test_a_picture_passes_where_only_the_smallest_tiles_fit(name: str) -> None:
    # 16 pixels, the smallest tile, with the largest halo on both sides.
    limit = (16 + 2 * max(stage.halo for stage in network(name).stages)) ** 2

    def limited(run: handmade.Run) -> handmade.Run:
        def limited_run(tile: torch.Tensor) -> torch.Tensor:
            if tile.shape[2] * tile.shape[3] > limit:
                raise MemoryError
            return run(tile)

        return limited_run

    small = network(name)
    for index in range(len(small.stages)):
        small = handmade.with_run(small, index, limited)
    assert torch.equal(tiled(small, picture(40, 150), TileSize(256, 128)), tiled(network(name), picture(40, 150), TILE))


@every_memory_error
@every_network
def test_memory_that_never_suffices_is_a_coded_error(name: str, error: Callable[[], Exception]) -> None:
    faults = Faults(network(name), lambda call: call > 4, error)
    with pytest.raises(UpscalingError, match="even with tiles of") as raised:
        tiled(faults.network, picture(40, 26), TILE)
    assert raised.value.code is Code.MEMORY


@pytest.mark.parametrize("error", [RuntimeError("a shape is wrong"), ValueError("no"), KeyError("layer")], ids=repr)
def test_any_other_error_passes_unchanged(error: Exception) -> None:
    faults = Faults(network("srvgg"), lambda call: call == 3, lambda: error)
    with pytest.raises(type(error)) as raised:
        tiled(faults.network, picture(40, 26), TILE)
    assert raised.value is error
    assert faults.calls == 3


def poisoned(value: float) -> Callable[[handmade.Run], handmade.Run]:
    """Makes one value of every result of a stage NaN or infinite."""

    def poison(run: handmade.Run) -> handmade.Run:
        def poisoned_run(tile: torch.Tensor) -> torch.Tensor:
            result = run(tile).clone()
            result[..., result.shape[2] // 2, result.shape[3] // 2] = value
            return result

        return poisoned_run

    return poison


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@every_network
def test_a_value_that_is_not_finite_in_any_stage_is_a_coded_error(name: str, value: float) -> None:
    for index in range(len(network(name).stages)):
        spoiled = handmade.with_run(network(name), index, poisoned(value))
        with pytest.raises(UpscalingError, match="in fp32 too") as raised:
            tiled(spoiled, picture(40, 26), TILE)
        assert raised.value.code is Code.NONFINITE
