"""The networks for faces of a model, loaded at their first use."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import torch

from upscaling import weights
from upscaling.errors import Code, UpscalingError
from upscaling.faces.detection import Detector, load_detector
from upscaling.faces.enhancement import FaceNetworks
from upscaling.faces.parsing import Parser, load_parser
from upscaling.faces.restoration import Restorer, load_restorer
from upscaling.images import Image
from upscaling.runtime.cache import ModelCache
from upscaling.runtime.device import choose_dtype
from upscaling.runtime.footprint import footprint
from upscaling.values import shown

logger = logging.getLogger(__name__)

DETECTOR, PARSER = "detection_Resnet50_Final", "parsing_parsenet"
_MOST_KEPT = 640 << 20  # bytes: in fp32 the detector, the parser and the largest restorer

_Network = TypeVar("_Network", Detector, Parser, Restorer)
_Make = Callable[[dict[str, torch.Tensor], torch.dtype], _Network]


@dataclass(frozen=True)
class _Loaded(Generic[_Network]):
    network: _Network
    nbytes: int


@dataclass(frozen=True)
class Restorers:
    """Loads the networks for faces, and keeps them between requests."""

    model: str
    """The name of the Cog project in the catalogue."""
    baked: Path
    """The folder in which weights are looked for first."""
    device: torch.device
    cache: ModelCache = field(default_factory=lambda: ModelCache(_MOST_KEPT))

    def entry(self, name: str) -> weights.Entry:
        """The catalogue's entry of a restoration network; raises E_INPUT if the model has no network of this name."""
        entries = {
            entry.name: entry for entry in weights.of_model(self.model, "face") if entry.name not in (DETECTOR, PARSER)
        }
        if not isinstance(name, str) or name not in entries:  # pyright: ignore[reportUnnecessaryIsInstance]  a server may not have checked
            raise UpscalingError(Code.INPUT, f"there is no face network {shown(name)}; there are {', '.join(entries)}.")
        return entries[name]

    def networks(self, restorer: weights.Entry, image: Image) -> FaceNetworks:
        """The networks for the faces of a picture; faces of 16-bit pictures are restored in fp32."""
        dtype = torch.float32 if image.bits == 16 else self._fast_dtype()
        return FaceNetworks(
            detector=partial(self._loaded, weights.entry(DETECTOR), self._detector, torch.float32),
            parser=partial(self._loaded, weights.entry(PARSER), self._parser, dtype),
            restorer=partial(self._loaded, restorer, self._restorer),
            dtype=dtype,
        )

    def _fast_dtype(self) -> torch.dtype:
        """The fastest type for networks for faces, which exceed the range of fp16."""
        dtype = choose_dtype(self.device)
        if dtype is not torch.float16:
            return dtype
        on_gpu = self.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if on_gpu else torch.float32

    def _loaded(self, entry: weights.Entry, make: _Make[_Network], dtype: torch.dtype) -> _Network:
        def build() -> _Loaded[_Network]:
            if entry.non_commercial:
                logger.warning("%s is for non-commercial use only (%s, %s).", entry.name, entry.licence, entry.origin)
            network = make(weights.load(entry, self.baked).state, dtype)
            return _Loaded(network, footprint(network))

        return self.cache.get((entry.name, dtype), build).network

    def _detector(self, state: dict[str, torch.Tensor], _: torch.dtype) -> Detector:
        return load_detector(state, self.device)

    def _parser(self, state: dict[str, torch.Tensor], dtype: torch.dtype) -> Parser:
        return load_parser(state, dtype, self.device)

    def _restorer(self, state: dict[str, torch.Tensor], dtype: torch.dtype) -> Restorer:
        return load_restorer(state, dtype, self.device)
