"""The networks of one Cog project, each loaded at its first use and kept, as far as there is room."""

from __future__ import annotations

import sys
from functools import partial
from itertools import count
from pathlib import Path

import torch

from upscaling import weights
from upscaling.device import choose_device, choose_dtype
from upscaling.errors import Code, UpscalingError
from upscaling.networks import Network, load
from upscaling.upscaler import Upscaler

USUAL_DENOISE_STRENGTH = 0.5  # inference_realesrgan.py of Real-ESRGAN


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
        self._twins: dict[str, weights.Weights] = {}
        self._mixed: dict[tuple[str, torch.dtype], tuple[float, Network]] = {}
        self._sources: dict[str, str] = {}

    def upscaler(self, name: str, denoise_strength: float | None = None) -> Upscaler:
        """The upscaler of a network in the catalogue.

        denoise_strength is 0–1, from the twin that denoises less to the network itself; None is 0.5 where
        the network has a twin. Raises E_INPUT for a name that is not in the catalogue, and for a strength
        where there is no twin.
        """
        entry = weights.entry(name)
        dtype = choose_dtype(self.device, entry.fp16_safe)
        if entry.twin is None and denoise_strength is not None:
            raise UpscalingError(
                Code.INPUT, f"denoise_strength is {denoise_strength}, and {name} has none. Leave it out."
            )
        strength = USUAL_DENOISE_STRENGTH if denoise_strength is None else denoise_strength
        if entry.twin is None or strength == 1:
            return Upscaler(partial(self._network, entry), dtype)
        return Upscaler(partial(self._between, entry, weights.entry(entry.twin), strength), dtype)

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

    def _between(self, entry: weights.Entry, twin: weights.Entry, strength: float, dtype: torch.dtype) -> Network:
        """The network of the strength asked for last is kept; another is mixed in milliseconds."""
        mixed = self._mixed.get((entry.name, dtype))
        if mixed is not None and mixed[0] == strength:
            return mixed[1]
        state = weights.interpolated(self._twin(entry).state, self._twin(twin).state, strength)
        network = load(state, dtype, self.device)
        self._mixed[entry.name, dtype] = strength, network
        return network

    def _twin(self, entry: weights.Entry) -> weights.Weights:
        """Weights that are kept as they are: every strength takes them."""
        found = self._twins.get(entry.name)
        if found is not None:
            return found
        loaded = weights.load(entry, self._baked)
        self._sources[entry.name] = loaded.source
        return self._twins.setdefault(entry.name, loaded)
