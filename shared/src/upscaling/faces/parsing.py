"""Finds the part of a face that each pixel of a crop shows: skin, eyes, hair, background and so on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray

from upscaling.faces.arch.fill import fill
from upscaling.faces.arch.parsenet import ParseNet
from upscaling.faces.tensors import to_tensor
from upscaling.images.image import Pixels
from upscaling.runtime import convolution

Parts = NDArray[np.uint8]
"""(512, 512): a `Part` for each pixel."""


class Part(IntEnum):
    """The classes of ParseNet, from CelebAMask-HQ; left and right as seen by the viewer."""

    BACKGROUND = 0
    SKIN = 1
    NOSE = 2
    GLASSES = 3
    LEFT_EYE = 4
    RIGHT_EYE = 5
    LEFT_BROW = 6
    RIGHT_BROW = 7
    LEFT_EAR = 8
    RIGHT_EAR = 9
    MOUTH = 10
    UPPER_LIP = 11
    LOWER_LIP = 12
    HAIR = 13
    HAT = 14
    EARRING = 15
    NECKLACE = 16
    NECK = 17
    CLOTH = 18


@dataclass(frozen=True)
class Parser:
    """A loaded ParseNet."""

    network: ParseNet
    dtype: torch.dtype
    device: torch.device


def load_parser(weights: Mapping[str, torch.Tensor], dtype: torch.dtype, device: torch.device) -> Parser:
    """The parser of facexlib's `parsing_parsenet`; raises E_WEIGHTS for any other state dict."""
    with torch.device("meta"):
        network = ParseNet()
    fill(network, weights, "ParseNet", torch.float32, device)
    network.fold()
    # pyright does not know the form of `to` with a memory format alone.
    network.to(dtype=dtype, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if convolution.are_onednns(dtype, device):
        convolution.prepare(network)
    return Parser(network, dtype, device)


def parse(faces: Sequence[Pixels], parser: Parser) -> list[Parts]:
    """The parts of each face; faces are (512, 512, 3), RGB."""
    parts: list[Parts] = []
    with torch.inference_mode():
        for face in faces:  # one at a time, because a batch is not faster at this size
            scores: torch.Tensor = parser.network(to_tensor(face, parser.dtype, parser.device))
            parts.append(scores[0].argmax(dim=0).to(torch.uint8).cpu().numpy())
    return parts
