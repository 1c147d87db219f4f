"""Diffusion networks from files in the layouts of published ones; no network is asked, and memory holds one copy."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ldm
import pytest
import tiny_diffusion
import torch
from diffusers.loaders.single_file_utils import (
    convert_controlnet_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from safetensors.torch import save_file
from torch import nn

from upscaling.diffusion import layouts
from upscaling.diffusion.load import CONTROLNET, TEXT_ENCODER, UNET, VAE, Part, load, nbytes
from upscaling.errors import Code, UpscalingError

CPU = torch.device("cpu")
FIELDS = ("unet", "controlnet", "vae", "text_encoder")
PARTS: dict[str, Part[Any]] = {"unet": UNET, "controlnet": CONTROLNET, "vae": VAE, "text_encoder": TEXT_ENCODER}
NETWORKS: dict[str, nn.Module] = {name: getattr(tiny_diffusion, name)() for name in FIELDS}
STATES = {name: network.state_dict() for name, network in NETWORKS.items()}
WRITTEN: dict[str, Callable[[Mapping[str, torch.Tensor]], ldm.State]] = {name: getattr(ldm, name) for name in FIELDS}


def checkpoint() -> ldm.State:
    """A single file: three networks, and what else published ones hold."""
    return {
        **ldm.unet(STATES["unet"]),
        **ldm.vae(STATES["vae"]),
        **ldm.text_encoder(STATES["text_encoder"]),
        "alphas_cumprod": torch.rand(1000),
        "model_ema.decay": torch.tensor(0.9999),
        "cond_stage_model.logit_scale": torch.tensor(4.6),
    }


def loaded(name: str, path: Path, dtype: torch.dtype = torch.float32) -> nn.Module:
    return load(PARTS[name], path, dtype, CPU)


def saved(state: Mapping[str, torch.Tensor], path: Path) -> Path:
    save_file({name: tensor.clone() for name, tensor in state.items()}, path)
    return path


def assert_equal(network: nn.Module, expected: Mapping[str, torch.Tensor]) -> None:
    state = network.state_dict()
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(state[name], tensor, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("name", ["unet", "vae", "text_encoder"])
def test_single_files_give_every_network(name: str, tmp_path: Path) -> None:
    assert_equal(loaded(name, saved(checkpoint(), tmp_path / "a.safetensors")), STATES[name])


@pytest.mark.parametrize("name", FIELDS)
def test_files_of_one_network_in_the_original_layout(name: str, tmp_path: Path) -> None:
    assert_equal(loaded(name, saved(WRITTEN[name](STATES[name]), tmp_path / "a.safetensors")), STATES[name])


@pytest.mark.parametrize("name", FIELDS)
def test_files_without_a_prefix(name: str, tmp_path: Path) -> None:
    bare = {key.removeprefix(PARTS[name].prefix): tensor for key, tensor in WRITTEN[name](STATES[name]).items()}
    assert_equal(loaded(name, saved(bare, tmp_path / "a.safetensors")), STATES[name])


@pytest.mark.parametrize("name", FIELDS)
def test_files_in_diffusers_layout(name: str, tmp_path: Path) -> None:
    assert_equal(loaded(name, saved(STATES[name], tmp_path / "a.safetensors")), STATES[name])


def test_autoencoders_with_the_names_of_old_diffusers(tmp_path: Path) -> None:
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def renamed(key: str) -> str:
        for new, before in old.items():
            key = key.replace(f"attentions.0.{new}.", f"attentions.0.{before}.")
        return key

    state = {renamed(key): tensor for key, tensor in STATES["vae"].items()}
    assert any("proj_attn" in key for key in state)
    assert_equal(loaded("vae", saved(state, tmp_path / "a.safetensors")), STATES["vae"])


def test_autoencoders_may_come_with_their_loss(tmp_path: Path) -> None:
    state = ldm.vae(STATES["vae"], prefix="") | {"loss.logvar": torch.zeros(1), "model_ema.decay": torch.zeros(1)}
    assert_equal(loaded("vae", saved(state, tmp_path / "a.safetensors")), STATES["vae"])


def test_the_original_layout_is_what_diffusers_reads() -> None:
    config = {"layers_per_block": 2}
    blocks = {"down_block_types": [0] * 4, "up_block_types": [0] * 4}
    converted = {
        "unet": convert_ldm_unet_checkpoint(ldm.unet(STATES["unet"]), config),
        "controlnet": convert_controlnet_checkpoint(ldm.controlnet(STATES["controlnet"]), config),
        "vae": convert_ldm_vae_checkpoint(ldm.vae(STATES["vae"]), blocks),
    }
    for name, state in converted.items():
        assert_equal(NETWORKS[name], state)


@pytest.mark.parametrize(("name", "count"), [("unet", 686), ("controlnet", 340), ("vae", 248), ("text_encoder", 196)])
def test_true_networks_have_the_published_number_of_tensors(name: str, count: int) -> None:
    part = PARTS[name]
    state = part.built({}).state_dict()
    assert len(state) == count
    own = getattr(layouts, name)
    for key in WRITTEN[name](state):
        assert own(key.removeprefix(part.prefix)) in {*state, "embeddings.position_ids"}


def test_true_networks_have_the_published_size() -> None:
    """Of control_v11f1e_sd15_tile_fp16, vae-ft-mse-840000 and v1-5-pruned-emaonly; the rest is names and offsets."""
    sizes = {name: nbytes(part.built({}), torch.float16) for name, part in PARTS.items()}
    assert 0 < 722_601_104 - sizes["controlnet"] < 100_000
    assert 0 < 334_641_190 - 2 * sizes["vae"] < 100_000
    assert 0 < 4_265_146_304 - 2 * (sizes["unet"] + sizes["vae"] + sizes["text_encoder"]) < 400_000


@pytest.mark.parametrize("name", FIELDS)
def test_sizes_are_those_of_the_file(name: str) -> None:
    part = PARTS[name]
    shapes = {key: tuple(tensor.shape) for key, tensor in part.built({}).state_dict().items()}
    assert part.configuration(shapes) == part.configuration({})
    tiny = {key: tuple(tensor.shape) for key, tensor in STATES[name].items()}
    assert {key: tuple(tensor.shape) for key, tensor in part.built(tiny).state_dict().items()} == tiny


@pytest.mark.parametrize(
    ("name", "key", "shape"),
    [
        ("unet", "down_blocks.2.resnets.0.conv1.weight", (1300, 640, 3, 3)),
        ("vae", "encoder.down_blocks.0.resnets.0.conv1.weight", ()),
        ("text_encoder", "embeddings.token_embedding.weight", (49408, 700)),
        ("text_encoder", "embeddings.token_embedding.weight", (49408, 0)),
    ],
)
def test_sizes_that_no_such_network_has_are_the_published_ones(name: str, key: str, shape: tuple[int, ...]) -> None:
    part = PARTS[name]
    assert part.configuration({key: shape}) == part.configuration({})


@pytest.mark.parametrize("published", [torch.float32, torch.float16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_take_the_runs_type(published: torch.dtype, dtype: torch.dtype, tmp_path: Path) -> None:
    state = {name: tensor.to(published) for name, tensor in ldm.unet(STATES["unet"]).items()}
    network = loaded("unet", saved(state, tmp_path / "a.safetensors"), dtype)
    assert_equal(network, {name: tensor.to(published).to(dtype) for name, tensor in STATES["unet"].items()})


def test_convolutions_are_channels_last_and_nothing_can_be_trained(tmp_path: Path) -> None:
    network = loaded("unet", saved(STATES["unet"], tmp_path / "a.safetensors"))
    assert not network.training
    for parameter in network.parameters():
        assert not parameter.requires_grad
        assert parameter.ndim != 4 or parameter.is_contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def test_networks_compute_what_they_computed_before_they_were_written(tmp_path: Path) -> None:
    torch.manual_seed(0)
    latents, text, hint = (
        torch.randn(1, 4, 8, 8),
        torch.randn(1, 77, tiny_diffusion.TEXT_WIDTH),
        torch.rand(1, 3, 64, 64),
    )
    path = saved(checkpoint(), tmp_path / "a.safetensors")
    control = saved(ldm.controlnet(STATES["controlnet"]), tmp_path / "b.safetensors")
    calls: dict[str, Callable[[Any], torch.Tensor]] = {
        "unet": lambda unet: unet(latents, 5, text).sample,
        "controlnet": lambda net: net(latents, 5, text, hint).mid_block_res_sample,
        "vae": lambda vae: vae.decode(latents).sample,
        "text_encoder": lambda encoder: encoder(torch.arange(77)[None]).last_hidden_state,
    }
    for name, call in calls.items():
        network = loaded(name, control if name == "controlnet" else path)
        torch.testing.assert_close(call(network), call(NETWORKS[name]), rtol=1e-4, atol=1e-4)


def failure(name: str, path: Path) -> str:
    with pytest.raises(UpscalingError) as raised:
        loaded(name, path)
    assert raised.value.code is Code.WEIGHTS
    return raised.value.message


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    state = checkpoint()
    del state["model.diffusion_model.out.2.bias"], state["model.diffusion_model.middle_block.0.in_layers.0.weight"]
    message = failure("unet", saved(state, tmp_path / "a.safetensors"))
    assert "a.safetensors is not a UNet" in message
    assert "it lacks conv_out.bias and 1 more." in message


def test_what_is_foreign_is_named(tmp_path: Path) -> None:
    state = checkpoint() | {"first_stage_model.encoder.extra.weight": torch.zeros(1)}
    message = failure("vae", saved(state, tmp_path / "a.safetensors"))
    assert message.endswith("it has unknown tensors: encoder.extra.weight.")


def test_what_has_another_shape_is_named(tmp_path: Path) -> None:
    state = checkpoint()
    state["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(tiny_diffusion.WIDTHS[0], 9, 3, 3)
    message = failure("unet", saved(state, tmp_path / "inpainting.safetensors"))
    assert message.endswith("it has in another shape conv_in.weight.")


def test_what_is_there_twice_is_named(tmp_path: Path) -> None:
    state = ldm.text_encoder(STATES["text_encoder"])
    name = "cond_stage_model.transformer.text_model.final_layer_norm.bias"
    state[name.replace("text_model.", "")] = state[name]
    assert failure("text_encoder", saved(state, tmp_path / "a.safetensors")).endswith(
        "it has twice final_layer_norm.bias."
    )


def test_another_network_is_refused(tmp_path: Path) -> None:
    assert "it lacks " in failure("controlnet", saved(ldm.unet(STATES["unet"]), tmp_path / "a.safetensors"))


def test_a_file_that_is_cut_is_refused(tmp_path: Path) -> None:
    path = saved(checkpoint(), tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    assert "are damaged" in failure("unet", path)


def test_nothing_comes_from_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object) -> None:
        raise AssertionError("a connection was asked for")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, cut)
    monkeypatch.setattr(socket, "getaddrinfo", cut)
    path = saved(checkpoint(), tmp_path / "a.safetensors")
    for name in ("unet", "vae", "text_encoder"):
        loaded(name, path)
    for part in PARTS.values():
        part.built({})


IMPORTS = """
import sys
# As in a container, which has none of them; torchvision it has, but needs it for other models.
for name in ("accelerate", "peft", "torchvision", "scipy", "controlnet_aux", "k_diffusion"):
    sys.modules[name] = None
import upscaling.diffusion.networks
heavy = ("diffusers.pipelines", "transformers.pipelines", "transformers.models.bert", "torch.utils.tensorboard",
         "pandas", "sklearn", "cv2", "matplotlib", "spandrel")
print([name for name in heavy if name in sys.modules])
"""


def test_only_what_is_used_is_imported() -> None:
    found = subprocess.run([sys.executable, "-c", IMPORTS], check=True, capture_output=True, text=True, timeout=120)
    assert found.stdout.strip() == "[]"


READING = """
import resource, sys, torch
from pathlib import Path
from upscaling.diffusion.load import VAE, load, nbytes
resource_of = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = resource_of()
vae = load(VAE, Path(sys.argv[1]), torch.float32, torch.device("cpu"))
print(1024 * (resource_of() - before) / nbytes(vae))
"""


def test_memory_holds_one_copy(tmp_path: Path) -> None:
    state = VAE.built({}).state_dict()
    written = ldm.vae({name: torch.zeros(tensor.shape) for name, tensor in state.items()})
    path = saved(written, tmp_path / "a.safetensors")
    ran = subprocess.run(
        [sys.executable, "-c", READING, str(path)], check=True, capture_output=True, text=True, timeout=120
    )
    assert float(ran.stdout) < 1.3


def test_fp32_on_a_gpu_is_not_tf32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    loaded("vae", saved(STATES["vae"], tmp_path / "a.safetensors"))
    assert not torch.backends.cudnn.allow_tf32
