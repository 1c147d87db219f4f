"""Noise: the draws that a seed stands for, and a Brownian motion between sigmas."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import pytest
import torch
from toy_denoiser import source

from upscaling.diffusion.noise import LARGEST_SEED, noise_source, noised
from upscaling.diffusion.sigmas import LARGEST
from upscaling.errors import Code, UpscalingError


def test_draws_are_those_of_torch_from_the_seed() -> None:
    noise = source(seed=42, size=(9, 7))
    torch.manual_seed(42)
    assert torch.equal(noise.draw(), torch.randn(1, 4, 9, 7))
    assert torch.equal(noise.draw(), torch.randn(1, 4, 9, 7))


def test_sources_of_one_seed_do_not_meet() -> None:
    one, other = source(), source()
    first = one.draw()
    one.draw()
    assert torch.equal(other.draw(), first)


@pytest.mark.parametrize("seed", [0, 1, LARGEST_SEED])
def test_every_seed_has_noise(seed: int) -> None:
    noise = source(seed)
    assert noise.draw().std() > 0
    assert noise.brownian(0.03, 0.5)(0.5, 0.2).std() > 0


@pytest.mark.parametrize("seed", [-1, LARGEST_SEED + 1])
def test_seeds_out_of_range_are_named(seed: int) -> None:
    with pytest.raises(UpscalingError, match=f"seed is {seed}") as caught:
        noise_source(seed, (8, 8), torch.device("cpu"))
    assert caught.value.code is Code.INPUT


def test_brownian_noise_is_normal_and_depends_on_seed_and_range_alone() -> None:
    noise = source(size=(64, 64))
    between = noise.brownian(0.0291675, 0.552068)
    found = between(0.552068, 0.3)
    assert [found.mean().item(), found.std().item()] == pytest.approx([0, 1], abs=0.03)
    noise.draw()
    later = noise.brownian(0.0291675, 0.552068)
    later(0.2, 0.1)
    assert torch.equal(later(0.552068, 0.3), found)
    assert not torch.allclose(source(seed=8, size=(64, 64)).brownian(0.0291675, 0.552068)(0.552068, 0.3), found)


def test_brownian_noise_of_two_steps_adds_up_to_that_of_both() -> None:
    between = source().brownian(0.02916753, 0.552068)
    whole = between(0.5, 0.1) * sqrt(0.4)
    parts = between(0.5, 0.3) * sqrt(0.2) + between(0.3, 0.1) * sqrt(0.2)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)
    assert torch.equal(between(0.1, 0.5), -between(0.5, 0.1))


def test_at_the_most_noise_the_network_sees_only_noise_of_deviation_one() -> None:
    latents, noise = torch.full((1, 4, 2, 2), 0.5), torch.ones(1, 4, 2, 2)
    assert noised(latents, 2.0, noise).unique().item() == 2.5
    assert noised(latents, LARGEST, noise).unique().item() == pytest.approx(0.5 + sqrt(1 + LARGEST**2), rel=1e-7)
    assert noised(latents, LARGEST * 0.999, noise).unique().item() == pytest.approx(0.5 + LARGEST * 0.999, rel=1e-6)


def test_windows_are_cut_from_noise_that_is_drawn_as_a_whole() -> None:
    whole = noise_source(3, (9, 12), torch.device("cpu"))
    windows = [(slice(0, 4), slice(2, 7)), (slice(5, 9), slice(7, 12))]
    cut = replace(noise_source(3, (9, 12), torch.device("cpu")), windows=windows)
    for _ in range(2):
        drawn = whole.draw()
        assert torch.equal(cut.draw(), torch.cat([drawn[:, :, rows, columns] for rows, columns in windows]))
    brownian, expected = cut.brownian(0.1, 2)(2, 1), whole.brownian(0.1, 2)(2, 1)
    assert torch.equal(brownian, torch.cat([expected[:, :, rows, columns] for rows, columns in windows]))
