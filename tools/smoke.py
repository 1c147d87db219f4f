"""Runs a model's smoke cases, models/MODEL/smoke.yaml, against a server.

Usage: python tools/smoke.py MODEL [--url URL] [--gpu]

Without a URL, a server is started for this. Cases that are marked `gpu: true` run with --gpu only.
"""

from __future__ import annotations

import argparse
import base64
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from local_server import ROOT, ServerError, running
from predict import PredictionError, parse_inputs, predict

# pyvips makes its operations at run time, so there is nothing for a type checker to read.
pyvips: Any = import_module("pyvips")

_PEAK = 255  # of the 8 bits that results are compared in


class CaseError(Exception):
    """The result of a case is not the expected one; the message says how it differs."""


@dataclass(frozen=True)
class Case:
    """One request and its expected result: a picture or an error."""

    name: str
    inputs: dict[str, Any]
    """Values; @path is a file, relative to the root of the repository."""
    size: tuple[int, int] | None = None
    """Width and height in pixels."""
    format: str | None = None
    """png, jpeg or webp, as read from the file itself."""
    golden: str | None = None
    """Path of the expected picture, relative to the folder of the model."""
    psnr_db: float = 40
    """Smallest PSNR between the result and that."""
    error: str | None = None
    """Beginning of the expected error message."""
    gpu: bool = False
    """Whether it needs a GPU, or all weights of the model."""


@dataclass(frozen=True)
class Smoke:
    """The content of a smoke.yaml."""

    image_gb: float
    """Largest size of the image on disk without its weights, in 10⁹ bytes."""
    ready_seconds: int
    """Longest time from the start of the container until it is READY."""
    weights: tuple[str, ...]
    """The networks that the cases without a GPU need; or `tiny`, for small random ones of all the model's names."""
    cases: tuple[Case, ...]


def read(path: Path) -> Smoke:
    """The cases in a smoke.yaml."""
    written = yaml.safe_load(path.read_text())
    cases = [Case(**{**row, "size": tuple(row["size"]) if "size" in row else None}) for row in written.pop("cases")]
    return Smoke(weights=tuple(written.pop("weights")), cases=tuple(cases), **written)


def run(model: str, url: str, cases: Iterable[Case]) -> int:
    """Runs the cases against a server that is READY, prints how each ended, and returns how many failed."""
    failed = 0
    for case in cases:
        begun = time.monotonic()
        try:
            check(model, url, case)
            said = "ok"
        except CaseError as error:
            failed += 1
            said = f"FAILED: {error}"
        print(f"{model}: {case.name}: {time.monotonic() - begun:.1f} s: {said}", flush=True)
    return failed


def check(model: str, url: str, case: Case) -> None:
    """Raises CaseError if the result is not the expected one."""
    try:
        pairs = [f"{name}={_written(value)}" for name, value in case.inputs.items()]
        output = predict(url, parse_inputs(pairs, model))["output"]
    except PredictionError as error:
        if case.error is None or not str(error).startswith(case.error):
            raise CaseError(str(error)) from error
        return
    if case.error is not None:
        raise CaseError(f"it succeeded; expected the error {case.error}.")
    result = picture(base64.b64decode(output.partition(",")[2]))
    if case.size not in (None, (result.width, result.height)):
        raise CaseError(f"the result is {result.width}×{result.height}; expected {case.size}.")
    kind = str(result.get("vips-loader")).removesuffix("load_buffer").removesuffix("load_source")
    if case.format not in (None, kind):
        raise CaseError(f"the result is {kind}; expected {case.format}.")
    if case.golden is not None:
        golden = picture((ROOT / "models" / model / case.golden).read_bytes())
        found = psnr_db(_pixels(result), _pixels(golden))
        if found < case.psnr_db:
            raise CaseError(
                f"the result differs from {case.golden}: PSNR {found:.1f} dB; expected {case.psnr_db:g} dB."
            )


def _written(value: Any) -> str:
    """As on a command line; a path begins at the root of the repository."""
    if isinstance(value, str):
        return f"@{ROOT / value[1:]}" if value.startswith("@") else value
    return yaml.safe_dump(value, default_flow_style=True).partition("\n")[0]


def picture(content: bytes) -> Any:
    """A decoded file."""
    return pyvips.Image.new_from_buffer(content, "", fail_on="error")


def _pixels(image: Any) -> np.ndarray:
    return image.colourspace("srgb").numpy().astype(np.float64)


def psnr_db(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio of 8-bit pixels in dB; infinite where they are equal, 0 where their shapes differ."""
    if one.shape != other.shape:
        return 0
    error = float(np.mean((one - other) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(_PEAK**2 / error))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make smoke", description="Runs the smoke cases of a model.")
    parser.add_argument("model")
    parser.add_argument("--url", help="a server that runs already")
    parser.add_argument("--gpu", action="store_true", help="also the cases that take a GPU")
    options = parser.parse_args(arguments)
    smoke = read(ROOT / "models" / options.model / "smoke.yaml")
    cases = [case for case in smoke.cases if options.gpu or not case.gpu]
    try:
        with ExitStack() as stack:
            url = options.url or stack.enter_context(running(options.model)).url
            return 1 if run(options.model, url, cases) else 0
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the server too
    sys.exit(main(sys.argv[1:]))
