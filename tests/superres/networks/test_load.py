import gc
from collections.abc import Iterator
from contextlib import contextmanager

import handmade
import pytest
import random_swinir
import torch

import tiny
from upscaling.errors import Code, UpscalingError
from upscaling.superres.networks import load

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("state", "scale", "multiple", "stages"),
    [
        (tiny.rrdb(blocks=2), 4, 1, 1 + 2 * 3 + 1 + 1),
        (tiny.rrdb(blocks=1, channels=12), 2, 2, 1 + 3 + 1 + 1),
        (tiny.srvgg(convolutions=0), 4, 1, 1),
        (tiny.srvgg(convolutions=4), 4, 1, 1),
        (tiny.srvgg(convolutions=5, scale=2), 2, 1, 2),
    ],
    ids=["rrdb ×4", "rrdb ×2", "srvgg of 2", "srvgg of 6", "srvgg of 7"],
)
def test_the_network_is_recognised(state: tiny.StateDict, scale: int, multiple: int, stages: int) -> None:
    network = load(state, torch.bfloat16, CPU)
    assert (network.scale, network.multiple, len(network.stages)) == (scale, multiple, stages)
    assert (network.dtype, network.device) == (torch.bfloat16, CPU)


def _without(name: str) -> tiny.StateDict:
    return {key: value for key, value in tiny.rrdb(blocks=1).items() if key != name}


def _with(name: str, shape: tuple[int, ...]) -> tiny.StateDict:
    return tiny.srvgg(convolutions=1) | {name: torch.zeros(shape)}


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"layer.weight": torch.zeros(3)},
        _without("conv_last.bias"),
        _without("conv_first.weight"),
        _with("body.0.weight", (8,)),
        _with("body.2.weight", (8, 9, 3, 3)),
        _with("body.4.bias", (47,)),
    ],
    ids=["empty", "unknown", "no bias", "no first layer", "flat", "one channel more", "no scale fits"],
)
def test_weights_of_no_known_network_are_a_coded_error_of_one_line(state: tiny.StateDict) -> None:
    with pytest.raises(UpscalingError, match="known are ESRGAN, Compact") as raised:
        load(state, torch.float32, CPU)
    assert raised.value.code is Code.WEIGHTS
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("state", "bf16", "chosen"),
    [
        (tiny.rrdb(blocks=1), False, torch.float16),
        (tiny.srvgg(), True, torch.float16),
        (random_swinir.state(random_swinir.tiny("gray_dn")), True, torch.bfloat16),
        (random_swinir.state(random_swinir.tiny("gray_dn")), False, torch.float32),
    ],
    ids=["RRDBNet", "SRVGGNetCompact", "SwinIR", "SwinIR without bf16"],
)
def test_networks_that_leave_the_range_of_fp16_are_loaded_in_a_wider_type(
    monkeypatch: pytest.MonkeyPatch, state: tiny.StateDict, bf16: bool, chosen: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16 or including_emulation)
    assert load(state, torch.float16, CPU).dtype is chosen
    assert load(state, torch.bfloat16, CPU).dtype is torch.bfloat16


def test_loading_leaves_the_weights_alone() -> None:
    state = tiny.rrdb(blocks=1)
    network = load(state, torch.bfloat16, CPU)
    network.stages[0].run(torch.zeros(1, 3, 4, 4, dtype=torch.bfloat16))
    assert all(torch.equal(value, tiny.rrdb(blocks=1)[name]) for name, value in state.items())


def test_fp32_on_a_gpu_is_not_tf32() -> None:
    torch.backends.cudnn.allow_tf32 = True
    load(handmade.vivid(tiny.srvgg(convolutions=0)), torch.float32, CPU)
    assert not torch.backends.cudnn.allow_tf32


@contextmanager
def _older_objects_left_out() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _memory(tensor: torch.Tensor) -> tuple[int, int]:
    if tensor.is_mkldnn:
        return id(tensor), torch.ops.mkldnn._nbytes(tensor)
    return tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()


@pytest.mark.parametrize("dtype", handmade.CPU_TYPES, ids=str)
@pytest.mark.parametrize(
    "state",
    [
        tiny.rrdb(blocks=2),
        tiny.rrdb(blocks=1, channels=12),
        tiny.srvgg(),
        *(random_swinir.state(random_swinir.tiny(task)) for task in random_swinir.TASKS),
    ],
    ids=["rrdb ×4", "rrdb ×2", "srvgg", *random_swinir.TASKS],
)
def test_a_network_counts_all_memory_that_it_keeps(state: tiny.StateDict, dtype: torch.dtype) -> None:
    with _older_objects_left_out():
        network = load(state, dtype, CPU)
        gc.collect()
        tensors = [made for made in gc.get_objects() if type(made) in (torch.Tensor, torch.nn.Parameter)]
        kept = sum(dict(map(_memory, tensors)).values())
    assert kept > 0
    assert network.nbytes == kept


def test_a_network_keeps_no_weights_besides_its_own_copies() -> None:
    settings = random_swinir.tiny("real_sr medium", embed_dim=48)
    weights = sum(value.nbytes for value in random_swinir.state(settings).values())
    network = load(random_swinir.state(settings), torch.float32, CPU)
    assert network.nbytes < 1.2 * weights


def in_old_names(state: tiny.StateDict, blocks: int) -> tiny.StateDict:
    """ESRGAN's first layout (xinntao/ESRGAN), that of 4x-UltraSharp and 4x_NMKD-Siax_200k."""
    places = {"conv_first": "model.0", "conv_body": f"model.1.sub.{blocks}", "conv_up1": "model.3",
              "conv_up2": "model.6", "conv_hr": "model.8", "conv_last": "model.10"}  # fmt: skip

    def old(name: str) -> str:
        layer, _, kind = name.rpartition(".")
        if layer in places:
            return f"{places[layer]}.{kind}"
        _, block, dense, convolution = layer.split(".")
        return f"model.1.sub.{block}.{dense.upper()}.{convolution}.0.{kind}"

    return {old(name): tensor for name, tensor in state.items()}


def test_esrgan_in_its_first_layout_is_the_same_network() -> None:
    state = handmade.vivid(tiny.rrdb(blocks=2))
    given = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    results = []
    for named in (state, in_old_names(state, blocks=2)):
        values = given
        for stage in load(named, torch.float32, CPU).stages:
            values = stage.run(values)
        results.append(values)
    assert torch.equal(*results)
    assert results[0].std() > 0.05
