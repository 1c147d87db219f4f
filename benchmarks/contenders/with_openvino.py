"""The same network converted to OpenVINO and compiled for the picture's shape, on the CPU, untiled."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino
import torch
from numpy.typing import NDArray
from spandrel import ModelLoader

from contenders.contender import Contender, Job, on_planes, threads


def build(job: Job, precision: str) -> Contender:
    model = converted(job)

    @cache
    def ready(shape: tuple[int, ...]) -> Any:
        return compiled(model, shape, {"INFERENCE_PRECISION_HINT": precision})

    def enlarge(planes: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.array(ready(planes.shape)(planes)[0], copy=True)

    # Compiling belongs to the setup, not to the first picture.
    used = ready(_shape(job.source)).get_property("INFERENCE_PRECISION_HINT").to_string()
    return on_planes(job, used, enlarge)


def converted(job: Job) -> Any:
    """The network as OpenVINO's own graph, of any picture size."""
    model = ModelLoader().load_from_state_dict(job.load_weights().state).model.eval()
    with torch.inference_mode():
        return openvino.convert_model(model, example_input=torch.zeros(1, 3, 64, 64))


def compiled(model: Any, shape: tuple[int, ...], options: dict[str, str]) -> Any:
    """The network for one shape; a shape that is not fixed is slower."""
    fixed = model.clone()
    fixed.reshape(list(shape))
    latency = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": str(threads())}
    return openvino.Core().compile_model(fixed, "CPU", {**latency, **options})


def _shape(picture: Path) -> tuple[int, ...]:
    height, width, channels = cv2.imread(str(picture), cv2.IMREAD_COLOR).shape  # pyright: ignore[reportOptionalMemberAccess]
    return 1, channels, height, width
