"""Converts ncnn files of RRDBNet and SRVGGNetCompact to state dicts of torch.

Format: github.com/Tencent/ncnn, docs/developer-guide/param-and-model-file-structure.md. Convolution weights are stored
as fp16 after a flag and padded to 4 bytes; biases and PReLU slopes are stored as fp32.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import torch

from upscaling.errors import Code, UpscalingError

_FP16_FLAG = 0x01306B47
_KERNEL = (3, 3)


def to_state_dict(param: str, binary: bytes) -> dict[str, torch.Tensor]:
    """The state dict of a network in fp32, with the names of the official .pth file.

    Raises E_WEIGHTS if the files do not belong to one of the two architectures.
    """
    layers = list(_layers(param, binary))
    names = _compact_names(layers) if any("slope" in layer for layer in layers) else _rrdb_names(len(layers))
    return {
        f"{name}.{'weight' if part == 'slope' else part}": torch.as_tensor(values)
        for name, layer in zip(names, layers, strict=True)
        for part, values in layer.items()
    }


def _layers(param: str, binary: bytes) -> Iterator[dict[str, np.ndarray]]:
    offset = 0

    def take(count: int, dtype: str) -> np.ndarray:
        nonlocal offset
        values = np.frombuffer(binary, dtype, count, offset).astype(np.float32)
        offset += -(-count * np.dtype(dtype).itemsize // 4) * 4
        return values

    for line in param.splitlines()[2:]:
        kind = line.split(maxsplit=1)[0] if line.strip() else ""
        settings = {int(key): value for key, value in re.findall(r"(?<!\S)(\d+)=(\S+)", line)}
        if kind == "Convolution":
            if np.frombuffer(binary, "<u4", 1, offset)[0] != _FP16_FLAG:
                raise UpscalingError(Code.WEIGHTS, f"the ncnn layer {line.split()[1]} is not stored as fp16.")
            offset += 4
            filters = int(settings[0])
            weight = take(int(settings[6]), "<f2").reshape(filters, -1, *_KERNEL)
            yield {"weight": weight, "bias": take(filters, "<f4")}
        elif kind == "PReLU":
            yield {"slope": take(int(settings[0]), "<f4")}
    if offset != len(binary):
        raise UpscalingError(Code.WEIGHTS, f"the ncnn file has {len(binary)} bytes, but its layers need {offset}.")


def _compact_names(layers: list[dict[str, np.ndarray]]) -> list[str]:
    return [f"body.{index}" for index in range(len(layers))]


def _rrdb_names(count: int) -> list[str]:
    # One in the head, one after the blocks, two for upsampling, two at full size, and 15 in each block.
    blocks, rest = divmod(count - 6, 15)
    if rest or blocks < 1:
        raise UpscalingError(Code.WEIGHTS, f"an RRDBNet of ×4 cannot have {count} convolutions.")
    dense = [
        f"body.{block}.rdb{dense}.conv{convolution}"
        for block in range(blocks)
        for dense in range(1, 4)
        for convolution in range(1, 6)
    ]
    return ["conv_first", *dense, "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"]
