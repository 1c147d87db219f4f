from __future__ import annotations

import struct

import pytest
import torch

import tiny
from upscaling.errors import UpscalingError
from upscaling.weights.ncnn import to_state_dict

FP16 = struct.pack("<I", 0x01306B47)
FP32 = struct.pack("<I", 0)
STATES = {
    "rrdb": tiny.rrdb(blocks=2, features=5),  # odd counts, so that padding is needed
    "anime": tiny.rrdb(blocks=6),
    "srvgg": tiny.srvgg(convolutions=3, features=5),
}


def by_layer(state: tiny.StateDict) -> list[str]:
    """The layers in the order that ncnn writes them: that of the computation."""
    names = list(dict.fromkeys(name.rpartition(".")[0] for name in state))
    is_compact = "body.1.weight" in state
    return sorted(names, key=lambda name: int(name.split(".")[1])) if is_compact else names


def to_ncnn(state: tiny.StateDict, flag: bytes = FP16) -> tuple[str, bytes]:
    lines, binary = ["7767517", "0 0", "Input data 0 1 data"], b""
    for number, name in enumerate(by_layer(state)):
        weight, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
        if bias is None:
            lines.append(f"PReLU prelu_{number} 1 1 a b 0={len(weight)}")
            binary += weight.numpy().tobytes()
        else:
            lines.append(
                f"Convolution conv_{number} 1 1 a b 0={len(weight)} 1=3 4=1 5=1 6={weight.numel()} -23310=1,0.2"
            )
            halves = weight.half().numpy().tobytes()
            binary += flag + halves + bytes(-len(halves) % 4) + bias.numpy().tobytes()
    return "\n".join([*lines, "PixelShuffle shuffle 1 1 a b 0=4", ""]), binary


@pytest.mark.parametrize("name", STATES)
def test_conversion_gives_the_official_names_and_the_values_rounded_to_fp16(name: str) -> None:
    state = STATES[name]
    converted = to_state_dict(*to_ncnn(state))
    assert converted.keys() == state.keys()
    for key, values in state.items():
        is_kernel = values.dim() == 4
        assert converted[key].dtype == torch.float32
        assert torch.equal(converted[key], values.half().float() if is_kernel else values)


@pytest.mark.parametrize("name", STATES)
def test_converted_network_computes_as_the_original(name: str) -> None:
    rounded = {key: value.half().float() if value.dim() == 4 else value for key, value in STATES[name].items()}
    picture = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    original, converted = tiny.network(rounded), tiny.network(to_state_dict(*to_ncnn(STATES[name])))
    assert len(original.stages) == len(converted.stages)
    assert torch.equal(converted.stages[0].run(picture), original.stages[0].run(picture))


@pytest.mark.parametrize("name", STATES)
def test_trailing_bytes_are_refused(name: str) -> None:
    param, binary = to_ncnn(STATES[name])
    with pytest.raises(UpscalingError, match=r"E_WEIGHTS: the ncnn file has \d+ bytes, but its layers need \d+"):
        to_state_dict(param, binary + bytes(4))


def test_weights_that_are_not_fp16_are_refused() -> None:
    with pytest.raises(UpscalingError, match="E_WEIGHTS: the ncnn layer conv_0 is not stored as fp16"):
        to_state_dict(*to_ncnn(STATES["srvgg"], FP32))


@pytest.mark.parametrize("cut", [1, 4, 5000])
def test_missing_bytes_are_refused(cut: int) -> None:
    param, binary = to_ncnn(STATES["srvgg"])
    with pytest.raises((UpscalingError, ValueError)):
        to_state_dict(param, binary[:-cut])


def test_other_numbers_of_convolutions_are_refused() -> None:
    state = STATES["rrdb"]
    shortened = {name: values for name, values in state.items() if not name.startswith("conv_hr")}
    with pytest.raises(UpscalingError, match="E_WEIGHTS: an RRDBNet of ×4 cannot have 35 convolutions"):
        to_state_dict(*to_ncnn(shortened))
