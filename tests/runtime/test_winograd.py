"""Winograd's convolutions: torch's values, and the same bits alone and among others."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from upscaling.runtime.footprint import footprint
from upscaling.runtime.winograd import WinogradConvolution, prepare


def convolution(inputs: int, outputs: int, bias: bool = True) -> nn.Conv2d:
    made = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias).requires_grad_(False)
    made.weight.normal_(0, (9 * inputs) ** -0.5, generator=torch.Generator().manual_seed(inputs + outputs))
    return made


def features(count: int, inputs: int, height: int, width: int) -> torch.Tensor:
    made = torch.randn(count, inputs, height, width, generator=torch.Generator().manual_seed(height))
    return made.contiguous(memory_format=torch.channels_last)


@settings(max_examples=40)
@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40), st.integers(1, 90), st.integers(1, 90), st.booleans())
@torch.inference_mode()
def test_the_values_are_those_of_torch_at_every_size(
    count: int, inputs: int, outputs: int, height: int, width: int, bias: bool
) -> None:
    plain, given_ = convolution(inputs, outputs, bias), features(count, inputs, height, width)
    before = given_.clone()
    found = WinogradConvolution(plain)(given_)
    expected = functional.conv2d(given_.double(), plain.weight.double(), None, padding=1)
    expected += 0 if plain.bias is None else plain.bias.double()[:, None, None]
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=3e-5 * expected.abs().max().item())
    assert torch.equal(given_, before)


@pytest.mark.parametrize("width", [64, 70])
@torch.inference_mode()
def test_many_channels_are_computed_in_strips_of_rows(width: int) -> None:
    plain, given_ = convolution(512, 128), features(1, 512, 130, width)
    expected = functional.conv2d(given_, plain.weight, plain.bias, padding=1)
    found = WinogradConvolution(plain)(given_)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-5 * expected.abs().max().item())
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(3, 3), (12, 12), (20, 20), (41, 38)])
@torch.inference_mode()
def test_features_in_a_batch_have_the_bits_they_have_alone(size: tuple[int, int]) -> None:
    computed, batch = WinogradConvolution(convolution(320, 128)), features(3, 320, *size)
    found = computed(batch)
    for number in range(3):
        assert torch.equal(found[number], computed(batch[number : number + 1])[0])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@torch.inference_mode()
def test_what_is_not_finite_stays_so(value: float) -> None:
    batch = features(1, 16, 32, 32)
    batch[0, 3, 17, 5] = value
    assert not WinogradConvolution(convolution(16, 16))(batch)[0, :, 16:19, 4:7].isfinite().any()


def test_convolutions_that_would_not_be_faster_stay() -> None:
    layers: dict[str, nn.Module] = {
        "taken": convolution(128, 128),
        "few_inputs": convolution(64, 128),
        "few_outputs": convolution(128, 3),
        "one_pixel": nn.Conv2d(128, 128, 1),
        "halving": nn.Conv2d(128, 128, 3, 2, 1),
        "without_border": nn.Conv2d(128, 128, 3),
        "dilated": nn.Conv2d(128, 128, 3, padding=1, dilation=2),
        "grouped": nn.Conv2d(128, 128, 3, padding=1, groups=2),
        "reflected": nn.Conv2d(128, 128, 3, padding=1, padding_mode="reflect"),
        "in_16_bit": convolution(128, 128).bfloat16(),
        "large": convolution(1280, 1280),
    }
    network = nn.Sequential(nn.ModuleDict(layers))
    before = footprint(network)
    prepare(network)
    replaced = [name for name, layer in network[0].named_children() if type(layer) is WinogradConvolution]
    assert replaced == ["taken"]
    assert footprint(network) == before
