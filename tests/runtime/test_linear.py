"""oneDNN's linear layers: torch's values."""

from __future__ import annotations

import handmade
import pytest
import torch
from torch import nn

from upscaling.runtime.footprint import footprint
from upscaling.runtime.linear import OneDnnLinear, PointwiseConvolution, prepare

every_dtype = pytest.mark.parametrize("dtype", handmade.CPU_TYPES, ids=str)


def layer(inputs: int, outputs: int, bias: bool, dtype: torch.dtype) -> nn.Linear:
    made = nn.Linear(inputs, outputs, bias=bias).requires_grad_(False)
    made.weight.normal_(0, inputs**-0.5, generator=torch.Generator().manual_seed(0))
    return made.to(dtype)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 64), (2, 77, 64), (2, 3, 5, 64)])
@every_dtype
@torch.inference_mode()
def test_the_values_are_those_of_torch(dtype: torch.dtype, shape: tuple[int, ...], bias: bool) -> None:
    plain = layer(64, 48, bias, dtype)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    result = OneDnnLinear(plain.weight, plain.bias)(values)
    assert result.dtype is dtype
    expected = nn.functional.linear(values.float(), plain.weight.float(), plain.bias.float() if bias else None)
    torch.testing.assert_close(result.float(), expected, rtol=2**-7 if dtype is torch.bfloat16 else 1e-5, atol=1e-5)


@every_dtype
def test_packed_weights_take_the_place_of_the_others(dtype: torch.dtype) -> None:
    network = nn.Sequential(layer(256, 512, True, dtype), nn.Sequential(layer(512, 256, False, dtype)))
    before = footprint(network)
    prepare(network)
    assert [type(module) for module in network.modules()].count(OneDnnLinear) == 2
    assert footprint(network) <= 1.1 * before


@pytest.mark.parametrize("bias", [True, False])
@every_dtype
@torch.inference_mode()
def test_a_convolution_of_one_pixel_is_a_linear_layer(dtype: torch.dtype, bias: bool) -> None:
    plain = nn.Conv2d(48, 32, 1, bias=bias).to(dtype)
    features = torch.randn(2, 48, 5, 7).to(dtype).contiguous(memory_format=torch.channels_last)
    network = nn.Sequential(plain)
    prepare(network)
    assert type(network[0]) is PointwiseConvolution
    found = network(features)
    expected = nn.functional.conv2d(features.float(), plain.weight.float(), plain.bias.float() if bias else None)
    torch.testing.assert_close(found.float(), expected, rtol=2**-7 if dtype is torch.bfloat16 else 1e-5, atol=2**-9)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_other_convolutions_stay() -> None:
    options: list[dict[str, object]] = [{"stride": 2}, {"padding": 1}, {"groups": 2}, {"kernel_size": 3}]
    network = nn.Sequential(*(nn.Conv2d(8, 8, **{"kernel_size": 1, **option}) for option in options))
    prepare(network)
    assert all(type(layer) is nn.Conv2d for layer in network)
