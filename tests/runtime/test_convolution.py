"""oneDNN's convolutions: torch's values, and the same bits at every size of tile."""

from __future__ import annotations

import handmade
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from upscaling.runtime.convolution import OneDnnConvolution, prepare

every_dtype = pytest.mark.parametrize("dtype", handmade.CPU_TYPES, ids=str)
_WIDE = 320  # pixels: at every such width oneDNN sums in one order


def convolution(inputs: int, outputs: int, kernel: int, dtype: torch.dtype) -> nn.Conv2d:
    made = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2).requires_grad_(False)
    generator = torch.Generator().manual_seed(inputs * 100 + outputs)
    made.weight.normal_(0, (inputs * kernel**2) ** -0.5, generator=generator)
    return made.to(dtype=dtype, memory_format=torch.channels_last)


def features(inputs: int, height: int, width: int, dtype: torch.dtype) -> torch.Tensor:
    values = torch.rand(1, inputs, height, width, generator=torch.Generator().manual_seed(0)) - 0.5
    return values.to(dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("slope", [None, 0.2])
@pytest.mark.parametrize("inputs", [1, 3, 12, 16, 64])
@every_dtype
def test_the_values_are_those_of_torch(dtype: torch.dtype, inputs: int, slope: float | None) -> None:
    plain, tile = convolution(inputs, 8, 3, dtype), features(inputs, 20, 30, dtype)
    expected = functional.conv2d(tile.float(), plain.weight.float(), plain.bias.float(), padding=1)
    if slope is not None:
        expected = functional.leaky_relu(expected, slope)
    result = OneDnnConvolution(plain, slope)(tile)
    assert result.dtype is dtype
    torch.testing.assert_close(result.float(), expected, rtol=2**-8 if dtype is torch.bfloat16 else 1e-5, atol=1e-5)


@pytest.mark.exact
@every_dtype
@settings(max_examples=60)
@given(
    st.sampled_from([1, 2, 3, 5, 7, 8, 12, 15, 16, 32, 64, 96, 180]),
    st.sampled_from([1, 3, 12, 32, 48, 64]),
    st.sampled_from([1, 3]),
    st.integers(1, 70),
    st.integers(1, 130),
)
def test_a_tile_of_any_size_has_the_bits_of_a_large_one(
    dtype: torch.dtype, inputs: int, outputs: int, kernel: int, height: int, width: int
) -> None:
    computed, large = OneDnnConvolution(convolution(inputs, outputs, kernel, dtype)), features(inputs, 75, _WIDE, dtype)
    with torch.inference_mode():
        halo = kernel // 2
        expected = computed(large)[:, :, : height - halo, : width - halo]
        result = computed(large[:, :, :height, :width].clone(memory_format=torch.channels_last))
    assert torch.equal(result[:, :, : height - halo, : width - halo], expected)


@every_dtype
def test_relus_in_a_sequence_become_part_of_the_convolution_before_them(dtype: torch.dtype) -> None:
    model = nn.Sequential(
        convolution(8, 8, 3, dtype), nn.LeakyReLU(0.2), convolution(8, 4, 1, dtype), nn.Identity(), nn.ReLU(), nn.SiLU()
    )
    tile = features(8, 9, 11, dtype)
    expected = model.float()(tile.float())
    model.to(dtype)
    prepare(model)
    kinds = [type(layer) for layer in model if type(layer) is not nn.Identity]
    assert kinds == [OneDnnConvolution, OneDnnConvolution, nn.SiLU]
    torch.testing.assert_close(model(tile).float(), expected, rtol=0.02, atol=0.02)
