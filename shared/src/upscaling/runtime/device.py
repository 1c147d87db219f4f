"""The choice of device and data type."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch

from upscaling.errors import Code, UpscalingError

logger = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_CPU_INFO = Path("/proc/cpuinfo")

# On a CPU, oneDNN caches compiled code for each shape of tile, and ideep in torch does the same for each thread. The
# default of 1024 shapes took 200 MiB after 400 requests of mixed sizes and was still growing. A stage needs only a few.
for _cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_cache, "32")


def choose_device() -> torch.device:
    """The GPU if one is usable, else the CPU; UPSCALING_DEVICE (cuda or cpu) overrides.

    Raises E_INPUT for another value, E_DEVICE if the requested device is not usable.
    """
    wanted = os.environ.get("UPSCALING_DEVICE", "")
    if wanted not in ("", "cuda", "cpu"):
        raise UpscalingError(Code.INPUT, f"UPSCALING_DEVICE is {wanted!r}; set it to cuda or cpu, or remove it.")
    if wanted == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if wanted == "cuda":
        raise UpscalingError(Code.DEVICE, "UPSCALING_DEVICE is cuda, but torch finds no usable GPU; check the driver.")
    if Path("/dev/nvidiactl").exists():
        logger.warning("A GPU is present but not usable (is its driver too old for CUDA %s?). The CPU is used.",
                       torch.version.cuda)  # fmt: skip
    return torch.device("cpu")


def choose_dtype(device: torch.device) -> torch.dtype:
    """The fastest type on the device; networks that exceed the range of fp16 are loaded in another one.

    UPSCALING_DTYPE (float32, bfloat16 or float16) overrides. Raises E_INPUT for other values, and for bfloat16 on a
    CPU without instructions for it.
    """
    override = os.environ.get("UPSCALING_DTYPE", "")
    if override:
        if override not in _DTYPES:
            raise UpscalingError(Code.INPUT, f"UPSCALING_DTYPE is {override!r}; take one of {', '.join(_DTYPES)}.")
        if override == "bfloat16" and device.type == "cpu" and not cpu_has_bf16():
            raise UpscalingError(
                Code.INPUT, "UPSCALING_DTYPE is bfloat16, but this CPU has no instructions for it; remove the variable."
            )
        return _DTYPES[override]
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if _bf16_is_fast_on_cpu() else torch.float32


def cpu_has_bf16() -> bool:
    """Whether the CPU has instructions for bf16. Emulated bf16 is slow, and its sums depend on the tile."""
    able = torch.cpu.get_capabilities()
    return able.get("architecture") != "x86_64" or bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def _bf16_is_fast_on_cpu() -> bool:
    able = torch.cpu.get_capabilities()
    if able.get("amx_bf16", False):
        return True
    # With AVX512-BF16 but without AMX, bf16 convolutions take 0.4 times as long as fp32 on AMD, and 1.7 times as long
    # on Intel (measured with x4plus on Zen 4 and on an Emerald Rapids without AMX).
    return bool(able.get("avx512_bf16", False)) and "AuthenticAMD" in _cpu_info()


def _cpu_info() -> str:
    return _CPU_INFO.read_text() if _CPU_INFO.exists() else ""
