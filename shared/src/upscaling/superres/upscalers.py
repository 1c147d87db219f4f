"""The upscalers of a model, by the names of their networks, which are loaded at their first use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from upscaling import weights
from upscaling.errors import Code, UpscalingError
from upscaling.images import Image, Rows, Size
from upscaling.runtime.cache import ModelCache
from upscaling.runtime.device import choose_dtype
from upscaling.runtime.progress import Progress
from upscaling.superres.mixing import interpolated
from upscaling.superres.networks import Network, load
from upscaling.superres.tiling import tile_size
from upscaling.superres.upscaler import Upscaler
from upscaling.values import shown

TWINS = {"realesr-general-x4v3": "realesr-general-wdn-x4v3"}
"""Networks with a twin of the same shape that denoises less. `denoise_strength` interpolates between the two."""
USUAL_DENOISE_STRENGTH = 0.5  # inference_realesrgan.py of Real-ESRGAN
_MOST_KEPT = 192 << 20  # bytes: in fp32 all networks of Real-ESRGAN, or SwinIR's Large and one other


@dataclass(frozen=True)
class _State:
    """The weights in a file, kept for interpolation."""

    tensors: dict[str, torch.Tensor]
    source: str

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())


@dataclass(frozen=True)
class Upscalers:
    """Gives requests their upscalers, and keeps networks loaded between requests."""

    model: str
    """The name of the Cog project in the catalogue."""
    baked: Path
    """The folder with the weights in the image; they are searched here first."""
    device: torch.device
    cache: ModelCache = field(default_factory=lambda: ModelCache(_MOST_KEPT))

    def get(self, name: str, denoise_strength: float | None = None) -> Upscaler:
        """The upscaler of a network that clients can choose.

        denoise_strength is 0–1, from the twin that denoises less to the network itself; None is 0.5 for a network with
        a twin. Raises E_INPUT for other names, and for a strength if the network has no twin.
        """
        entries = {entry.name: entry for entry in weights.of_model(self.model, "superres")}
        names = [known for known in entries if known not in TWINS.values()]
        if name not in names:
            raise UpscalingError(Code.INPUT, f"there is no network {shown(name)}; there are {', '.join(names)}.")
        entry, twin = entries[name], TWINS.get(name)
        dtype = choose_dtype(self.device)
        if twin is None and denoise_strength is not None:
            raise UpscalingError(
                Code.INPUT, f"denoise_strength is {denoise_strength}, but {name} has no such setting. Leave it out."
            )
        strength = USUAL_DENOISE_STRENGTH if denoise_strength is None else denoise_strength
        if twin is None or strength == 1:
            return Upscaler(partial(self._network, entry), dtype)
        return Upscaler(partial(self._mixture, entry, entries[twin], strength), dtype)

    def attempts(
        self, upscaler: Upscaler, tile_side: int, image: Image, size: Size, progress: Progress
    ) -> Iterator[Rows]:
        """`Upscaler.attempts` with tiles of a side in pixels; 0 is automatic."""
        return upscaler.attempts(image, size, tile_size(tile_side, self.device, image.width), progress)

    def _network(self, entry: weights.Entry, dtype: torch.dtype) -> Network:
        def build() -> Network:
            state = self._read(entry)
            return load(state.tensors, dtype, self.device, state.source)

        return self.cache.get((entry.name, dtype), build)

    def _mixture(self, entry: weights.Entry, twin: weights.Entry, strength: float, dtype: torch.dtype) -> Network:
        def build() -> Network:
            own, less = (self.cache.get(of.name, partial(self._read, of)) for of in (entry, twin))
            source = ", ".join(dict.fromkeys([own.source, less.source]))
            return load(interpolated(own.tensors, less.tensors, strength), dtype, self.device, source)

        return self.cache.get((entry.name, dtype, strength), build)

    def _read(self, entry: weights.Entry) -> _State:
        loaded = weights.load(entry, self.baked)
        return _State(loaded.state, loaded.source)
