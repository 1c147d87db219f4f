"""The network as spandrel loads it, the whole picture at once, by torch alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from spandrel import ModelLoader

from contenders.contender import Contender, Job, on_planes


def build(job: Job, dtype: str, channels_last: bool = False, compiled: bool = False) -> Contender:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # The fp32 of this contender is what the others' pixels are compared with.
    torch.backends.cudnn.allow_tf32 = False
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model: Any = ModelLoader().load_from_state_dict(job.load_weights().state).model.eval()
    model = model.to(device=device, dtype=getattr(torch, dtype), memory_format=layout)
    if compiled:
        model = torch.compile(model)

    @torch.inference_mode()
    def enlarge(planes: NDArray[np.float32]) -> NDArray[np.float32]:
        taken = torch.as_tensor(planes).to(device=device, dtype=getattr(torch, dtype), memory_format=layout)
        # Waits for the GPU, so that what is timed has been done.
        return model(taken).float().cpu().contiguous().numpy()

    return on_planes(job, dtype, enlarge)
