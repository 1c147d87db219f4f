"""The networks of a request: by the catalogue's names, from baked folders, kept between requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import ldm
import pytest
import tiny_diffusion
import tiny_pipeline
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn

from upscaling import weights
from upscaling.diffusion import blocks, networks
from upscaling.diffusion.load import nbytes
from upscaling.diffusion.networks import Library
from upscaling.errors import Code, UpscalingError
from upscaling.runtime import memory
from upscaling.runtime.footprint import footprint
from upscaling.weights import Entry, File
from upscaling.weights.store import Manifest

CPU = torch.device("cpu")
UNET, VAE, TEXT = tiny_diffusion.unet(), tiny_diffusion.vae(), tiny_diffusion.text_encoder()
CONTROLNET, OTHER_VAE = tiny_diffusion.controlnet(), tiny_diffusion.vae(seed=9)
OTHER_UNET = tiny_diffusion.unet(seed=8)

ENTRIES = {
    entry.name: entry
    for entry in (
        Entry("single", "none", "this test", (), (File("single.safetensors"),), kind="checkpoint"),
        Entry("folders", "none", "this test", (),
              (File("unet/a.fp16.safetensors"), File("text_encoder/b.safetensors"), File("vae/c.safetensors")),
              kind="checkpoint"),
        Entry("no-vae", "none", "this test", (), (File("unet/a.safetensors"), File("text_encoder/b.safetensors")),
              kind="checkpoint"),
        Entry("tile", "none", "this test", (), (File("tile.pth"),), kind="controlnet"),
        Entry("other-vae", "none", "this test", (), (File("other.safetensors"),), kind="vae"),
        Entry("detail", "none", "this test", (), (File("detail.safetensors"),), kind="lora"),
        Entry("wrong", "none", "this test", (), (File("wrong.safetensors"),), kind="lora"),
        Entry("easy", "none", "this test", (), (File("easy.pt"),), kind="embedding"),
    )
}  # fmt: skip


def detail(key: str = "lora_unet_conv_in") -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {f"{key}.lora_down.weight": torch.randn(2, 4, 3, 3),
            f"{key}.lora_up.weight": torch.randn(tiny_diffusion.WIDTHS[0], 2, 1, 1)}  # fmt: skip


CONTENT: dict[str, Mapping[str, torch.Tensor]] = {
    "single/single.safetensors": {
        **ldm.unet(UNET.state_dict()), **ldm.vae(VAE.state_dict()), **ldm.text_encoder(TEXT.state_dict()),
    },
    "folders/unet/a.fp16.safetensors": OTHER_UNET.state_dict(),
    "folders/text_encoder/b.safetensors": {f"text_model.{name}": value for name, value in TEXT.state_dict().items()},
    "folders/vae/c.safetensors": OTHER_VAE.state_dict(),
    "no-vae/unet/a.safetensors": UNET.state_dict(),
    "no-vae/text_encoder/b.safetensors": TEXT.state_dict(),
    "tile/tile.safetensors": ldm.controlnet(CONTROLNET.state_dict()),
    "other-vae/other.safetensors": ldm.vae(OTHER_VAE.state_dict(), prefix=""),
    "detail/detail.safetensors": detail(),
    "wrong/wrong.safetensors": detail("lora_unet_input_blocks_99"),
    "easy/easy.safetensors": {"string_to_param.*": torch.ones(2, tiny_diffusion.TEXT_WIDTH)},
}  # fmt: skip


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """All entries of the test in a baked folder, and no other."""
    for name, state in CONTENT.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: value.clone() for key, value in state.items()}, path)
    for entry in ENTRIES.values():
        store_manifest(tmp_path / entry.name, entry)

    def of_model(model: str, kind: str | None = None) -> tuple[Entry, ...]:
        assert model == "a-model"
        return tuple(entry for entry in ENTRIES.values() if entry.kind == kind)

    monkeypatch.setattr(weights, "of_model", of_model)
    monkeypatch.setenv("UPSCALING_DTYPE", "float32")
    return Library("a-model", tmp_path, CPU)


def store_manifest(folder: Path, entry: Entry) -> None:
    manifest = Manifest(f"from {entry.name}", "none", "this test", {file.path: None for file in entry.files}, {})
    (folder / "manifest.json").write_text(json.dumps(asdict(manifest)))


def assert_equal(network: nn.Module, expected: nn.Module) -> None:
    """Apart from weights that are packed for oneDNN, which no state dict has."""
    state, wanted = network.state_dict(), expected.state_dict()
    common = state.keys() & wanted.keys()
    assert len(common) > len(wanted) / 4
    for name in common:
        assert torch.equal(state[name], wanted[name]), name


@torch.inference_mode()
def first_states(unet: UNet2DConditionModel) -> torch.Tensor:
    """What the layer gives that the LoRA changes."""
    return unet.conv_in(torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)))


def prepared_size(network: nn.Module) -> int:
    """Bytes of a network once its weights are packed."""
    copy = deepcopy(network)
    blocks.prepare(copy)
    return footprint(copy)


def test_a_single_file_gives_all_networks(library: Library) -> None:
    found = library.get("single", controlnets=["tile"])
    assert len(found.controlnets) == 1
    for network, expected in (
        (found.unet, UNET), (found.vae, VAE), (found.text_encoder, TEXT), (found.controlnets[0], CONTROLNET),
    ):  # fmt: skip
        assert_equal(network, expected)
    assert found.source == "from single, from tile"


def test_a_set_of_files_gives_all_networks(library: Library) -> None:
    found = library.get("folders")
    assert found.controlnets == ()
    for network, expected in ((found.unet, OTHER_UNET), (found.vae, OTHER_VAE), (found.text_encoder, TEXT)):
        assert_equal(network, expected)


def test_another_autoencoder_takes_the_place_of_the_checkpoints(library: Library) -> None:
    assert_equal(library.get("single", vae="other-vae").vae, OTHER_VAE)
    assert_equal(library.get("no-vae", vae="other-vae").vae, OTHER_VAE)
    with pytest.raises(UpscalingError, match="the weights no-vae have no VAE") as raised:
        library.get("no-vae")
    assert raised.value.code is Code.WEIGHTS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"checkpoint": "no"}, "no checkpoint 'no'; there are single, folders, no-vae"),
        ({"checkpoint": "tile"}, "no checkpoint 'tile'; there are"),
        ({"checkpoint": "single", "controlnets": ["no"]}, "no controlnet 'no'; there are tile"),
        ({"checkpoint": "single", "vae": "no"}, "no vae 'no'; there are other-vae"),
        ({"checkpoint": "single", "loras": (("no", 1.0),)}, "no lora 'no'; there are detail, wrong"),
        ({"checkpoint": "single", "loras": (("no", 0.0),)}, "no lora 'no'; there are detail, wrong"),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(
    arguments: dict[str, object], message: str, library: Library
) -> None:
    with pytest.raises(UpscalingError, match=message) as raised:
        library.get(**arguments)  # type: ignore[arg-type]  parametrized
    assert raised.value.code is Code.INPUT


def test_networks_are_kept_between_requests(library: Library) -> None:
    first, second = library.get("single", controlnets=["tile"]), library.get("single", controlnets=["tile"])
    assert first == second
    other = library.get("single", vae="other-vae")
    assert other.unet is first.unet
    assert other.vae is not first.vae


def test_what_is_held_is_counted(library: Library) -> None:
    library.get("single", controlnets=["tile"])
    assert library.cache.nbytes == sum(map(prepared_size, (UNET, CONTROLNET, VAE))) + nbytes(TEXT)


def test_loras_are_folded_from_the_file_each_time(library: Library) -> None:
    plain = first_states(UNET)
    added = first_states(library.get("single", loras=(("detail", 0.5),)).unet) - plain
    assert added.abs().max() > 0.1
    twice = first_states(library.get("single", loras=(("detail", -1.0),)).unet)
    torch.testing.assert_close(twice, plain - 2 * added, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(first_states(library.get("single").unet), plain, rtol=1e-5, atol=1e-5)
    assert library.get("single", loras=(("detail", 0.0),)).unet is library.get("single").unet


def test_a_lora_that_is_named_twice_is_added_once(library: Library) -> None:
    halves = library.get("single", loras=(("detail", 0.75), ("detail", -0.5)))
    assert halves.unet is library.get("single", loras=(("detail", 0.25),)).unet
    assert library.get("single", loras=(("detail", 1.0), ("detail", -1.0))).unet is library.get("single").unet


def test_requests_with_other_loras_do_not_meet(library: Library) -> None:
    plain, added = library.get("single"), library.get("single", loras=(("detail", 1.0),))
    assert plain.vae is added.vae
    assert_equal(plain.unet, UNET)
    torch.testing.assert_close(first_states(plain.unet), first_states(UNET), rtol=1e-5, atol=1e-5)
    assert (first_states(added.unet) - first_states(plain.unet)).abs().max() > 0.1


def test_a_lora_of_other_networks_is_refused_by_name(library: Library) -> None:
    with pytest.raises(UpscalingError, match="the LoRA wrong has 'lora_unet_input_blocks_99") as raised:
        library.get("single", loras=(("wrong", 1.0),))
    assert raised.value.code is Code.WEIGHTS


def test_networks_make_room_before_they_are_read(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """No two sets are in memory where only one has room, and what was freed is given back."""
    whole = prepared_size(UNET) + nbytes(TEXT) + prepared_size(VAE)
    small = Library("a-model", library.baked, CPU, most_kept=whole + 1000)
    small.get("single")
    assert small.cache.nbytes == whole
    held: list[int] = []
    trimmed: list[None] = []
    load = networks.load

    def watched(*arguments: object) -> nn.Module:
        held.append(small.cache.nbytes)
        return load(*arguments)  # type: ignore[arg-type]  as they came

    monkeypatch.setattr(networks, "load", watched)
    monkeypatch.setattr(networks, "trim", lambda: trimmed.append(None))
    small.get("folders")
    assert max(held) <= whole
    assert held[0] < nbytes(UNET) + nbytes(TEXT)
    assert trimmed
    assert small.cache.nbytes <= whole + 1000


def test_room_for_another_checkpoint_does_not_change_what_memory_is_kept(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is made in the middle of a request, whose tiles keep their memory until its end.
    changed: list[tuple[object, ...]] = []
    monkeypatch.setattr(memory, "_MALLOPT", lambda *values: changed.append(values))
    small = Library("a-model", library.baked, CPU, most_kept=1)
    for name in ("single", "folders"):
        small.get(name)
    assert changed == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_one_set_of_true_size_is_kept_and_a_second_checkpoint_takes_its_place(dtype: torch.dtype) -> None:
    base = sum(nbytes(part.built({}), dtype) for part in (networks.UNET, networks.TEXT_ENCODER))
    controlnet = nbytes(networks.CONTROLNET.built({}), dtype)
    vae = nbytes(networks.VAE.built({}), torch.float32)  # the widest that it has
    assert base + vae + 2 * controlnet <= networks.most_kept(dtype) < 2 * base


def test_the_type_of_the_device_says_how_much_is_kept(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    monkeypatch.setattr(networks, "ModelCache", kept.append)
    for dtype in ("float32", "float16"):
        monkeypatch.setenv("UPSCALING_DTYPE", dtype)
        _ = Library("a-model", library.baked, CPU).cache
    assert kept == [7 << 30, 7 << 29]


def test_a_load_that_fails_leaves_the_library_usable(library: Library) -> None:
    path = library.baked / "folders" / "unet" / "a.fp16.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(UpscalingError, match="are damaged"):
        library.get("folders")
    path.write_bytes(content)
    assert_equal(library.get("folders").unet, OTHER_UNET)


def test_the_run_is_in_the_type_that_the_environment_names(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSCALING_DTYPE", "float16")
    found = library.get("single", controlnets=["tile"])
    assert len(found.controlnets) == 1
    assert found.unet.dtype is found.text_encoder.dtype is found.controlnets[0].dtype is torch.float16
    assert found.vae.dtype is torch.float32


def test_embeddings_are_found_by_name(library: Library) -> None:
    (name,), (vectors,) = library.embeddings().keys(), library.embeddings().values()
    assert name == "easy"
    assert vectors.shape == (2, tiny_diffusion.TEXT_WIDTH)


def test_tiny_weights_never_take_the_place_of_others(tmp_path: Path) -> None:
    names = {entry.name for entry in weights.of_model(tiny_pipeline.MODEL)}
    for name in names:
        (tmp_path / name).mkdir()
    tiny_pipeline.write_weights(tmp_path)
    assert {path.name for path in tmp_path.rglob("*")} == names
