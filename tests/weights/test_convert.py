"""Checkpoints of torch as safetensors: the same values, and never the whole file in memory."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import Harm, saved
from hypothesis import given
from hypothesis import strategies as st
from processes import linux_only
from safetensors import safe_open
from safetensors.torch import load_file

import tiny
from upscaling.weights.convert import read_checkpoint, write_safetensors

STATE = tiny.srvgg()
DTYPES = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
)


def read(tmp_path: Path, content: bytes) -> tiny.StateDict:
    path = tmp_path / "tiny.pth"
    path.write_bytes(content)
    return read_checkpoint(path)


def assert_same(state: tiny.StateDict, expected: tiny.StateDict) -> None:
    assert state.keys() == expected.keys()
    for name, values in expected.items():
        assert state[name].dtype is values.dtype
        assert torch.equal(state[name], values)


@pytest.mark.parametrize(
    "checkpoint",
    [
        {"params": tiny.srvgg(seed=1), "params_ema": STATE},
        {"params_ema": STATE},
        {"params": STATE},
        {"state_dict": STATE, "epoch": 3, "optimizer_states": [{"step": torch.zeros(1)}]},
        STATE,
        {"params": {name: values.half() for name, values in tiny.srvgg(seed=1).items()}, "params_ema": STATE},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_averaged_weights_are_preferred_in_both_formats_of_torch(
    tmp_path: Path, checkpoint: dict[str, Any], zipped: bool
) -> None:
    assert_same(read(tmp_path, saved(checkpoint, _use_new_zipfile_serialization=zipped)), STATE)


def test_nested_dictionaries_give_names_with_points_and_other_values_are_left_out(tmp_path: Path) -> None:
    inner = {"encoder": {"weight": torch.ones(2, 3), "blocks": {0: torch.zeros(1)}}, "epoch": 5, "note": None}
    assert_same(
        read(tmp_path, saved({"bias": torch.ones(4), "net": inner})),
        {"bias": torch.ones(4), "net.encoder.weight": torch.ones(2, 3), "net.encoder.blocks.0": torch.zeros(1)},
    )


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"it has two tensors named a\.b"):
        read(tmp_path, saved({"a": {"b": torch.ones(1)}, "a.b": torch.zeros(1)}))


@pytest.mark.parametrize(
    "content",
    [b"", b"no checkpoint", b"PK\3\4 cut short", saved(STATE)[:-1000], saved([torch.ones(1)]), saved({"epoch": 3})],
    ids=["empty", "text", "cut", "cut at the end", "a list", "no tensors"],
)
def test_what_is_no_checkpoint_is_told(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ValueError, match="it is not a checkpoint "):
        read(tmp_path, content)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    with pytest.raises(ValueError, match="it is not a checkpoint that contains only tensors"):
        read(tmp_path, saved({"params": Harm(tmp_path / "harmed")}, _use_new_zipfile_serialization=zipped))
    assert not (tmp_path / "harmed").exists()


def written(tmp_path: Path, state: tiny.StateDict) -> tiny.StateDict:
    write_safetensors(state, tmp_path / "tiny.safetensors")
    return load_file(tmp_path / "tiny.safetensors")


@given(shapes=st.lists(st.tuples(st.lists(st.integers(0, 3), max_size=4), st.sampled_from(DTYPES)), max_size=6))
def test_tensors_of_any_shape_and_type_are_written(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[list[int], torch.dtype]]
) -> None:
    state = {
        f"layer.{number}": (torch.arange(1, 1 + torch.Size(shape).numel()) % 2).reshape(shape).to(dtype)
        for number, (shape, dtype) in enumerate(shapes)
    }
    assert_same(written(tmp_path_factory.mktemp("any"), state), state)


def test_tied_parts_of_one_tensor_and_views_are_written_whole(tmp_path: Path) -> None:
    table = torch.arange(12.0).reshape(3, 4)
    state = {"in": table, "out": table, "first": table[0], "turned": table.T, "wide": torch.ones(1).expand(5)}
    assert_same(written(tmp_path, state), {name: values.clone() for name, values in state.items()})


def test_parameters_are_written_as_tensors(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    assert_same(written(tmp_path, {"a": parameter}), {"a": torch.ones(2)})


@pytest.mark.parametrize("values", [torch.ones(2, dtype=torch.complex64), torch.ones(2, 2).to_sparse()])
def test_types_that_safetensors_has_not_are_told(tmp_path: Path, values: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"a has the type .*, which safetensors does not support"):
        write_safetensors({"a": values}, tmp_path / "tiny.safetensors")


def test_diffusers_and_transformers_know_the_format(tmp_path: Path) -> None:
    write_safetensors(STATE, tmp_path / "tiny.safetensors")
    with safe_open(tmp_path / "tiny.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def anonymous_memory() -> int:
    """Bytes that this process has for itself: without what it maps from files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the system does not tell")


@linux_only
def test_a_large_checkpoint_is_never_whole_in_memory(tmp_path: Path) -> None:
    tensors, each = 10, 32 << 20  # bytes
    torch.save({f"layer.{n}": torch.full((each // 4,), float(n)) for n in range(tensors)}, tmp_path / "large.pth")
    gc.collect()
    before, peak, done = anonymous_memory(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, anonymous_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        write_safetensors(read_checkpoint(tmp_path / "large.pth"), tmp_path / "large.safetensors")
    finally:
        done.set()
        watcher.join()
    assert peak > 0
    assert peak - before < 2 * each
    with safe_open(tmp_path / "large.safetensors", framework="pt") as file:
        assert [file.get_tensor(f"layer.{n}")[-1].item() for n in range(tensors)] == list(range(tensors))
