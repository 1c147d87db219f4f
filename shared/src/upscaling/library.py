"""The networks of one Cog project, each loaded at its first use and kept."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from upscaling import weights
from upscaling.device import choose_device, choose_dtype
from upscaling.networks import Network, load
from upscaling.upscaler import Upscaler


class Library:
    """Loads networks by name, lazily and once, and gives upscalers made of them.

    Nothing is locked: a load that is cancelled leaves the library as it was, and of two loads at the
    same time the first to finish is kept.
    """

    def __init__(self, baked: Path) -> None:
        self.device = choose_device()
        self._baked = baked
        self._networks: dict[tuple[str, torch.dtype], Network] = {}
        self._sources: dict[str, str] = {}

    def upscaler(self, name: str) -> Upscaler:
        """The upscaler of a network in the catalogue; raises E_INPUT for another name."""
        entry = weights.entry(name)
        return Upscaler(partial(self._network, entry), choose_dtype(self.device, entry.fp16_safe))

    def source(self, name: str) -> str:
        """Where the weights of a network that was used first came from."""
        return self._sources[name]

    def _network(self, entry: weights.Entry, dtype: torch.dtype) -> Network:
        found = self._networks.get((entry.name, dtype))
        if found is not None:
            return found
        loaded = weights.load(entry, self._baked)
        self._sources[entry.name] = loaded.source
        return self._networks.setdefault((entry.name, dtype), load(loaded.state, dtype, self.device))
