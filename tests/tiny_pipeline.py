"""A tiny Stable Diffusion of random weights as the files of the catalogue, and a tiny network that enlarges.

Every file has the name and the layout of the published one, so a server or an image with this folder loads it as it
loads those. `make smoke-weights MODEL=ultimate-sd-upscale` writes them into the folder that images are built with.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import ldm
import tiny_diffusion
import torch
from handmade import vivid
from safetensors.torch import save_file

import tiny
from upscaling import weights
from upscaling.diffusion.networks import Library
from upscaling.superres.tiling import TileSize
from upscaling.superres.upscalers import Upscalers
from upscaling.weights.download import digest
from upscaling.weights.store import Manifest, write

MODEL = "ultimate-sd-upscale"
CPU = torch.device("cpu")
TILE = TileSize(64, 64)


def write_weights(folder: Path, model: str = MODEL) -> None:
    """Puts what the model uses where a server looks for weights; what is there already stays."""
    states: dict[str, tiny.StateDict] = {}
    for seed, entry in enumerate(weights.of_model(model)):
        if (folder / entry.name).exists():
            continue
        if len(entry.files) > 1:
            _write_parts(_parts(10 * seed), entry, folder)
            continue
        match entry.kind:
            case "superres":
                states[entry.name] = vivid(tiny.rrdb(channels=12 if "x2" in entry.name else 3, seed=seed))
            case "checkpoint":
                states[entry.name] = _checkpoint(10 * seed)
            case "controlnet":
                states[entry.name] = ldm.controlnet(tiny_diffusion.controlnet(seed).state_dict())
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


def _write_parts(parts: Mapping[str, tiny.StateDict], entry: weights.Entry, folder: Path) -> None:
    """Like `_write`, for a checkpoint with a folder for each network."""
    home = folder / entry.name
    for file in entry.files:
        path = home / file.stored
        path.parent.mkdir(parents=True)
        save_file(parts[path.parent.name], path)
    published = {file.path: file.sha256 for file in entry.files}
    files = {file.stored: digest(home / file.stored) for file in entry.files}
    manifest = Manifest("tiny", entry.licence, entry.origin, published, files)
    (home / "manifest.json").write_text(json.dumps(asdict(manifest)))


def library(folder: Path, model: str = MODEL) -> Library:
    return Library(model, folder, CPU)


def upscalers(folder: Path, model: str = MODEL) -> Upscalers:
    return Upscalers(model, folder, CPU)


def _checkpoint(seed: int) -> tiny.StateDict:
    """All networks in one file, in the original's names."""
    return {
        **ldm.unet(tiny_diffusion.unet(seed).state_dict()),
        **ldm.vae(tiny_diffusion.vae(seed + 1).state_dict()),
        **ldm.text_encoder(tiny_diffusion.text_encoder(seed + 2).state_dict()),
    }


def _parts(seed: int) -> dict[str, tiny.StateDict]:
    """All networks by diffusers' folders, in its names."""
    return {
        "unet": tiny_diffusion.unet(seed).state_dict(),
        "vae": tiny_diffusion.vae(seed + 1).state_dict(),
        "text_encoder": tiny_diffusion.text_encoder(seed + 2).state_dict(),
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


if __name__ == "__main__":
    write_weights(Path(sys.argv[1]), *sys.argv[2:])
