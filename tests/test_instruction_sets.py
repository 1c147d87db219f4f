"""Tile sizes change no bit on a CPU with fewer instructions either: oneDNN is told to use no others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

# By type, from the fewest instructions that oneDNN has kernels of its own for to the most: oneDNN's name → torch's.
_FP32 = {"AVX2": "avx2", "AVX512_CORE": "avx512_bw"}
_BF16 = {"AVX512_CORE_BF16": "avx512_bf16", "AVX512_CORE_AMX": "amx_bf16"}
_TESTS = Path(__file__).parent
_MINUTES = 10


def _lesser(names: dict[str, str]) -> list[str]:
    """Those of this CPU but the last, which all other tests use."""
    able = torch.cpu.get_capabilities()
    return [name for name, needed in names.items() if able.get(needed)][:-1]


def _files() -> list[Path]:
    """Those with a test that is marked: to collect all takes longer than to run these."""
    return [path for path in _TESTS.glob("*/**/test_*.py") if "@pytest.mark.exact" in path.read_text()]


@pytest.mark.parametrize(
    ("name", "chosen"),
    [*((name, "not bfloat16") for name in _lesser(_FP32)), *((name, "bfloat16") for name in _lesser(_BF16))],
)
def test_tile_sizes_change_no_bit_with_the_instructions_of(name: str, chosen: str) -> None:
    command = [sys.executable, "-m", "pytest", "-m", "exact", "-k", chosen, "-q", "-p", "no:cacheprovider", *_files()]
    result = subprocess.run(
        command,
        cwd=_TESTS.parent,
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": name},
        capture_output=True,
        text=True,
        timeout=_MINUTES * 60,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:]
