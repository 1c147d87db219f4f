"""Diffusion at Stable Diffusion 1.5's true size, beside diffusers' pipeline; written to benchmarks/README.md.

Usage: python benchmarks/diffusion.py ultimate-sd-upscale [--part steps] [--size 512] [--pairs 2] [--no-write]

A part is steps (a tile's denoising steps with guidance and a ControlNet), vae (a tile to latents and back), memory
(peak memory of loading and of both) or profile (where the time of a step and of the autoencoder goes). Weights are
random: they change no time. Ours is prepared as a `Library` does.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionControlNetImg2ImgPipeline
from machine import description, kind, load, peak_memory, reset_peak_memory
from report import README, put, table
from safetensors.torch import save_file
from torch import nn
from torch.profiler import ProfilerActivity, profile

from upscaling.diffusion import blocks
from upscaling.diffusion import load as loading
from upscaling.diffusion.guidance import Control, Guidance, guided
from upscaling.diffusion.load import CONTROLNET, TEXT_ENCODER, UNET, VAE, Part
from upscaling.diffusion.vae import decoded, encoded
from upscaling.runtime.device import choose_device, choose_dtype
from upscaling.runtime.memory import keep_freed_memory

_SIGMA = 0.5
_OURS, _DEFAULT = "ours", "diffusers-float32"
_TOKENS, _WIDTH = 77, 768
_KINDS = {
    "aten::mkldnn_convolution": "convolutions",
    "mkldnn::_convolution_pointwise": "convolutions",
    "mkldnn::_linear_pointwise": "linear layers",
    "aten::_scaled_dot_product_flash_attention_for_cpu": "attention",
    "aten::addmm": "linear layers",
    "aten::mm": "linear layers",
    "aten::native_group_norm": "group norms",
    "aten::native_layer_norm": "layer norms",
    "aten::copy_": "copies",
    "aten::gelu": "activations",
    "aten::silu": "activations",
    "aten::silu_": "activations",
    "aten::cat": "concatenation",
    "aten::add": "additions",
    "aten::add_": "additions",
    "aten::mul": "multiplications",
}


@dataclass(frozen=True)
class Set:
    """The networks that a tile is redrawn with; some may be None."""

    unet: Any
    controlnet: Any
    vae: Any

    def changed(self, **options: Any) -> Set:
        """A copy in another type or layout."""
        networks = (self.unet, self.controlnet, self.vae)
        return Set(*(network and _copied(network).to(**options) for network in networks))

    def ours(self, dtype: torch.dtype) -> Set:
        """A copy as a `Library` gives it."""
        made = self.changed(dtype=dtype, memory_format=torch.channels_last)
        for network in filter(None, (made.unet, made.controlnet, made.vae)):
            blocks.prepare(network)
        return made


def made(part: Part[Any]) -> Any:
    """A network of true size, with random weights in fp32 in the layout that torch gives them."""
    network = part.built({}).to_empty(device="cpu")
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.02)
    return network


def step_seconds(networks: Set, size: int) -> Callable[[], float]:
    """One of our denoising steps of a tile: two prompts and a ControlNet."""
    latents, hint, text = _inputs(size)
    guidance = Guidance(text, text, cfg=8)
    denoise = guided(networks.unet, guidance, Control(networks.controlnet, hint, 1.0))
    return lambda: timed(lambda: denoise(latents, _SIGMA))


def pipeline_of(networks: Set) -> StableDiffusionControlNetImg2ImgPipeline:
    """diffusers' own pipeline; it is given prompts as the text encoder gives them."""
    pipeline = StableDiffusionControlNetImg2ImgPipeline(
        vae=networks.vae, unet=networks.unet, controlnet=networks.controlnet, text_encoder=None, tokenizer=None,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def pipeline_step_seconds(networks: Set, size: int) -> Callable[[], float]:
    """One denoising step of diffusers' pipeline: the time between two of its steps' ends."""
    latents, hint, text = (tensor.to(networks.unet.dtype) for tensor in _inputs(size))
    pipeline = pipeline_of(networks)

    def run() -> float:
        ends: list[float] = []

        def ended(_: object, __: int, ___: object, values: dict[str, Any]) -> dict[str, Any]:
            ends.append(perf_counter())
            return values

        # The first step's start cannot be seen, so two are run.
        pipeline(
            prompt_embeds=text, negative_prompt_embeds=text, image=latents, control_image=hint, strength=0.2,
            num_inference_steps=10, guidance_scale=8.0, output_type="latent", callback_on_step_end=ended,
        )  # fmt: skip
        return ends[-1] - ends[-2]

    return run


def steps(size: int, pairs: int) -> str:
    """Seconds a tile-step: ours, diffusers in fp32 as it comes, and diffusers in our type."""
    theirs = Set(made(UNET), made(CONTROLNET), made(VAE))
    dtype = choose_dtype(choose_device())
    runs = {
        _OURS: step_seconds(theirs.ours(dtype), size),
        _DEFAULT: pipeline_step_seconds(theirs, size),
    }
    if dtype is not torch.float32:
        runs[f"diffusers-{_name(dtype)}"] = pipeline_step_seconds(theirs.changed(dtype=dtype), size)
    return (
        f"Seconds a denoising step of one {size}×{size} tile, two prompts and a ControlNet; ours in {_name(dtype)}.\n\n"
        f"{compared(runs, pairs)}"
    )


def vae(size: int, pairs: int) -> str:
    """Seconds to decode and to encode a tile."""
    theirs = made(VAE)
    dtype = choose_dtype(choose_device())
    ours = Set(None, None, theirs).ours(dtype).vae
    same = _copied(theirs).to(dtype=dtype)
    latents, pixels, _ = _inputs(size)

    def published(network: Any, what: str) -> Callable[[], float]:
        given = (latents if what == "decode" else pixels).to(network.dtype)
        return torch.inference_mode()(lambda: timed(lambda: getattr(network, what)(given)))

    parts: list[str] = []
    for what, own in (("decode", lambda: decoded(latents, ours)), ("encode", lambda: encoded(pixels, ours))):
        runs = {_OURS: lambda own=own: timed(own), _DEFAULT: published(theirs, what)}
        if dtype is not torch.float32:
            runs[f"diffusers-{_name(dtype)}"] = published(same, what)
        parts.append(f"Seconds to {what} one {size}×{size} tile; ours in {_name(dtype)}.\n\n{compared(runs, pairs)}")
    return "\n\n".join(parts)


def memory(size: int, _: int) -> str:
    """Peak memory of loading a published-size set from files in fp16, and of a step and the autoencoder after it."""
    device = choose_device()
    dtype = choose_dtype(device)
    with tempfile.TemporaryDirectory() as folder:
        paths = {part: Path(folder) / f"{part.folder}.safetensors" for part in (UNET, CONTROLNET, VAE, TEXT_ENCODER)}
        for part, path in paths.items():
            save_file({name: torch.zeros(tensor.shape, dtype=torch.float16)
                       for name, tensor in part.built({}).state_dict().items()}, path)  # fmt: skip
        reset_peak_memory()
        begun = perf_counter()
        loaded: dict[Part[Any], Any] = {}
        for part, path in paths.items():
            loaded[part] = loading.load(part, path, dtype, device)
            if part is not TEXT_ENCODER:
                blocks.prepare(loaded[part])
        took, peaks = perf_counter() - begun, {"loading": peak_memory()}
    networks = Set(loaded[UNET], loaded[CONTROLNET], loaded[VAE])
    latents, pixels, _text = _inputs(size)
    for name, run in (
        ("a denoising step", step_seconds(networks, size)),
        ("decoding", lambda: decoded(latents, networks.vae)),
        ("encoding", lambda: encoded(pixels, networks.vae)),
    ):
        reset_peak_memory()
        run()
        peaks[name] = peak_memory()
    rows = [[name, f"{peak / 2**20:,.0f}"] for name, peak in peaks.items()]
    return (
        f"Peak memory of the process in {_name(dtype)}, one {size}×{size} tile; loading from fp16 files took"
        f" {took:.1f} s.\n\n{table(['while', 'MiB'], rows)}"
    )


def profiled(size: int, _: int) -> str:
    """Where the time of our step goes, and that of our autoencoder."""
    dtype = choose_dtype(choose_device())
    networks = Set(made(UNET), made(CONTROLNET), made(VAE)).ours(dtype)
    latents, pixels, _text = _inputs(size)
    runs: dict[str, Callable[[], object]] = {
        "A denoising step": step_seconds(networks, size),
        "Decoding": lambda: decoded(latents, networks.vae),
        "Encoding": lambda: encoded(pixels, networks.vae),
    }
    return "\n\n".join(_profile(name, run, f"{_name(dtype)}, a {size}×{size} tile") for name, run in runs.items())


def _profile(name: str, run: Callable[[], object], of: str) -> str:
    run()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        whole = timed(run)
    taken: Counter[str] = Counter()
    for event in seen.events():
        taken[_KINDS.get(event.name, event.name)] += event.self_cpu_time_total / 1e6
    rows = [[kind, f"{spent:.2f}", f"{100 * spent / whole:.0f} %"] for kind, spent in taken.most_common(8)]
    return f"{name} of {whole:.2f} s in {of}.\n\n{table(['work', 'seconds', 'share'], rows)}"


PARTS = {"steps": steps, "vae": vae, "memory": memory, "profile": profiled}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=["ultimate-sd-upscale"])
    parser.add_argument("--part", choices=PARTS, default="steps")
    parser.add_argument("--size", type=int, default=512, help="side of the tile in pixels")
    parser.add_argument("--pairs", type=int, default=2, help="rounds that are measured")
    parser.add_argument("--no-write", dest="write", action="store_false", help="prints only")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    busy = load()
    measured = PARTS[options.part](options.size, options.pairs)
    measured = f"{measured}\n\n- Load before the run {busy}.\n{description('torch', 'diffusers')}"
    print(measured)
    if options.write:
        put(README, f"diffusion {options.part}", kind(), measured)
    return 0


def compared(runs: Mapping[str, Callable[[], float]], pairs: int) -> str:
    """Rounds of all, every other one in reverse order, after one that warms up."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for done in range(pairs + 1):
        for name in list(runs) if done % 2 else reversed(runs):
            spent = runs[name]()
            print(f"round {done}, {name}: {spent:.2f} s", file=sys.stderr, flush=True)
            if done:
                taken[name].append(spent)
    rows = [[name, f"{median(spent):.2f}", _ratios(spent, taken[_OURS])] for name, spent in taken.items()]
    return table(["contender", "seconds", f"÷ {_OURS}, median (least–most)"], rows)


def _ratios(spent: list[float], ours: list[float]) -> str:
    found = [theirs / own for theirs, own in zip(spent, ours, strict=True)]
    return f"{median(found):.2f} ({min(found):.2f}–{max(found):.2f})"


def _inputs(size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(1, 4, size // 8, size // 8), torch.rand(1, 3, size, size), torch.randn(1, _TOKENS, _WIDTH)


def _copied(network: nn.Module) -> nn.Module:
    return deepcopy(network)


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    begun = perf_counter()
    call()
    return perf_counter() - begun


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
