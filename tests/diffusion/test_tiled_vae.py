"""Large pictures to latents and back in tiles, against the autoencoder on the whole picture."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_diffusion
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from upscaling.diffusion import tiled_vae, vae
from upscaling.diffusion.vae import decoded, encoded

VAE = tiny_diffusion.vae()
MOST = (8 * 20) ** 2  # pixels: tiles of 6 latents a side and their margins
CAT = Path(__file__).parent.parent / "data" / "cat.png"


def photo(height: int, width: int) -> torch.Tensor:
    with Image.open(CAT) as cat:
        pixels = np.asarray(cat.convert("RGB").resize((width, height), Image.Resampling.LANCZOS))
    return torch.tensor(pixels).permute(2, 0, 1)[None] / 255


@pytest.fixture
def in_tiles(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(vae, "_MOST_AT_ONCE", MOST)
    return monkeypatch


def assert_same(pixels: torch.Tensor) -> None:
    """A picture becomes the same latents, and latents the same picture, in tiles as whole."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vae, "_MOST_AT_ONCE", 1 << 21)
        latents = encoded(pixels, VAE)
        picture = decoded(latents, VAE)
        patch.setattr(vae, "_MOST_AT_ONCE", MOST)
        patch.setattr(vae, "_is_large", lambda values, scale: True)
        torch.testing.assert_close(encoded(pixels, VAE), latents, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(decoded(latents, VAE), picture, rtol=0, atol=0.1 / 255)


@pytest.mark.parametrize("kept", [2 << 30, 800_000])
def test_latents_and_pictures_are_those_of_the_whole(kept: int, in_tiles: pytest.MonkeyPatch) -> None:
    in_tiles.setattr(tiled_vae, "_MOST_KEPT", kept)
    assert_same(photo(168, 136))


@given(height=st.integers(1, 24), width=st.integers(1, 24))
@settings(max_examples=6)
def test_tiles_of_every_size_fit(height: int, width: int) -> None:
    assert_same(photo(height * 8, width * 8))


def test_pictures_of_a_batch_do_not_meet(in_tiles: pytest.MonkeyPatch) -> None:
    pixels = torch.cat([photo(168, 176), 1 - photo(168, 176)])
    latents = encoded(pixels, VAE)
    torch.testing.assert_close(latents[1:], encoded(pixels[1:], VAE))
    torch.testing.assert_close(decoded(latents, VAE)[1:], decoded(latents[1:], VAE))


def test_no_more_is_computed_at_once_than_is_allowed(in_tiles: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    convolve = torch.nn.functional.conv2d

    def counting(states: torch.Tensor, *arguments: Any) -> torch.Tensor:
        seen.append(states.shape[0] * states.shape[2] * states.shape[3])
        return convolve(states, *arguments)

    in_tiles.setattr(torch.nn.functional, "conv2d", counting)
    decoded(encoded(photo(184, 176), VAE), VAE)
    assert len(seen) > 100
    assert max(seen) <= 1.02 * MOST  # a convolution with a stride takes a row and a column more


def test_in_bf16_tiles_differ_no_more_than_bf16_does(in_tiles: pytest.MonkeyPatch) -> None:
    network = tiny_diffusion.vae().to(torch.bfloat16)
    pixels = photo(168, 176)
    exact = encoded(pixels, VAE)
    in_tiles.setattr(vae, "_MOST_AT_ONCE", 1 << 21)
    whole = (encoded(pixels, network) - exact).abs().mean()
    in_tiles.setattr(vae, "_MOST_AT_ONCE", MOST)
    assert (encoded(pixels, network) - exact).abs().mean() < 1.5 * whole


def test_two_at_once_do_not_meet(in_tiles: pytest.MonkeyPatch) -> None:
    pictures = [photo(168, 176), 1 - photo(168, 176)]
    expected = [encoded(each, VAE) for each in pictures]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda each: encoded(each, VAE), pictures))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
