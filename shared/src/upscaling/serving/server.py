"""Starts the server of a model, and runs its predictions."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from upscaling.images import Image, Limits, decode, start_threads
from upscaling.runtime.device import choose_device, choose_dtype
from upscaling.runtime.memory import memory_errors_coded
from upscaling.runtime.progress import Progress, ProgressLines
from upscaling.serving.egress import refuse_private_addresses
from upscaling.serving.incoming import keep_unread, received
from upscaling.serving.output import Output
from upscaling.serving.pipeline import Record, Work, as_it_is, process
from upscaling.serving.workspace import Workspace


@dataclass(frozen=True)
class Server:
    """The state that all requests to a server share."""

    model: str
    """The name of the Cog project, for progress lines."""
    workspace: Workspace
    device: torch.device

    def predict(
        self,
        image: object,
        output: Output,
        work: Work,
        record: Record,
        prepare: Callable[[Image], Image] = as_it_is,
    ) -> Path:
        """Receives the picture and returns the file with the result; raises the errors of `received` and `process`."""
        folder = self.workspace.begin()
        with received(image, folder) as source:
            return process(source, folder, output, work, record, Progress(ProgressLines(self.model)), prepare)

    def picture(self, name: str, given: object) -> Image:
        """Receives and decodes a picture beside `image`, by its name, before `predict` is called for the request.

        Raises the errors of `received` and `decode`, and E_MEMORY.
        """
        with received(given, self.workspace.begin(), name) as source, memory_errors_coded(f"the picture {name}"):
            return decode(source, Limits.from_environment())


def start(model: str, path: type[Path]) -> Server:
    """Sets up logging, the device, the guard against private addresses and the PNG writer's threads.

    path is Cog's class of paths, which is changed so that it does not download URLs. Raises E_INPUT for invalid
    environment variables, and E_DEVICE if UPSCALING_DEVICE is not usable.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    Limits.from_environment()
    device = choose_device()
    choose_dtype(device)  # an invalid value fails now, not in the first request
    refuse_private_addresses()
    keep_unread(path)
    start_threads()
    return Server(model, Workspace.open(), device)
