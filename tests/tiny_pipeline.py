"""A tiny Stable Diffusion of random weights as the files of the catalogue, and a tiny network that enlarges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

import tiny
import tiny_diffusion
from upscaling import weights
from upscaling.diffusion.architecture import Architecture
from upscaling.diffusion.networks import Library
from upscaling.superres.upscalers import Upscalers
from upscaling.weights.download import digest
from upscaling.weights.store import write

MODEL = "ultimate-sd-upscale"
CPU = torch.device("cpu")


def architecture() -> Architecture:
    """What the tiny networks are built from."""
    return Architecture(
        name="tiny",
        unet=_configuration(tiny_diffusion.unet()),
        controlnet=_configuration(tiny_diffusion.controlnet()),
        vae=_configuration(tiny_diffusion.vae()),
        text_encoder=tiny_diffusion.text_encoder().config.to_dict(),
    )


def write_weights(folder: Path) -> None:
    """Puts every checkpoint, the ControlNet and the upscalers where a server looks for weights."""
    states: dict[str, tiny.StateDict] = {}
    for seed, entry in enumerate(weights.of_model(MODEL)):
        match entry.kind:
            case None:
                states[entry.name] = tiny.rrdb(seed=seed)
            case "checkpoint":
                states[entry.name] = _checkpoint(10 * seed)
            case "controlnet":
                states[entry.name] = tiny_diffusion.controlnet(seed).state_dict()
            case "vae":
                states[entry.name] = tiny_diffusion.vae(seed).state_dict()
            case "lora":
                states[entry.name] = _lora(seed)
            case _:
                pass
    for name, state in states.items():
        _write(state, weights.entry(name), folder)


def _write(state: tiny.StateDict, entry: weights.Entry, folder: Path) -> None:
    """Like `write`, for files that are published as safetensors too: their checksum is that of the tiny ones."""
    manifest = write(state, entry, "tiny", folder) / "manifest.json"
    said = json.loads(manifest.read_text())
    said["files"] = {name: digest(manifest.parent / name) for name in said["files"]}
    manifest.write_text(json.dumps(said))


def library(folder: Path) -> Library:
    return Library(MODEL, folder, CPU, architecture())


def upscalers(folder: Path) -> Upscalers:
    return Upscalers(MODEL, folder, CPU)


def _checkpoint(seed: int) -> tiny.StateDict:
    """All networks in one file."""
    parts = {
        "model.diffusion_model.": tiny_diffusion.unet(seed),
        "first_stage_model.": tiny_diffusion.vae(seed + 1),
        "cond_stage_model.transformer.text_model.": tiny_diffusion.text_encoder(seed + 2),
    }
    return {
        f"{prefix}{name}": tensor.contiguous()
        for prefix, network in parts.items()
        for name, tensor in network.state_dict().items()
    }


def _lora(seed: int) -> tiny.StateDict:
    """A LoRA of rank 1 for a linear layer, as kohya-ss names it."""
    generator = torch.Generator().manual_seed(seed)
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    weight = tiny_diffusion.unet().get_submodule(name).weight
    key = f"lora_unet_{name.replace('.', '_')}"
    return {
        f"{key}.lora_down.weight": torch.randn(1, weight.shape[1], generator=generator),
        f"{key}.lora_up.weight": torch.randn(weight.shape[0], 1, generator=generator),
        f"{key}.alpha": torch.tensor(1.0),
    }


def _configuration(network: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in network.config.items() if not name.startswith("_")}
