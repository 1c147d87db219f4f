"""Samplers: from noisy latents to clean ones, along a schedule of sigmas, by a denoiser.

All are functions of the same arguments, in k-diffusion's convention: latents are the clean ones plus sigma times noise.
Ancestral samplers and those of stochastic differential equations add as much noise as they may (eta 1).
"""

from __future__ import annotations

from collections.abc import Mapping

from upscaling.diffusion.samplers.dpm2 import dpm_2, dpm_2_ancestral, heun
from upscaling.diffusion.samplers.dpm_solver import dpm_adaptive, dpm_fast
from upscaling.diffusion.samplers.dpmpp import dpmpp_2m, dpmpp_2s_ancestral
from upscaling.diffusion.samplers.dpmpp_sde import dpmpp_2m_sde, dpmpp_3m_sde, dpmpp_sde
from upscaling.diffusion.samplers.euler import euler, euler_ancestral, lcm
from upscaling.diffusion.samplers.lms import lms
from upscaling.diffusion.samplers.steps import Denoiser, Sampler
from upscaling.diffusion.samplers.unipc import uni_pc, uni_pc_bh2
from upscaling.errors import Code, UpscalingError

__all__ = ["ONE_AT_A_TIME", "SAMPLERS", "Denoiser", "Sampler", "sampler"]

SAMPLERS: Mapping[str, Sampler] = {
    "euler": euler,
    "euler_ancestral": euler_ancestral,
    "heun": heun,
    "dpm_2": dpm_2,
    "dpm_2_ancestral": dpm_2_ancestral,
    "lms": lms,
    "dpm_fast": dpm_fast,
    "dpm_adaptive": dpm_adaptive,
    "dpmpp_2s_ancestral": dpmpp_2s_ancestral,
    "dpmpp_sde": dpmpp_sde,
    "dpmpp_sde_gpu": dpmpp_sde,  # ComfyUI draws the noise of these on the GPU; here it never depends on the device
    "dpmpp_2m": dpmpp_2m,
    "dpmpp_2m_sde": dpmpp_2m_sde,
    "dpmpp_2m_sde_gpu": dpmpp_2m_sde,
    "dpmpp_3m_sde": dpmpp_3m_sde,
    "dpmpp_3m_sde_gpu": dpmpp_3m_sde,
    "ddim": euler,  # the same steps, in other variables
    "uni_pc": uni_pc,
    "uni_pc_bh2": uni_pc_bh2,
    "lcm": lcm,
}
"""Every sampler by ComfyUI's name."""

ONE_AT_A_TIME = frozenset({"dpm_adaptive"})
"""Samplers that choose their steps by the latents: they take a batch of one."""


def sampler(name: str) -> Sampler:
    """The sampler of a name. Raises E_INPUT for one that is not known, and for `dpmpp`."""
    if name == "dpmpp":
        raise UpscalingError(
            Code.INPUT, "the sampler 'dpmpp' is in the hosted list but does not exist; take another, such as dpmpp_2m."
        )
    if name not in SAMPLERS:
        raise UpscalingError(Code.INPUT, f"the sampler is {name!r}; take one of {', '.join(SAMPLERS)}.")
    return SAMPLERS[name]
