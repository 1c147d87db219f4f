"""The noise levels of Stable Diffusion 1.5, and the schedules that ComfyUI has for them.

A sigma is the standard deviation of the noise in latents whose picture part is not scaled (k-diffusion's convention).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import log

import torch

from upscaling.errors import Code, UpscalingError

LARGEST_STEPS = 10_000  # ComfyUI's limit
_FULL = 0.9999  # from this denoise on the schedule is taken whole
_LONGEST = 2.0**50  # levels of a schedule: all that are taken of it are the smallest long before, and fp64 counts them
_LAST = 999  # the timestep with the most noise
_LCM_TIMESTEPS = torch.arange(19, 1000, 20)  # every 20th was distilled (Luo et al. 2023)
# These leave out the value before 0 (ComfyUI), and get a schedule that is one longer for it.
_WITHOUT_PENULTIMATE = ("dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2")


def _table() -> torch.Tensor:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = (1 - betas).cumprod(0).float()
    return ((1 - kept) / kept).sqrt()


TABLE = _table()
"""The sigma of every timestep, 0 to 999, in fp32: .0292 to 14.61 (betas "scaled linear", as the model was trained)."""
SMALLEST, LARGEST = TABLE[0].item(), TABLE[-1].item()
_LOG_TABLE = TABLE.log()


def timestep(sigma: float) -> int:
    """The timestep whose sigma is nearest in its logarithm; the networks were trained on whole ones."""
    return int((_LOG_TABLE - log(sigma)).abs().argmin())


def sigmas(schedule: str, steps: int, denoise: float, sampler: str) -> torch.Tensor:
    """The noise levels from the first step to 0, descending, in fp32; usually `steps` + 1 of them.

    A `denoise` below 1 takes the last `steps` levels of a schedule of steps / denoise, so it does not save steps; at 0
    there is no step, and only the 0 is left. `ddim_uniform` may have a few steps more at denoise 1. Levels that
    coincide, in very long schedules, are taken once: the smallest denoise is one step at the smallest sigma. Raises
    E_INPUT for a schedule that is not known, for steps outside 1 to 10,000 and a denoise outside 0 to 1.
    """
    if schedule not in SCHEDULES:
        raise UpscalingError(Code.INPUT, f"the scheduler is {schedule!r}; take one of {', '.join(SCHEDULES)}.")
    if not 1 <= steps <= LARGEST_STEPS:
        raise UpscalingError(Code.INPUT, f"steps is {steps}; take 1 to {LARGEST_STEPS}.")
    if not 0 <= denoise <= 1:
        raise UpscalingError(Code.INPUT, f"denoise is {denoise}; take 0 to 1.")
    if denoise == 0:
        return torch.zeros(1)
    dropped = 1 if sampler in _WITHOUT_PENULTIMATE else 0
    whole = denoise > _FULL
    length = (steps if whole else int(min(steps / denoise, _LONGEST))) + dropped
    levels = SCHEDULES[schedule](length, length if whole else steps + dropped)
    if not whole:
        levels = levels[-(steps + dropped) :]  # ddim_uniform gives all
    levels = torch.cat([levels[: len(levels) - dropped], torch.zeros(1)])
    return levels[levels.diff(prepend=torch.tensor([torch.inf])) != 0]


def lcm_levels(steps: int) -> torch.Tensor:
    """The noise levels from the first step to 0 of latent consistency models, of which only 50 were trained.

    They are spread evenly over the 50, as diffusers' LCMScheduler does. Raises E_INPUT for other steps than 1 to 50.
    """
    if not 1 <= steps <= len(_LCM_TIMESTEPS):
        raise UpscalingError(Code.INPUT, f"steps is {steps}; take 1 to {len(_LCM_TIMESTEPS)} with an LCM LoRA.")
    chosen = _LCM_TIMESTEPS.flip(0)[torch.arange(steps) * len(_LCM_TIMESTEPS) // steps]
    return torch.cat([TABLE[chosen], torch.zeros(1)])


def last_steps(levels: torch.Tensor, steps: int, strength: float) -> torch.Tensor:
    """What diffusers takes of a schedule of so many steps for a strength of 0 to 1: its last steps · strength.

    It is rounded down, to one step at least. A schedule may have a few levels more than steps.
    """
    return levels[-max(int(steps * strength), 1) - 1 :]


def _at(timesteps: torch.Tensor) -> torch.Tensor:
    """The sigmas of timesteps that need not be whole: their logarithm is interpolated."""
    below = timesteps.floor().long()
    above = timesteps.ceil().long()
    return _LOG_TABLE[below].lerp(_LOG_TABLE[above], timesteps.frac().float()).exp()


def _positions(length: int, last: int) -> torch.Tensor:
    """The numbers of the last levels of a schedule, counted from 0 at the most noise."""
    return torch.arange(length - last, length, dtype=torch.float64)


def _normal(length: int, last: int) -> torch.Tensor:
    return _at(_LAST * (1 - _positions(length, last) / max(length - 1, 1)))


def _sgm_uniform(length: int, last: int) -> torch.Tensor:
    return _at(_LAST * (1 - _positions(length, last) / length))


def _karras(length: int, last: int) -> torch.Tensor:
    """Equation 5 of Karras et al. 2022, with rho 7."""
    start, end = LARGEST ** (1 / 7), SMALLEST ** (1 / 7)
    return ((start + _positions(length, last) / max(length - 1, 1) * (end - start)) ** 7).float()


def _exponential(length: int, last: int) -> torch.Tensor:
    start, end = log(LARGEST), log(SMALLEST)
    return (start + _positions(length, last) / max(length - 1, 1) * (end - start)).exp().float()


def _simple(length: int, last: int) -> torch.Tensor:
    return TABLE[_LAST - (_positions(length, last) * (len(TABLE) / length)).long()]


def _ddim_uniform(length: int, last: int) -> torch.Tensor:
    """Every k-th sigma from the second on; the stride is rounded down, so there may be more than `length`."""
    return TABLE[1 :: max(len(TABLE) // length, 1)].flip(0)


SCHEDULES: Mapping[str, Callable[[int, int], torch.Tensor]] = {
    "normal": _normal,
    "karras": _karras,
    "exponential": _exponential,
    "sgm_uniform": _sgm_uniform,
    "simple": _simple,
    "ddim_uniform": _ddim_uniform,
}
"""Every schedule by its name: from its length and how many of its last levels are wanted to these levels, without 0.

`ddim_uniform` gives all of its levels, which are no more than the timesteps.
"""
