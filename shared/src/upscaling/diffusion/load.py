"""Loads diffusion networks from published files: built on the meta device, then filled tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from upscaling import weights
from upscaling.diffusion import architecture, layouts
from upscaling.diffusion.architecture import Configuration, Shapes
from upscaling.errors import Code, UpscalingError
from upscaling.runtime.precision import without_tf32

Module = TypeVar("Module", bound=nn.Module)

Fold = Callable[[str, torch.Tensor], torch.Tensor]
"""Changes a published tensor, given its name in the network, before it is cast to the run's type."""


@dataclass(frozen=True)
class Part(Generic[Module]):
    """One of the networks that a set of published weights holds."""

    title: str
    """What messages call it."""
    folder: str
    """Its folder in sets of files with diffusers' layout."""
    prefix: str
    """What its tensors' names begin with in single files of all networks."""
    own_name: Callable[[str], str]
    """From a published name without that prefix to the network's own."""
    configuration: Callable[[Shapes], Configuration]
    """What it is built from, by the shapes of its tensors."""
    build: Callable[[Configuration], Module]
    unused: tuple[str, ...] = ()
    """Prefixes of published names that the network does not use."""

    def built(self, shapes: Shapes) -> Module:
        """The network on the meta device: shapes without memory. Without `shapes`, it has the published sizes."""
        with torch.device("meta"):
            return self.build(self.configuration(shapes)).eval().requires_grad_(False)

    def built_for(self, path: Path) -> Module:
        """The network on the meta device, in the sizes of a safetensors file."""
        return self.built({own: shape for own, _, shape in _tensors(self, path)})


UNET = Part(
    "UNet", "unet", "model.diffusion_model.", layouts.unet, architecture.unet,
    lambda configuration: UNet2DConditionModel(**configuration),
)  # fmt: skip
CONTROLNET = Part(
    "ControlNet", "controlnet", "control_model.", layouts.controlnet, architecture.controlnet,
    lambda configuration: ControlNetModel(**configuration),
)  # fmt: skip
VAE = Part(
    "VAE", "vae", "first_stage_model.", layouts.vae, architecture.vae,
    lambda configuration: AutoencoderKL(**configuration),
    unused=("loss.", "model_ema."),
)  # fmt: skip
TEXT_ENCODER = Part(
    "text encoder", "text_encoder", "cond_stage_model.transformer.", layouts.text_encoder, architecture.text_encoder,
    lambda configuration: CLIPTextModel(CLIPTextConfig(**configuration)),
    unused=("embeddings.position_ids",),
)  # fmt: skip


def load(
    part: Part[Module],
    path: Path,
    dtype: torch.dtype,
    device: torch.device,
    fold: Fold | None = None,
) -> Module:
    """A network from a safetensors file, in the layout of the original code or of diffusers.

    The file may hold other networks too; its shapes say how wide this one is. Convolutions are channels last. Raises
    E_WEIGHTS, naming the tensors, if tensors are missing, unknown, or of another shape.
    """
    without_tf32()
    module = part.built_for(path)
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    published = _published(part, wanted, path)
    state: dict[str, torch.Tensor] = {}
    for name, tensor in zip(published, weights.tensors(path, published.values()), strict=True):
        tensor = tensor.reshape(wanted[name])  # the original's attention has 1×1 convolutions for linear layers
        if fold is not None:
            tensor = fold(name, tensor)
        form = torch.channels_last if tensor.ndim == 4 else torch.preserve_format
        state[name] = tensor.to(device=device, dtype=dtype, memory_format=form)
    module.load_state_dict(state, assign=True)
    _fill_buffers(module, device)
    return module.requires_grad_(False)


def file_of(part: Part[Module], entry: weights.Entry, folder: Path) -> Path:
    """The file of an entry that holds a network: its only one, or the one in the network's folder.

    Raises E_WEIGHTS if there is none.
    """
    files = [file.stored for file in entry.files if len(entry.files) == 1 or file.stored.startswith(f"{part.folder}/")]
    if len(files) != 1:
        raise UpscalingError(Code.WEIGHTS, f"the weights {entry.name} have no {part.title}. Choose other weights.")
    return folder / files[0]


def nbytes(module: nn.Module, dtype: torch.dtype | None = None) -> int:
    """Bytes of a network's tensors, as they are or as they would be in another type."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * (dtype or tensor.dtype).itemsize for tensor in tensors)


def _published(part: Part[Module], wanted: Mapping[str, tuple[int, ...]], path: Path) -> dict[str, str]:
    """The published name of each of a network's tensors, in the order of the file."""
    found: dict[str, str] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    twice: set[str] = set()
    for own, name, shape in _tensors(part, path):
        twice.update({own} & found.keys())
        found[own], shapes[own] = name, shape
    problems = {
        "lacks": wanted.keys() - found.keys(),
        "has unknown tensors:": found.keys() - wanted.keys(),
        "has twice": twice,
        "has in another shape": {
            own for own, shape in shapes.items() if own in wanted and not _fits(shape, wanted[own])
        },
    }
    said = "; ".join(f"it {problem} {_listed(names)}" for problem, names in problems.items() if names)
    if said:
        raise UpscalingError(
            Code.WEIGHTS, f"{path.parent.name}/{path.name} is not a {part.title} of the kind that is needed: {said}."
        )
    return found


def _tensors(part: Part[Module], path: Path) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """The tensors of a network in a file, in its order: the network's own name, the published name and the shape."""
    shapes = weights.shapes(path)
    prefix = part.prefix if any(name.startswith(part.prefix) for name in shapes) else ""
    for name, shape in shapes.items():
        own = part.own_name(name.removeprefix(prefix))
        if name.startswith(prefix) and not own.startswith(part.unused):
            yield own, name, shape


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return shape == wanted or (len(wanted) == 2 and shape[:2] == wanted and set(shape[2:]) == {1})


def _listed(names: Collection[str]) -> str:
    first, *others = sorted(names)
    return f"{first} and {len(others)} more" if others else first


def _fill_buffers(module: nn.Module, device: torch.device) -> None:
    """Fills the buffers that no file holds: the text encoder's position ids."""
    if isinstance(module, CLIPTextModel):
        positions = torch.arange(module.config.max_position_embeddings, device=device)
        module.embeddings.register_buffer("position_ids", positions[None], persistent=False)
    assert not any(tensor.is_meta for tensor in [*module.parameters(), *module.buffers()])
