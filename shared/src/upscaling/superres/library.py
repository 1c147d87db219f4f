"""The networks of one Cog project, each loaded at its first use and kept, as far as there is room."""

from __future__ import annotations

import sys
from functools import partial
from itertools import count
from pathlib import Path

import torch

from upscaling import weights
from upscaling.errors import Code, UpscalingError
from upscaling.runtime.device import choose_device, choose_dtype
from upscaling.runtime.memory import keep_freed_memory
from upscaling.superres.mixing import interpolated
from upscaling.superres.networks import Network, load
from upscaling.superres.upscaler import Upscaler
from upscaling.values import shown

USUAL_DENOISE_STRENGTH = 0.5  # inference_realesrgan.py of Real-ESRGAN


class Library:
    """Loads a model's networks by name, lazily and once, and gives upscalers made of them.

    Nothing is locked: a load that is cancelled leaves the library as it was, and of two loads at the
    same time the first to finish is kept. Where `most` networks are loaded, the one that was used longest
    ago makes room for another; the same network in another type counts as another.
    """

    def __init__(self, model: str, baked: Path, most: int = sys.maxsize) -> None:
        self.device = choose_device()
        keep_freed_memory()
        self._entries = {entry.name: entry for entry in weights.of_model(model)}
        self._baked = baked
        self._most = most
        self._networks: dict[tuple[str, torch.dtype], Network] = {}
        self._last_uses: dict[tuple[str, torch.dtype], int] = {}
        self._uses = count()
        self._twins: dict[str, weights.Weights] = {}
        self._mixed: dict[tuple[str, torch.dtype], tuple[float, Network]] = {}
        self._sources: dict[str, str] = {}

    def entry(self, name: str) -> weights.Entry:
        """The catalogue's row of a network that a caller may ask for; raises E_INPUT for any other name."""
        twins = {entry.twin for entry in self._entries.values()}
        names = [name for name in self._entries if name not in twins]
        if name not in names:
            raise UpscalingError(Code.INPUT, f"there is no network {shown(name)}; there are {', '.join(names)}.")
        return self._entries[name]

    def upscaler(self, name: str, denoise_strength: float | None = None) -> Upscaler:
        """The upscaler of a network that a caller may ask for.

        denoise_strength is 0–1, from the twin that denoises less to the network itself; None is 0.5 where
        the network has a twin. Raises E_INPUT for another name, and for a strength where there is no twin.
        """
        entry = self.entry(name)
        dtype = choose_dtype(self.device, entry.fp16_safe)
        if entry.twin is None and denoise_strength is not None:
            raise UpscalingError(
                Code.INPUT, f"denoise_strength is {denoise_strength}, and {name} has none. Leave it out."
            )
        strength = USUAL_DENOISE_STRENGTH if denoise_strength is None else denoise_strength
        if entry.twin is None or strength == 1:
            return Upscaler(partial(self._network, entry), dtype)
        return Upscaler(partial(self._between, entry, self._entries[entry.twin], strength), dtype)

    def source(self, name: str, denoise_strength: float | None = None) -> str:
        """Where the weights of a network that was used, and of its twin where that was, first came from."""
        twin = None if denoise_strength == 1 else self._entries[name].twin
        return ", ".join(dict.fromkeys(self._sources[used] for used in (name, twin) if used is not None))

    def _network(self, entry: weights.Entry, dtype: torch.dtype) -> Network:
        key = entry.name, dtype
        self._last_uses[key] = next(self._uses)
        found = self._networks.get(key)
        if found is None:
            loaded = self._read(entry)
            self._keep(self._most - 1)
            found = self._networks.setdefault(key, load(loaded.state, dtype, self.device))
        self._keep(self._most)  # at every use: a cancel may have hit the last one before it came here
        return found

    def _keep(self, most: int) -> None:
        """Lets go of all networks but those used last."""
        by_use = sorted(self._networks, key=self._last_uses.__getitem__)
        for unused in by_use[: max(len(by_use) - most, 0)]:
            self._networks.pop(unused, None)

    def _between(self, entry: weights.Entry, twin: weights.Entry, strength: float, dtype: torch.dtype) -> Network:
        """The network of the strength asked for last is kept; another is mixed in milliseconds."""
        mixed = self._mixed.get((entry.name, dtype))
        if mixed is not None and mixed[0] == strength:
            return mixed[1]
        own, less = self._twin(entry), self._twin(twin)
        network = load(interpolated(own.state, less.state, strength), dtype, self.device)
        self._mixed[entry.name, dtype] = strength, network
        return network

    def _twin(self, entry: weights.Entry) -> weights.Weights:
        """Weights that are kept as they are: every strength takes them."""
        found = self._twins.get(entry.name)
        if found is not None:
            return found
        return self._twins.setdefault(entry.name, self._read(entry))

    def _read(self, entry: weights.Entry) -> weights.Weights:
        loaded = weights.load(entry, self._baked)
        self._sources[entry.name] = loaded.source
        return loaded
