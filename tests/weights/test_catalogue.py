from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import pytest
from local_server import ROOT

from upscaling import weights
from upscaling.errors import UpscalingError
from upscaling.weights.catalogue import Entry, File, address, catalogue

ENTRIES = catalogue().entries
SHA256 = re.compile(r"[0-9a-f]{64}")
KINDS = ("checkpoint", "controlnet", "vae", "lora")


@pytest.fixture(params=ENTRIES)
def entry(request: pytest.FixtureRequest) -> Entry:
    return ENTRIES[request.param]


def test_every_entry_is_complete(entry: Entry) -> None:
    assert weights.entry(entry.name) == entry
    assert re.fullmatch(r"[\w.-]+(?<!\.part)", entry.name)
    assert entry.licence
    assert re.fullmatch(r"[\w.-]+(/[\w.-]+)+", entry.origin)
    assert entry.files
    for file in entry.files:
        assert file.size is None or file.size > 0
        assert file.sha256 is None or SHA256.fullmatch(file.sha256)


def test_sources_are_https_or_a_hub_repository_at_a_commit_or_with_checksums(entry: Entry) -> None:
    assert entry.sources
    for source in entry.sources:
        hub = re.fullmatch(r"hf://[\w.-]+/[\w.-]+@([0-9a-f]{40}|main)(/[\w.-]+)*", source)
        assert hub or source.startswith("https://")
        # A branch moves, but what has a checksum does not.
        assert hub is None or hub[1] != "main" or entry.is_verifiable
        parts = urlsplit(address(source))
        assert (parts.scheme, parts.query, parts.fragment) == ("https", "", "")
        assert not parts.path.endswith("/")
        assert "huggingface.co" not in source


def test_paths_stay_in_the_folder_of_their_entry_and_apart(entry: Entry) -> None:
    for file in entry.files:
        path = PurePosixPath(file.path)
        assert re.fullmatch(r"[\w./-]+", file.path)
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert str(path) == file.path
    stored = [file.stored for file in entry.files]
    assert len({*stored, "manifest.json"}) == len(stored) + 1


def test_no_two_files_have_the_same_checksum() -> None:
    sums = [file.sha256 for entry in ENTRIES.values() for file in entry.files if file.sha256 is not None]
    assert len(set(sums)) == len(sums)


def test_the_wheel_has_single_files_only(entry: Entry) -> None:
    assert SHA256.fullmatch(catalogue().wheel.sha256)
    if entry.wheel_member is not None:
        (file,) = entry.files
        assert file.is_pickle


def test_licences_that_forbid_commercial_use_are_marked(entry: Entry) -> None:
    # Of GFPGAN's, components do.
    forbids = any(words in entry.licence for words in ("S-Lab", "CC BY-NC")) and "components" not in entry.licence
    assert entry.non_commercial == forbids
    assert {"codeformer", "4x-UltraSharp"} <= set(ENTRIES)


@pytest.mark.parametrize(("model", "upscalers"), [("ultimate-sd-upscale", 4), ("controlnet-tile", 4)])
def test_what_diffusion_models_use_has_its_kind(model: str, upscalers: int) -> None:
    found = {kind: [entry.name for entry in weights.of_model(model, kind)] for kind in KINDS}
    assert all(found.values())
    assert len(weights.of_model(model)) == upscalers + sum(map(len, found.values()))
    assert {entry.kind for entry in ENTRIES.values()} == {"superres", "face", *KINDS}


def test_every_project_lists_entries_that_there_are() -> None:
    assert set(catalogue().models) == {path.name for path in (ROOT / "models").iterdir()}
    for names in catalogue().models.values():
        assert set(names) <= set(ENTRIES)
        assert len(set(names)) == len(names)


def test_entries_are_found_by_model_in_its_order() -> None:
    assert [entry.name for entry in weights.of_model("codeformer")] == [
        "RealESRGAN_x2plus",
        "detection_Resnet50_Final",
        "parsing_parsenet",
        "codeformer",
    ]
    assert len(weights.of_model("swinir")) == 16
    assert weights.of_model("no-such-model") == ()


def test_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UpscalingError, match=r"E_INPUT: there is no network 'x'; there are RealESRGAN_x4plus, "):
        weights.entry("x")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("https://host/releases/v1", "https://host/releases/v1"),
        ("hf://owner/name@0123/inner/most", "https://huggingface.co/owner/name/resolve/0123/inner/most"),
        ("hf://owner/name@0123", "https://huggingface.co/owner/name/resolve/0123"),
    ],
)
def test_a_hub_repository_is_an_address_too(source: str, expected: str) -> None:
    assert address(source) == expected


@pytest.mark.parametrize(
    ("path", "stored"),
    [
        ("a.pth", "a.safetensors"),
        ("unet/model.v1.bin", "unet/model.v1.safetensors"),
        ("unet/model.fp16.safetensors", "unet/model.fp16.safetensors"),
        ("config.json", "config.json"),
    ],
)
def test_only_pickles_are_stored_under_another_name(path: str, stored: str) -> None:
    assert File(path).stored == stored


@pytest.mark.parametrize("model", sorted(catalogue().models))
def test_what_forbids_commercial_use_or_has_no_licence_is_kept_back_where_a_model_works_without(model: str) -> None:
    restricted = {
        entry.name
        for entry in weights.of_model(model)
        if entry.is_verifiable and (entry.non_commercial or entry.licence == "none found")
    }
    nothing_without = {"codeformer": {"codeformer"}}  # its README and its row say so
    assert set(catalogue().kept_back.get(model, ())) == restricted - nothing_without.get(model, set())
