"""The networks of a request, loaded at their first use and kept for the next one."""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Generic, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel

from upscaling import weights
from upscaling.diffusion import blocks, embeddings, lora
from upscaling.diffusion.load import CONTROLNET, TEXT_ENCODER, UNET, VAE, Part, file_of, load, nbytes
from upscaling.diffusion.prompts import Embeddings
from upscaling.diffusion.vae import vae_dtype
from upscaling.errors import Code, UpscalingError
from upscaling.runtime.cache import ModelCache
from upscaling.runtime.device import choose_dtype
from upscaling.runtime.footprint import footprint
from upscaling.runtime.memory import release, trim

logger = logging.getLogger(__name__)

Module = TypeVar("Module", bound=nn.Module)

_WORTH_COLLECTING = 1 << 28  # bytes of a network, whose loading takes longer than to collect garbage
# Values of a type: one set with two ControlNets, its autoencoder in fp32 beside 16 bit, has 1.87 · 10⁹; two checkpoints
# have 1.97 · 10⁹.
_MOST_KEPT = 7 << 28


def most_kept(dtype: torch.dtype) -> int:
    """Bytes of networks that stay loaded, for a type: one set, so a second checkpoint takes the first one's place.

    A set in a wider type, as after E_NONFINITE, does not stay whole.
    """
    return _MOST_KEPT * dtype.itemsize


@dataclass(frozen=True)
class Networks:
    """The networks that redraw a picture."""

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    vae: AutoencoderKL
    controlnets: tuple[ControlNetModel, ...]
    source: str
    """Where the weights were downloaded from."""


@dataclass(frozen=True)
class _Loaded(Generic[Module]):
    """A network as the cache keeps it."""

    module: Module
    source: str
    nbytes: int


@dataclass(frozen=True)
class _Base:
    """The networks that LoRAs change."""

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    source: str
    nbytes: int


@dataclass(frozen=True)
class Library:
    """Gives requests their networks, and keeps networks loaded between requests."""

    model: str
    """The name of the Cog project in the catalogue."""
    baked: Path
    """The folder with the weights in the image; they are searched here first."""
    device: torch.device
    most_kept: int | None = None
    """Bytes of networks that stay loaded; None is one set."""

    @cached_property
    def cache(self) -> ModelCache:
        """What stays loaded. Room is made before a network is read: two sets are never in memory."""
        return ModelCache(most_kept(self.dtype) if self.most_kept is None else self.most_kept)

    def get(
        self,
        checkpoint: str,
        controlnets: Sequence[str] = (),
        vae: str | None = None,
        loras: Sequence[tuple[str, float]] = (),
        dtype: torch.dtype | None = None,
    ) -> Networks:
        """The networks of the catalogue's names; without `vae`, the checkpoint's own.

        LoRAs are added in order, each times its strength. `dtype` is the fastest type by default. Raises E_INPUT for an
        unknown name, and E_WEIGHTS if weights are not available or do not fit.
        """
        dtype = dtype or self.dtype
        self.check(checkpoint, controlnets, vae, loras)
        entry = self._entry(checkpoint, "checkpoint")
        base = self._base(entry, self._loras(loras), dtype)
        own = self._network(VAE, entry if vae is None else self._entry(vae, "vae"), vae_dtype(dtype, self.device))
        controls = [self._network(CONTROLNET, self._entry(name, "controlnet"), dtype) for name in controlnets]
        sources = [base.source, own.source, *(control.source for control in controls)]
        modules = tuple(control.module for control in controls)
        return Networks(base.unet, base.text_encoder, own.module, modules, ", ".join(dict.fromkeys(sources)))

    def check(
        self,
        checkpoint: str,
        controlnets: Sequence[str] = (),
        vae: str | None = None,
        loras: Sequence[tuple[str, float]] = (),
    ) -> None:
        """Raises E_INPUT for an unknown name, also of a LoRA of no strength; no weights are looked for."""
        named = [(checkpoint, "checkpoint"), *((name, "controlnet") for name in controlnets)]
        named += [(name, "lora") for name, _ in loras]
        for name, kind in named if vae is None else [*named, (vae, "vae")]:
            self._entry(name, kind)

    @property
    def dtype(self) -> torch.dtype:
        """The fastest type of the device."""
        return choose_dtype(self.device)

    def embeddings(self) -> Embeddings:
        """The textual inversions of the model by name."""
        return {
            entry.name: embeddings.read(weights.ensure(entry, self.baked) / entry.files[0].stored)
            for entry in weights.of_model(self.model, "embedding")
        }

    def _entry(self, name: str, kind: str) -> weights.Entry:
        known = {entry.name: entry for entry in weights.of_model(self.model, kind)}
        if name not in known:
            raise UpscalingError(Code.INPUT, f"there is no {kind} {name!r}; there are {', '.join(known) or 'none'}.")
        return known[name]

    def _loras(self, loras: Sequence[tuple[str, float]]) -> tuple[tuple[weights.Entry, float], ...]:
        strengths: dict[str, float] = {}  # a LoRA that is named twice is added once
        for name, strength in loras:
            strengths[name] = strengths.get(name, 0) + strength
        return tuple((self._entry(name, "lora"), strength) for name, strength in strengths.items() if strength != 0)

    def _base(self, entry: weights.Entry, loras: tuple[tuple[weights.Entry, float], ...], dtype: torch.dtype) -> _Base:
        def build() -> _Base:
            folder, source = self._ensured(entry)
            unet_file, text_file = file_of(UNET, entry, folder), file_of(TEXT_ENCODER, entry, folder)
            unet, text_encoder = UNET.built_for(unet_file), TEXT_ENCODER.built_for(text_file)
            self._make_room(nbytes(unet, dtype) + nbytes(text_encoder, dtype))
            known = {"unet": lora.targets(unet), "text_encoder": lora.targets(text_encoder)}
            read = [(self._lora(added, known), strength) for added, strength in loras]

            def fold(network: str, name: str, tensor: torch.Tensor) -> torch.Tensor:
                return lora.folded(tensor, network, name, read)

            unet = load(UNET, unet_file, dtype, self.device, partial(fold, "unet"))
            blocks.prepare(unet)
            text_encoder = load(TEXT_ENCODER, text_file, dtype, self.device, partial(fold, "text_encoder"))
            return _Base(unet, text_encoder, source, footprint(unet, text_encoder))

        names = tuple((added.name, strength) for added, strength in loras)
        return self.cache.get((entry.name, names, dtype), build)

    def _network(self, part: Part[Module], entry: weights.Entry, dtype: torch.dtype) -> _Loaded[Module]:
        def build() -> _Loaded[Module]:
            folder, source = self._ensured(entry)
            file = file_of(part, entry, folder)
            self._make_room(nbytes(part.built_for(file), dtype))
            module = load(part, file, dtype, self.device)
            blocks.prepare(module)
            return _Loaded(module, source, footprint(module))

        return self.cache.get((part.title, entry.name, dtype), build)

    def _lora(self, entry: weights.Entry, known: dict[str, list[str]]) -> lora.Lora:
        folder, _ = self._ensured(entry)
        return lora.read(folder / entry.files[0].stored, entry.name, known)

    def _ensured(self, entry: weights.Entry) -> tuple[Path, str]:
        folder = weights.ensure(entry, self.baked)
        source = weights.source(folder)
        logger.info("Weights %s, downloaded from %s", entry.name, source)
        return folder, source

    def _make_room(self, size: int) -> None:
        if self.cache.make_room(size) or size >= _WORTH_COLLECTING:
            # Networks refer to themselves, and an earlier request may still have used some when they were dropped.
            gc.collect()
            trim()
            release(self.device)
