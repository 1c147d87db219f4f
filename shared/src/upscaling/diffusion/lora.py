"""LoRA files: small additions to the weights of a UNet and a text encoder.

An addition is computed in fp32 and added to the published weight before it is cast to the run's type. Nothing is ever
subtracted: a request with other LoRAs reads the file again.

Formulas: LoRA (Hu et al. 2021), LoHa and LoKr (Yeh et al. 2023, LyCORIS), with kohya-ss's and diffusers' names.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from upscaling import weights
from upscaling.errors import Code, UpscalingError
from upscaling.runtime.memory import is_out_of_memory
from upscaling.values import shown

Factors = dict[str, torch.Tensor]
"""The tensors of one addition, by the names that LyCORIS gives them."""

# How a key ends, and the factor that it holds. kohya-ss's ends come first, then those of diffusers and peft; a point
# before the end belongs to it.
_ENDS = {
    r"\.lora_down\.weight": "down",
    r"\.lora_up\.weight": "up",
    r"\.lora_mid\.weight": "mid",
    r"\.alpha": "alpha",
    r"\.(?P<plain>hada_w[12]_[ab]|hada_t[12]|lokr_w[12]|lokr_w[12]_[ab]|lokr_t2)": "",
    r"\.lora_A(\.default)?\.weight": "down",
    r"\.lora_B(\.default)?\.weight": "up",
    r"(_lora|\.lora|\.lora_linear_layer)\.down\.weight": "down",
    r"(_lora|\.lora|\.lora_linear_layer)\.up\.weight": "up",
}
_BEGINS = {
    "lora_unet_": "unet",
    "lora_te_text_model_": "text_encoder",
    "lora_te1_text_model_": "text_encoder",
    "base_model_model_text_model_": "text_encoder",
    "base_model_model_": "unet",
    "unet_base_model_model_": "unet",
    "unet_": "unet",
    "text_encoder_text_model_": "text_encoder",
    "text_encoder_": "text_encoder",
}


@dataclass(frozen=True)
class Lora:
    """A LoRA file: what it adds to which weights."""

    name: str
    additions: Mapping[tuple[str, str], Factors]
    """By network ("unet" or "text_encoder") and the name of the weight in it."""


def targets(network: nn.Module) -> list[str]:
    """The names of the weights that a LoRA can add to: those of linear layers and convolutions."""
    layers = cast("Iterable[tuple[str, nn.Module]]", network.named_modules())
    return [f"{name}.weight" for name, layer in layers if isinstance(layer, nn.Linear | nn.Conv2d)]


def read(path: Path, name: str, known: Mapping[str, Iterable[str]]) -> Lora:
    """The LoRA in a safetensors file; `known` are the `targets` of each network.

    Raises E_WEIGHTS, naming the key, for one that is of no known kind or fits nothing.
    """
    flat = {
        (network, weight.removesuffix(".weight").replace(".", "_")): weight
        for network, names in known.items()
        for weight in names
    }
    additions: dict[tuple[str, str], Factors] = {}
    for key, tensor in weights.state_dict(path).items():
        layer, factor = _end(key)
        network, layer = _begin(layer.replace(".", "_"))
        weight = flat.get((network, _today(layer)))
        if weight is None or not factor:
            raise UpscalingError(
                Code.WEIGHTS,
                f"the LoRA {name} has {key!r}, which fits no layer of these networks."
                " Choose a LoRA for Stable Diffusion 1.5.",
            )
        factors = additions.setdefault((network, weight), {})
        if factor in factors:
            raise UpscalingError(
                Code.WEIGHTS, f"the LoRA {name} has two tensors for {key!r}. Download it again, or choose another one."
            )
        factors[factor] = tensor
    alphas = _alphas(weights.metadata(path), name)
    for (network, _), factors in additions.items():
        if network in alphas:
            factors.setdefault("alpha", torch.tensor(alphas[network]))
    return Lora(name, additions)


def folded(weight: torch.Tensor, network: str, name: str, loras: Iterable[tuple[Lora, float]]) -> torch.Tensor:
    """A weight with what LoRAs add to it, each times its strength; in fp32 where one does, else as it is.

    Raises E_WEIGHTS where an addition is incomplete or has another size.
    """
    for lora, strength in loras:
        factors = lora.additions.get((network, name))
        if factors is None:
            continue
        added = _addition({factor: tensor.float() for factor, tensor in factors.items()})
        if added is None or added.numel() != weight.numel():
            size = "factors are missing" if added is None else f"{added.numel()} values for {weight.numel()}"
            raise UpscalingError(
                Code.WEIGHTS,
                f"the LoRA {lora.name} does not fit {name} ({size}). Choose a LoRA for Stable Diffusion 1.5.",
            )
        weight = weight.float() + strength * added.reshape(weight.shape)
    return weight


def parsed(text: str) -> tuple[tuple[str, float], ...]:
    """The names and strengths of an input `name:strength, …`; a name without a strength has 1.

    Raises E_INPUT for a strength that is not a finite number.
    """
    return tuple(_named(part.strip()) for part in text.split(",") if part.strip())


def _named(part: str) -> tuple[str, float]:
    name, _, number = part.partition(":")
    try:
        strength = float(number or 1)
    except ValueError:
        strength = math.nan
    if not math.isfinite(strength):
        raise UpscalingError(
            Code.INPUT, f"loras holds {shown(part)}; write name:weight with commas between, such as detail:0.5."
        )
    return name.strip(), strength


def _alphas(said: Mapping[str, str], name: str) -> dict[str, float]:
    """The alpha of each network's layers, where diffusers wrote it into the file's head (since 0.34).

    Raises E_WEIGHTS where layers differ, or where the head names a method that is not supported.
    """
    settings: dict[str, Any] = json.loads(said.get("lora_adapter_metadata", "{}"))
    for setting, value in settings.items():
        if value and setting.endswith((".use_dora", ".use_rslora", ".alpha_pattern")):
            raise UpscalingError(
                Code.WEIGHTS, f"the LoRA {name} was made with {setting}, which is not supported. Choose another one."
            )
    ends = ".lora_alpha"
    return {key.removesuffix(ends): float(alpha) for key, alpha in settings.items() if key.endswith(ends)}


def _end(key: str) -> tuple[str, str]:
    """A key's layer and factor; the factor is empty for an end that is not known."""
    for end, factor in _ENDS.items():
        match = re.search(f"{end}$", key)
        if match:
            return key[: match.start()], factor or match["plain"]
    return key, ""


def _begin(layer: str) -> tuple[str, str]:
    """The network of a layer, and the layer's name in it; diffusers' oldest files name the UNet's alone."""
    for begin, network in _BEGINS.items():
        if layer.startswith(begin):
            return network, layer.removeprefix(begin)
    return "unet", layer


def _today(layer: str) -> str:
    """The name of a layer whose LoRA diffusers kept in its attention processor, before 0.22."""
    layer = re.sub(r"_processor_(to_[qkv])$", r"_\1", layer)
    layer = re.sub(r"_processor_to_out$", "_to_out_0", layer)
    layer = re.sub(r"_self_attn_to_([qkv])$", r"_self_attn_\1_proj", layer)
    return re.sub(r"_self_attn_to_out$", "_self_attn_out_proj", layer)


def _addition(factors: Factors) -> torch.Tensor | None:
    """The product of factors, times alpha over their rank, of the weight's size; None where one is missing."""
    try:
        if "lokr_w1" in factors or "lokr_w1_a" in factors:
            product, rank = _lokr(factors)
        elif "hada_w1_a" in factors:
            product = _product(factors, "hada_w1", "hada_t1") * _product(factors, "hada_w2", "hada_t2")
            rank = len(factors["hada_w1_b"])
        else:
            product, rank = _lora(factors), len(factors["down"])
    except KeyError:
        return None
    except RuntimeError as error:  # their shapes do not go together
        if is_out_of_memory(error):
            raise
        return None
    if "alpha" in factors and rank is not None:
        product = product * (factors["alpha"].item() / rank)
    return product


def _lora(factors: Factors) -> torch.Tensor:
    up, down = factors["up"].flatten(1), factors["down"].flatten(1)
    if "mid" in factors:
        return torch.einsum("or,rskl,si->oikl", up, factors["mid"], down)
    return up @ down


def _lokr(factors: Factors) -> tuple[torch.Tensor, int | None]:
    first = factors["lokr_w1"] if "lokr_w1" in factors else _product(factors, "lokr_w1")
    second = factors["lokr_w2"] if "lokr_w2" in factors else _product(factors, "lokr_w2", "lokr_t2")
    ranks = [len(factors[name]) for name in ("lokr_w2_b", "lokr_w1_b") if name in factors]
    first = first.reshape(*first.shape, *[1] * (second.ndim - first.ndim))
    return torch.kron(first, second.contiguous()), ranks[0] if ranks else None


def _product(factors: Factors, name: str, core: str = "") -> torch.Tensor:
    """a · b, or by way of a convolution's core, which both are then transposed to."""
    a, b = factors[f"{name}_a"], factors[f"{name}_b"]
    return torch.einsum("abkl,ao,bi->oikl", factors[core], a, b) if core in factors else a @ b
