"""What a contender is, and the reading and writing that all but ours share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import cv2
import machine
import numpy as np
from numpy.typing import NDArray

from upscaling import weights
from upscaling.weights import Weights

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Job:
    """The same work for everyone."""

    network: str
    baked: Path
    """The folder that the weights are looked for in, before the user's cache."""
    source: Path
    """The picture."""
    warm_up: Path
    """What is enlarged once before anything is timed."""
    target: Path
    """The PNG to write."""

    def load_weights(self) -> Weights:
        return weights.load(weights.entry(self.network), self.baked)


@dataclass(frozen=True)
class Run:
    """One timed run."""

    path_to_path: float
    """Seconds from the file to the finished PNG."""
    network: float
    """Seconds from pixels in memory to pixels in memory."""


@dataclass(frozen=True)
class Contender:
    """One way to enlarge a picture, loaded and ready."""

    precision: str
    warm_up: Callable[[], object]
    run: Callable[[], Run]


def threads() -> int:
    """How many threads everyone gets: the harness sets it, and torch and OpenMP read it themselves."""
    return int(os.environ.get("OMP_NUM_THREADS", machine.threads()))


def on_bgr(job: Job, precision: str, enlarge: Callable[[Pixels], Pixels]) -> Contender:
    """A contender that is a function of BGR pixels, between OpenCV's reader and writer.

    That is how the published script reads and writes (inference_realesrgan.py).
    """

    def run() -> Run:
        started = perf_counter()
        pixels = _read(job.source)
        before = perf_counter()
        enlarged = enlarge(pixels)
        after = perf_counter()
        if not cv2.imwrite(str(job.target), enlarged):
            raise OSError(f"OpenCV could not write {job.target}")
        return Run(path_to_path=perf_counter() - started, network=after - before)

    return Contender(precision, warm_up=lambda: enlarge(_read(job.warm_up)), run=run)


def on_planes(job: Job, precision: str, enlarge: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Contender:
    """A contender that is a function of RGB planes, (1, 3, height, width), 0–1."""

    def enlarge_pixels(pixels: Pixels) -> Pixels:
        planes = np.ascontiguousarray(pixels[..., ::-1].transpose(2, 0, 1)[None]).astype(np.float32) / np.float32(255)
        enlarged = enlarge(planes)[0]
        np.clip(enlarged, 0, 1, out=enlarged)
        np.multiply(enlarged, 255, out=enlarged)
        return np.ascontiguousarray(np.rint(enlarged, out=enlarged).astype(np.uint8)[::-1].transpose(1, 2, 0))

    return on_bgr(job, precision, enlarge_pixels)


def _read(path: Path) -> Pixels:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise OSError(f"OpenCV could not read {path}")
    return pixels.astype(np.uint8, copy=False)
