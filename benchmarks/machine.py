"""What a figure depends on: the processor, the libraries, and how much memory a process took."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_fp16", "amx_int8")  # as /proc/cpuinfo has
_LIMIT = os.environ.get("ONEDNN_MAX_CPU_ISA", "")  # the instructions that oneDNN may use, if not all
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_CLEAR_PEAK = "5"  # proc(5): resets the peak resident set size


def device() -> str:
    """cuda where torch finds a usable GPU, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def threads() -> int:
    """How many threads torch would take, which all contenders then get."""
    return torch.get_num_threads()


def kind() -> str:
    """What machines of the same sort share, for the name of their part in a report."""
    if device() == "cuda":
        return re.sub(r"\W+", "-", torch.cuda.get_device_name().lower()).strip("-")
    best = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in _cpu_flags()]
    vendor = next((short for short in ("Intel", "AMD") if short in _cpu_info("vendor_id")), platform.machine())
    limit = f" as {_LIMIT.lower()}" if _LIMIT else ""
    return re.sub("[_ ]", "-", f"{vendor.lower()} {best[-1] if best else 'no-avx2'}{limit}")


def description(*packages: str) -> str:
    """The machine and the versions, as lines of Markdown."""
    flags = " ".join(flag for flag in _FLAGS if flag in _cpu_flags())
    lines = [
        f"{_cpu_info('model name')}, family {_cpu_info('cpu family')} model {_cpu_info('model')},"
        f" {os.cpu_count()} CPUs, {threads()} threads, {_total_memory() / 2**30:.0f} GiB; {flags or 'no AVX2'}"
        f"{f'; oneDNN uses none beyond {_LIMIT}' if _LIMIT else ''}.",
        "; ".join([f"Python {platform.python_version()}", *(_named(package) for package in packages)]) + _commit(),
    ]
    if device() == "cuda":
        lines.insert(0, f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, driver {_driver()}.")
    return "\n".join(f"- {line}" for line in lines)


def reset_peak_memory() -> None:
    """Forgets the peak so far; of the GPU too where there is one."""
    # Where that is forbidden, the peak is that of the whole process, which is never less.
    with suppress(OSError):
        _CLEAR.write_text(_CLEAR_PEAK)
    if device() == "cuda":
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> int:
    """The most memory, in bytes, that this process held: of the GPU where there is one, else resident."""
    if device() == "cuda":
        return torch.cuda.max_memory_reserved()
    return peak_resident_memory()


def peak_resident_memory() -> int:
    """The most resident memory, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())
    assert found is not None
    return int(found[1]) * 1024


def load() -> str:
    """How busy the machine is with anything: processes wanting to run, over the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def _cpu_info(field: str) -> str:
    found = re.search(rf"^{field}\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def _cpu_flags() -> set[str]:
    return set(_cpu_info("flags").split())


def _total_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _named(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} not installed"


def _commit() -> str:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return f"; commit {found.stdout.strip()}." if found.returncode == 0 else "."


def _driver() -> str:
    found = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return found.stdout.splitlines()[0] if found.stdout else "unknown"
