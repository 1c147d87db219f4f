"""The networks of one Cog project, each loaded at its first use and kept, as far as there is room."""

from __future__ import annotations

import sys
from functools import partial
from itertools import count
from pathlib import Path

import torch

from upscaling import weights
from upscaling.device import choose_device, choose_dtype
from upscaling.networks import Network, load
from upscaling.upscaler import Upscaler


class Library:
    """Loads networks by name, lazily and once, and gives upscalers made of them.

    Nothing is locked: a load that is cancelled leaves the library as it was, and of two loads at the
    same time the first to finish is kept. With `most` networks loaded, one more takes the place of the
    one that was used longest ago; the same network in another type counts as another.
    """

    def __init__(self, baked: Path, most: int = sys.maxsize) -> None:
        self.device = choose_device()
        self._baked = baked
        self._most = most
        self._networks: dict[tuple[str, torch.dtype], Network] = {}
        self._last_uses: dict[tuple[str, torch.dtype], int] = {}
        self._uses = count()
        self._sources: dict[str, str] = {}

    def upscaler(self, name: str) -> Upscaler:
        """The upscaler of a network in the catalogue; raises E_INPUT for another name."""
        entry = weights.entry(name)
        return Upscaler(partial(self._network, entry), choose_dtype(self.device, entry.fp16_safe))

    def source(self, name: str) -> str:
        """Where the weights of a network that was used first came from."""
        return self._sources[name]

    def _network(self, entry: weights.Entry, dtype: torch.dtype) -> Network:
        key = entry.name, dtype
        self._last_uses[key] = next(self._uses)
        found = self._networks.get(key)
        if found is not None:
            return found
        loaded = weights.load(entry, self._baked)
        self._sources[entry.name] = loaded.source
        kept = self._networks.setdefault(key, load(loaded.state, dtype, self.device))
        for unused in sorted(self._networks, key=self._last_uses.__getitem__)[: -self._most]:
            self._networks.pop(unused, None)
        return kept
