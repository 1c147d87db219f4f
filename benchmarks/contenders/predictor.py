"""SwinIR as its authors' predict.py runs it: fp32, the whole picture, mirrored up to one more window.

The network is spandrel's, whose code is upstream's; it would pad by itself too, but finds whole windows here.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from spandrel import ModelLoader

from contenders.contender import Contender, Job, on_planes


def build(job: Job) -> Contender:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.meshgrid")  # spandrel calls it the old way
        loaded = ModelLoader().load_from_state_dict(job.load_weights().state)
    model: Any = loaded.model.eval().to(device)

    @torch.inference_mode()
    def enlarge(planes: NDArray[np.float32]) -> NDArray[np.float32]:
        taken = torch.as_tensor(planes).to(device)
        height, width = taken.shape[2:]
        enlarged = model(_mirrored(_mirrored(taken, 2, model.window_size), 3, model.window_size))
        # Waits for the GPU, so that what is timed has been done.
        return enlarged[:, :, : height * loaded.scale, : width * loaded.scale].cpu().contiguous().numpy()

    # Upstream leaves torch's settings alone: on a GPU its convolutions then drop bits.
    return on_planes(job, "float32" if device.type == "cpu" else "float32, convolutions TF32", enlarge)


def _mirrored(planes: torch.Tensor, dimension: int, window: int) -> torch.Tensor:
    """As upstream: a side of whole windows gets one more."""
    wanted = (planes.shape[dimension] // window + 1) * window
    return torch.cat([planes, planes.flip(dimension)], dimension).narrow(dimension, 0, wanted)
