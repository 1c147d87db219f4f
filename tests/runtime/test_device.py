from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from upscaling.errors import UpscalingError
from upscaling.runtime import device
from upscaling.runtime.device import choose_device, choose_dtype

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UPSCALING_DEVICE", raising=False)
    monkeypatch.delenv("UPSCALING_DTYPE", raising=False)


def have_gpu(monkeypatch: pytest.MonkeyPatch, usable: bool, bf16: bool = True) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return bf16 or including_emulation

    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)


def have_cpu(monkeypatch: pytest.MonkeyPatch, info: str, **able: bool) -> None:
    capabilities: dict[str, Any] = {"architecture": "x86_64", **able}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(device, "_cpu_info", lambda: info)


@pytest.mark.parametrize(
    ("wanted", "usable", "chosen"),
    [("", True, GPU), ("", False, CPU), ("cpu", True, CPU), ("cpu", False, CPU), ("cuda", True, GPU)],
)
def test_gpu_computes_where_there_is_one_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, wanted: str, usable: bool, chosen: torch.device
) -> None:
    have_gpu(monkeypatch, usable)
    monkeypatch.setenv("UPSCALING_DEVICE", wanted)
    assert choose_device() == chosen


def test_insisting_on_a_gpu_that_is_not_there_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    have_gpu(monkeypatch, usable=False)
    monkeypatch.setenv("UPSCALING_DEVICE", "cuda")
    with pytest.raises(UpscalingError, match="E_DEVICE: UPSCALING_DEVICE is cuda, but torch finds no usable GPU"):
        choose_device()


@pytest.mark.parametrize("wanted", ["gpu", "CPU", "cuda:0", " "])
def test_unknown_devices_are_refused(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setenv("UPSCALING_DEVICE", wanted)
    with pytest.raises(UpscalingError, match=f"E_INPUT: UPSCALING_DEVICE is '{wanted}'; set it to cuda or cpu"):
        choose_device()


@pytest.mark.parametrize("present", [True, False])
def test_gpu_that_is_present_but_not_usable_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, present: bool
) -> None:
    have_gpu(monkeypatch, usable=False)
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: present if str(path) == "/dev/nvidiactl" else exists(path))
    with caplog.at_level(logging.WARNING):
        assert choose_device() == CPU
    assert ("A GPU is present but not usable" in caplog.text) is present


def test_type_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    have_gpu(monkeypatch, usable=True)
    assert choose_dtype(GPU) is torch.float16


@pytest.mark.parametrize(
    ("info", "able", "chosen"),
    [
        ("vendor_id : GenuineIntel", {"amx_bf16": True, "avx512_bf16": True}, torch.bfloat16),
        ("vendor_id : AuthenticAMD", {"amx_bf16": False, "avx512_bf16": True}, torch.bfloat16),
        ("vendor_id : GenuineIntel", {"amx_bf16": False, "avx512_bf16": True}, torch.float32),
        ("vendor_id : AuthenticAMD", {"amx_bf16": False, "avx512_bf16": False}, torch.float32),
        ("", {}, torch.float32),
    ],
)
def test_type_on_a_cpu(monkeypatch: pytest.MonkeyPatch, info: str, able: dict[str, bool], chosen: torch.dtype) -> None:
    have_cpu(monkeypatch, info, **able)
    assert choose_dtype(CPU) is chosen


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("chosen", [CPU, GPU])
def test_type_can_be_insisted_on(monkeypatch: pytest.MonkeyPatch, name: str, chosen: torch.device) -> None:
    have_cpu(monkeypatch, "", avx512_bf16=True)
    monkeypatch.setenv("UPSCALING_DTYPE", name)
    assert choose_dtype(chosen) is getattr(torch, name)


def test_bf16_is_refused_on_a_cpu_without_instructions_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    have_cpu(monkeypatch, "", avx2=True)
    monkeypatch.setenv("UPSCALING_DTYPE", "bfloat16")
    with pytest.raises(UpscalingError, match="E_INPUT: UPSCALING_DTYPE is bfloat16, but this CPU has no"):
        choose_dtype(CPU)


@pytest.mark.parametrize("name", ["fp16", "int8", "float64"])
def test_unknown_types_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("UPSCALING_DTYPE", name)
    with pytest.raises(UpscalingError, match=f"E_INPUT: UPSCALING_DTYPE is '{name}'; take one of float32, bfloat16"):
        choose_dtype(CPU)


def test_cpu_without_a_description_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(device, "_CPU_INFO", tmp_path / "absent")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert choose_dtype(CPU) is torch.float32
