"""Tile sizes change no bit on a CPU with fewer instructions either: oneDNN is told to use no others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

# oneDNN's name → what torch calls the instructions, and pytest's choice of tests: the lesser ones have none for bf16.
_SETS = {
    "AVX2": ("avx2", "not bfloat16"),
    "AVX512_CORE": ("avx512_vnni", "not bfloat16"),
    "AVX512_CORE_BF16": ("avx512_bf16", ""),
    "AVX512_CORE_AMX": ("amx_bf16", ""),
}
_MINUTES = 10


@pytest.mark.parametrize("name", [name for name, (able, _) in _SETS.items() if torch.cpu.get_capabilities().get(able)])
def test_tile_sizes_change_no_bit_with_the_instructions_of(name: str) -> None:
    _, chosen = _SETS[name]
    command = [sys.executable, "-m", "pytest", "-m", "exact", "-k", chosen, "-q", "-p", "no:cacheprovider"]
    result = subprocess.run(
        command,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": name},
        capture_output=True,
        text=True,
        timeout=_MINUTES * 60,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:]
