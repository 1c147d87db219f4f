"""An RRDBNet's state dict as ncnn's two files; the way back is upscaling.weights.ncnn.

Format: github.com/Tencent/ncnn, docs/developer-guide/param-and-model-file-structure.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

_RESIDUAL_SCALE = 0.2
_SLOPE = 0.2  # of the leaky ReLU
_FP32_FLAG = b"\0\0\0\0"
_ADD, _MULTIPLY = 0, 2  # BinaryOp's kinds


@dataclass
class _Files:
    state: Mapping[str, torch.Tensor]
    lines: list[str] = field(default_factory=list)
    binary: list[bytes] = field(default_factory=list)
    blobs: int = 0

    def layer(self, kind: str, inputs: list[str], settings: str = "", outputs: int = 1) -> list[str]:
        names = [f"b{self.blobs + i}" for i in range(outputs)]
        self.blobs += outputs
        self.lines.append(
            f"{kind} l{len(self.lines)} {len(inputs)} {outputs} {' '.join([*inputs, *names])} {settings}".rstrip()
        )
        return names

    def split(self, blob: str, count: int) -> list[str]:
        """A blob under as many names, since ncnn lets each be read once."""
        return self.layer("Split", [blob], outputs=count)

    def convolution(self, name: str, blob: str, leaky: bool = False) -> str:
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        self.binary += [_FP32_FLAG, _bytes(weight), _bytes(bias)]
        activation = f" 9=2 -23310=1,{_SLOPE}" if leaky else ""
        settings = f"0={len(bias)} 1=3 4=1 5=1 6={weight.numel()}{activation}"
        return self.layer("Convolution", [blob], settings)[0]

    def scaled_residual(self, residual: str, entering: str) -> str:
        (scaled,) = self.layer("BinaryOp", [residual], f"0={_MULTIPLY} 1=1 2={_RESIDUAL_SCALE}")
        return self.layer("BinaryOp", [scaled, entering], f"0={_ADD}")[0]

    def dense_block(self, name: str, blob: str) -> str:
        *here, kept = self.split(blob, 6)
        grown: list[list[str]] = [here]
        for index in range(1, 6):
            taken = [copies.pop() for copies in grown]
            joined = taken[0] if index == 1 else self.layer("Concat", taken, "0=0")[0]
            made = self.convolution(f"{name}.conv{index}", joined, leaky=index < 5)
            if index == 5:
                return self.scaled_residual(made, kept)
            grown.append(self.split(made, 5 - index) if index < 4 else [made])
        raise AssertionError("five convolutions make a dense block")

    def doubled(self, blob: str) -> str:
        return self.layer("Interp", [blob], "0=1 1=2.0 2=2.0")[0]


def from_state_dict(state: Mapping[str, torch.Tensor]) -> tuple[str, bytes]:
    """The text of the .param and the bytes of the .bin, values in fp32; input "in0", output "out0".

    Raises KeyError where the network is no RRDBNet of ×4.
    """
    if state["conv_first.weight"].shape[1] != 3:
        raise KeyError("only RRDBNet of ×4 is written as ncnn files")
    files = _Files(state)
    files.lines.append("Input in0 0 1 in0")
    head, skip = files.split(files.convolution("conv_first", "in0"), 2)
    blob = head
    blocks = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("body."))
    for block in range(blocks):
        blob, entering = files.split(blob, 2)
        for dense in range(1, 4):
            blob = files.dense_block(f"body.{block}.rdb{dense}", blob)
        blob = files.scaled_residual(blob, entering)
    (blob,) = files.layer("BinaryOp", [files.convolution("conv_body", blob), skip], f"0={_ADD}")
    for name in ("conv_up1", "conv_up2"):
        blob = files.convolution(name, files.doubled(blob), leaky=True)
    blob = files.convolution("conv_last", files.convolution("conv_hr", blob, leaky=True))
    files.lines[-1] = files.lines[-1].replace(f" {blob} ", " out0 ")
    header = f"7767517\n{len(files.lines)} {files.blobs + 1}\n"
    return header + "\n".join(files.lines) + "\n", b"".join(files.binary)


def _bytes(values: torch.Tensor) -> bytes:
    return values.numpy().astype("<f4").tobytes()
