"""The same weights in ncnn, on the CPU, untiled."""

from __future__ import annotations

import tempfile
from pathlib import Path

import ncnn
import numpy as np
from numpy.typing import NDArray

from contenders.contender import Contender, Job, on_planes, threads
from contenders.ncnn_files import from_state_dict


def build(job: Job) -> Contender:
    param, binary = from_state_dict(job.load_weights().state)
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = threads()
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("net.param", param.encode()), ("net.bin", binary)):
            (Path(folder) / name).write_bytes(content)
        if net.load_param(f"{folder}/net.param") or net.load_model(f"{folder}/net.bin"):
            raise RuntimeError("ncnn could not read the files made from the weights")

    def enlarge(planes: NDArray[np.float32]) -> NDArray[np.float32]:
        with net.create_extractor() as extractor:
            extractor.input("in0", ncnn.Mat(planes[0]).clone())
            failed, result = extractor.extract("out0")
            if failed:
                raise RuntimeError(f"ncnn ended with {failed}; did memory run out?")
            return np.array(result, copy=True)[None]

    return on_planes(job, "float32", enlarge)
