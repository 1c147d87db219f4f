"""LoRAs of every published kind, folded as peft folds them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny_diffusion
import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from torch import nn

from upscaling.diffusion import lora
from upscaling.errors import Code, UpscalingError

# peft asks transformers' models by an old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

UNET, TEXT = tiny_diffusion.unet(), tiny_diffusion.text_encoder()
KNOWN = {"unet": lora.targets(UNET), "text_encoder": lora.targets(TEXT)}
LAYERS = ["to_q", "to_out.0", "proj_in", "conv1", "conv_shortcut", "q_proj", "out_proj", "fc1"]
"""Linear layers, 1×1 and 3×3 convolutions; in the text encoder too."""
STRENGTH = 0.7
State = dict[str, torch.Tensor]


def adapted(network: nn.Module, config: Any) -> PeftModel:
    """A copy of a tiny network with random additions of peft's."""
    own = tiny_diffusion.unet() if network is UNET else tiny_diffusion.text_encoder()
    torch.manual_seed(7)
    model = get_peft_model(own, config)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.2)
        assert parameter.requires_grad == ("lora_" in name or "hada_" in name or "lokr_" in name)
    return model


def factors(model: PeftModel) -> State:
    """peft's factors, without what its names begin with."""
    found = {
        name.removeprefix("base_model.model."): parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    assert found
    return found


def in_kohyas_names(found: Mapping[str, torch.Tensor], network: str, alpha: float | None) -> State:
    begin = {"unet": "lora_unet_", "text_encoder": "lora_te_text_model_"}[network]
    ends = {"lora_A.default.weight": "lora_down.weight", "lora_B.default.weight": "lora_up.weight"}
    state: State = {}
    for name, tensor in found.items():
        layer, kind, rest = next(name.partition(f".{kind}") for kind in ("lora_", "hada_", "lokr_") if kind in name)
        end = (kind + rest).removeprefix(".")
        key = begin + layer.replace(".", "_")
        state[f"{key}.{ends.get(end, end.removesuffix('.default'))}"] = tensor
        if alpha is not None:
            state[f"{key}.alpha"] = torch.tensor(alpha)
    return state


def written(state: Mapping[str, torch.Tensor], folder: Path) -> Path:
    path = folder / "lora.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def read(state: Mapping[str, torch.Tensor], folder: Path) -> lora.Lora:
    return lora.read(written(state, folder), "a", KNOWN)


def expected(model: PeftModel, strength: float) -> State:
    """The weights of the network with peft's additions, each times a strength."""
    before = model.get_base_model().state_dict()
    pristine = {name.replace(".base_layer.", "."): tensor.clone() for name, tensor in before.items()}
    after = model.merge_and_unload().state_dict()
    return {name: pristine[name] + strength * (tensor - pristine[name]) for name, tensor in after.items()}


def assert_folds(read_lora: lora.Lora, network: str, model: PeftModel) -> None:
    own = (UNET if network == "unet" else TEXT).state_dict()
    changed = 0
    for name, weight in expected(model, STRENGTH).items():
        found = lora.folded(own[name], network, name, [(read_lora, STRENGTH)])
        changed += int(not torch.equal(found, own[name]))
        torch.testing.assert_close(found, weight, rtol=1e-5, atol=1e-5, msg=name)
    assert changed == len(read_lora.additions) > 10


@pytest.mark.parametrize("network", ["unet", "text_encoder"])
@pytest.mark.parametrize("alpha", [None, 4.0, 1.5])
def test_kohyas_loras(network: str, alpha: float | None, tmp_path: Path) -> None:
    config = LoraConfig(r=4, lora_alpha=4 if alpha is None else alpha, target_modules=LAYERS)
    model = adapted(UNET if network == "unet" else TEXT, config)
    assert_folds(read(in_kohyas_names(factors(model), network, alpha), tmp_path), network, model)


@pytest.mark.parametrize("network", ["unet", "text_encoder"])
@pytest.mark.parametrize(
    ("down", "up"),
    [
        ("lora_A.weight", "lora_B.weight"),
        ("lora_A.default.weight", "lora_B.default.weight"),
        ("lora.down.weight", "lora.up.weight"),
        ("lora_linear_layer.down.weight", "lora_linear_layer.up.weight"),
    ],
)
@pytest.mark.parametrize("inner", ["", "text_model."])
def test_diffusers_loras(network: str, down: str, up: str, inner: str, tmp_path: Path) -> None:
    model = adapted(UNET if network == "unet" else TEXT, LoraConfig(r=4, lora_alpha=4, target_modules=LAYERS))
    begin = f"{network}.{inner if network == 'text_encoder' else ''}"
    ends = {"lora_A.default.weight": down, "lora_B.default.weight": up}
    state = {
        begin + name.partition("lora_")[0] + ends["".join(name.partition("lora_")[1:])]: tensor
        for name, tensor in factors(model).items()
    }
    assert_folds(read(state, tmp_path), network, model)


def test_pefts_own_files(tmp_path: Path) -> None:
    model = adapted(UNET, LoraConfig(r=4, lora_alpha=4, target_modules=LAYERS))
    model.save_pretrained(tmp_path / "saved")
    assert_folds(lora.read(tmp_path / "saved" / "adapter_model.safetensors", "a", KNOWN), "unet", model)


@pytest.mark.parametrize("begin", ["", "unet."])
def test_the_oldest_loras_of_diffusers_lie_in_attention_processors(begin: str, tmp_path: Path) -> None:
    layers = ["to_q", "to_k", "to_v", "to_out.0"]
    model = adapted(UNET, LoraConfig(r=4, lora_alpha=4, target_modules=layers))
    ends = {"lora_A.default.weight": "down", "lora_B.default.weight": "up"}
    state: State = {}
    for name, tensor in factors(model).items():
        layer, kind, rest = name.partition(".lora_")
        attention, _, own = layer.removesuffix(".0" if layer.endswith("to_out.0") else "").rpartition(".")
        state[f"{begin}{attention}.processor.{own}_lora.{ends[(kind + rest)[1:]]}.weight"] = tensor
    assert_folds(read(state, tmp_path), "unet", model)


@pytest.mark.parametrize("effective", [False, True], ids=["product", "core"])
@pytest.mark.parametrize("alpha", [None, 1.5])
def test_loha(effective: bool, alpha: float | None, tmp_path: Path) -> None:
    config = LoHaConfig(r=4, alpha=4 if alpha is None else alpha, target_modules=LAYERS, use_effective_conv2d=effective)
    model = adapted(UNET, config)
    found = factors(model)
    assert any("hada_t1" in name for name in found) == effective
    assert_folds(read(in_kohyas_names(found, "unet", alpha), tmp_path), "unet", model)


@pytest.mark.parametrize("effective", [False, True], ids=["product", "core"])
@pytest.mark.parametrize("both", [False, True], ids=["first-whole", "both-factored"])
@pytest.mark.parametrize("rank", [2, 64], ids=["factored", "whole"])
def test_lokr(effective: bool, both: bool, rank: int, tmp_path: Path) -> None:
    config = LoKrConfig(
        r=rank, alpha=1.5 if rank == 2 else rank, target_modules=LAYERS, use_effective_conv2d=effective,
        decompose_both=both,
    )  # fmt: skip
    model = adapted(UNET, config)
    found = factors(model)
    assert any("lokr_t2" in name for name in found) == (effective and rank == 2)
    # LyCORIS's factors that are whole have no rank, and no alpha to divide by it; peft divides all the same.
    state = in_kohyas_names(found, "unet", 1.5 if rank == 2 else None)
    without = {key.rpartition(".")[0] for key in state if key.endswith("lokr_w2")}
    scaled = {
        key: tensor * 1.5 / 2 if rank == 2 and key.endswith("lokr_w2") and key.rpartition(".")[0] in without
        and f"{key.rpartition('.')[0]}.lokr_w1" in state else tensor
        for key, tensor in state.items()
    }  # fmt: skip
    assert_folds(read(scaled, tmp_path), "unet", model)


@pytest.mark.parametrize(
    "config",
    [LoHaConfig(r=4, alpha=4, target_modules=LAYERS), LoKrConfig(r=64, alpha=64, target_modules=LAYERS)],
    ids=["loha", "lokr"],
)
def test_loha_and_lokr_of_the_text_encoder(config: Any, tmp_path: Path) -> None:
    model = adapted(TEXT, config)
    assert_folds(read(in_kohyas_names(factors(model), "text_encoder", None), tmp_path), "text_encoder", model)


def test_locon_with_a_middle_is_three_convolutions_in_a_row(tmp_path: Path) -> None:
    torch.manual_seed(0)
    name = "down_blocks.0.resnets.0.conv1.weight"
    weight = UNET.state_dict()[name]
    down, mid, up = (
        torch.randn(3, weight.shape[1], 1, 1),
        torch.randn(3, 3, 3, 3),
        torch.randn(weight.shape[0], 3, 1, 1),
    )
    key = "lora_unet_down_blocks_0_resnets_0_conv1"
    state = {f"{key}.lora_down.weight": down, f"{key}.lora_mid.weight": mid, f"{key}.lora_up.weight": up,
             f"{key}.alpha": torch.tensor(1.5)}  # fmt: skip
    folded = lora.folded(weight, "unet", name, [(read(state, tmp_path), STRENGTH)])
    x = torch.randn(1, weight.shape[1], 8, 8)
    conv = nn.functional.conv2d
    inner = conv(conv(conv(x, down), mid, padding=1), up)
    torch.testing.assert_close(
        conv(x, folded, padding=1), conv(x, weight, padding=1) + STRENGTH * 0.5 * inner, rtol=1e-4, atol=1e-4
    )


def small(strength: float = 1.0, key: str = "lora_unet_conv_in") -> State:
    torch.manual_seed(1)
    return {f"{key}.lora_down.weight": strength * torch.randn(2, 4, 3, 3),
            f"{key}.lora_up.weight": torch.randn(tiny_diffusion.WIDTHS[0], 2, 1, 1)}  # fmt: skip


def test_several_loras_add_up(tmp_path: Path) -> None:
    weight = UNET.state_dict()["conv_in.weight"]
    (tmp_path / "b").mkdir()
    one, two = read(small(), tmp_path), read(small(3), tmp_path / "b")
    both = lora.folded(weight, "unet", "conv_in.weight", [(one, 1.0), (two, -0.5)])
    torch.testing.assert_close(both, lora.folded(weight, "unet", "conv_in.weight", [(one, -0.5)]))


def test_half_precision_is_added_in_fp32(tmp_path: Path) -> None:
    weight = UNET.state_dict()["conv_in.weight"]
    half = read({name: tensor.half() for name, tensor in small().items()}, tmp_path)
    folded = lora.folded(weight.half(), "unet", "conv_in.weight", [(half, 1.0)])
    assert folded.dtype is torch.float32
    assert not torch.equal(folded, folded.half().float())


@pytest.mark.parametrize(
    "key",
    [
        "lora_unet_no_such_layer.lora_down.weight",
        "lora_unet_conv_in.dora_scale",
        "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight",
        "unet.conv_in.weight",
        "lora_unet_conv_norm_out.lora_up.weight",
    ],
)
def test_a_key_that_fits_nothing_is_named(key: str, tmp_path: Path) -> None:
    with pytest.raises(UpscalingError, match="which fits no layer") as raised:
        read(small() | {key: torch.zeros(1)}, tmp_path)
    assert raised.value.code is Code.WEIGHTS
    assert repr(key) in raised.value.message


def test_a_layer_has_its_factors_once(tmp_path: Path) -> None:
    state = small() | {"unet.conv_in.lora_A.weight": torch.zeros(2, 4, 3, 3)}
    with pytest.raises(UpscalingError, match="the LoRA a has two tensors for") as raised:
        read(state, tmp_path)
    assert raised.value.code is Code.WEIGHTS


def headed(tmp_path: Path, settings: dict[str, Any]) -> Path:
    path = tmp_path / "a.safetensors"
    save_file(small(key="unet.conv_in"), path, {"lora_adapter_metadata": json.dumps(settings)})
    return path


def test_alpha_may_stand_in_diffusers_head(tmp_path: Path) -> None:
    weight = UNET.state_dict()["conv_in.weight"]
    settings = {"unet.lora_alpha": 3, "unet.use_dora": False, "unet.alpha_pattern": {}, "text_encoder.lora_alpha": 9}
    read_lora = lora.read(headed(tmp_path, settings), "a", KNOWN)
    folded = lora.folded(weight, "unet", "conv_in.weight", [(read_lora, 1.0)])
    plain = lora.folded(weight, "unet", "conv_in.weight", [(read(small(), tmp_path), 1.0)])
    torch.testing.assert_close(folded - weight, 1.5 * (plain - weight))


@pytest.mark.parametrize(
    "settings", [{"unet.use_dora": True}, {"unet.use_rslora": True}, {"unet.alpha_pattern": {"conv_in": 2}}]
)
def test_methods_that_are_not_supported_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UpscalingError, match=f"was made with {next(iter(settings))}, which is not supported") as raised:
        lora.read(headed(tmp_path, settings), "a", KNOWN)
    assert raised.value.code is Code.WEIGHTS


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lora_unet_conv_in.lora_down.weight": torch.zeros(2, 9, 3, 3)}, "2592 values for 1152"),
        ({"lora_unet_conv_in.lora_down.weight": torch.zeros(5, 4, 3, 3)}, "factors are missing"),
        ({"lora_unet_conv_in.lora_down.weight": None}, "factors are missing"),
    ],
)
def test_another_networks_lora_is_refused(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in (small() | change).items() if tensor is not None}
    with pytest.raises(UpscalingError, match=f"a does not fit conv_in.weight \\({reason}") as raised:
        lora.folded(UNET.state_dict()["conv_in.weight"], "unet", "conv_in.weight", [(read(state, tmp_path), 1.0)])
    assert raised.value.code is Code.WEIGHTS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        (" , ", ()),
        ("a", (("a", 1.0),)),
        ("a:0.5, b : -1,c:2", (("a", 0.5), ("b", -1.0), ("c", 2.0))),
    ],
)
def test_loras_are_named_with_their_strengths(text: str, expected: tuple[tuple[str, float], ...]) -> None:
    assert lora.parsed(text) == expected


@pytest.mark.parametrize("text", ["a:much", "a:nan", "b, a:1:2"])
def test_a_strength_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(UpscalingError, match=r"^E_INPUT: loras holds 'a:") as raised:
        lora.parsed(text)
    assert raised.value.code is Code.INPUT
