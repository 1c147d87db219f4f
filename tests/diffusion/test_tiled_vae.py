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
from upscaling.diffusion.room import Room
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
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(vae, "_MOST_AT_ONCE", 1 << 21)
        latents = encoded(pixels, VAE)
        picture = decoded(latents, VAE)
        found = tiled_vae.encoded(pixels * 2 - 1, VAE, MOST) * vae.SCALE
        torch.testing.assert_close(found, latents, rtol=1e-4, atol=1e-4)
        found = tiled_vae.decoded(latents / vae.SCALE, VAE, MOST) / 2 + 0.5
        torch.testing.assert_close(found, picture, rtol=0, atol=0.1 / 255)


@pytest.mark.parametrize("kept", [1 << 10, 31])
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


class Memory:
    """A device whose memory ends where a layer computes more than a number of pixels at once."""

    def __init__(self, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refused: list[int] = []
        convolve = torch.nn.functional.conv2d

        def limited(states: torch.Tensor, *arguments: Any) -> torch.Tensor:
            pixels = states.shape[2] * states.shape[3]
            if pixels > most:
                self.refused.append(pixels)
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return convolve(states, *arguments)

        monkeypatch.setattr(torch.nn.functional, "conv2d", limited)


def test_if_memory_runs_out_tiles_are_halved_until_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = photo(320, 264)
    latents = encoded(pixels, VAE)
    picture = decoded(latents, VAE)
    monkeypatch.setattr(vae, "_FEWEST_AT_ONCE", MOST // 2)
    memory = Memory(int(1.02 * pixels[0, 0].numel() / 2), monkeypatch)
    retries: list[None] = []
    torch.testing.assert_close(encoded(pixels, VAE, lambda: retries.append(None)), latents, rtol=1e-4, atol=1e-4)
    assert len(retries) == 1
    found = decoded(latents, VAE, lambda: retries.append(None))
    torch.testing.assert_close(found, picture, rtol=0, atol=0.1 / 255)
    assert len(retries) == 2
    assert len(memory.refused) == 2


def test_memory_that_ran_out_is_remembered_for_later_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = photo(320, 264)
    monkeypatch.setattr(vae, "_FEWEST_AT_ONCE", MOST // 2)
    memory = Memory(int(1.02 * pixels[0, 0].numel() / 2), monkeypatch)
    retries: list[None] = []
    room = Room()
    for _ in range(2):
        latents = encoded(pixels, VAE, lambda: retries.append(None), room)
        decoded(latents, VAE, lambda: retries.append(None), room)
    assert len(retries) == len(memory.refused) == 1
    assert room.autoencoder == pixels[0, 0].numel() // 2


def test_below_the_smallest_tiles_the_error_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = photo(320, 264)
    monkeypatch.setattr(vae, "_FEWEST_AT_ONCE", MOST // 2)
    memory = Memory(100, monkeypatch)
    retries: list[None] = []
    with pytest.raises(torch.OutOfMemoryError):
        encoded(pixels, VAE, lambda: retries.append(None))
    assert len(retries) == 2  # 84480 pixels, then 42240 and 21120; 10560 would be below the least
    assert len(memory.refused) == 3


def test_other_errors_are_not_taken_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> torch.Tensor:
        raise RuntimeError("broken")

    monkeypatch.setattr(torch.nn.functional, "conv2d", broken)
    with pytest.raises(RuntimeError, match="broken"):
        encoded(photo(320, 264), VAE, lambda: pytest.fail("computed again"))
