"""tools/weights.py: how a checksum that nobody published gets into the catalogue."""

from __future__ import annotations

import io
import tomllib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
import weights as tool
from local_server import ROOT
from loopback import Answer, Site, site

import tiny

CATALOGUE = """# What a maintainer wrote about the catalogue.

[wheel]
project = "carrier"
version = "1.0"
tag = { python = "3.11" }
sha256 = "11"

[models]
some-model = ["first-x4_net", "second", "third"]

[entries.first-x4_net]
sources = ["SITE"]
files."first.pth" = { }
licence = "MIT"  # as the repository says
origin = "this test"

# Its checksum is published.
[entries.second]
sources = [
    "SITE",
]
files."second.pth" = { size = 5, sha256 = "22" }
licence = "MIT"
origin = "this test"

[entries."third.1"]
sources = [
    "SITE",
    "SITE/copy",
]
files."known.json" = { size = 5, sha256 = "55" }
files."unet/third.pth" = { }
files."config.json" = { size = 2 }
licence = "MIT"
origin = "this test"

[entries.fourth]
sources = ["SITE"]
files."unet/third.pth" = { size = 5, sha256 = "44" }
licence = "MIT"
origin = "this test"
"""


@pytest.fixture
def host() -> Iterator[Site]:
    with site() as running:
        yield running


@pytest.fixture
def catalogue(host: Site, tmp_path: Path) -> Path:
    path = tmp_path / "weights.toml"
    path.write_text(CATALOGUE.replace("SITE", host.url))
    return path


def checkpoint(seed: int) -> bytes:
    file = io.BytesIO()
    torch.save({"params": tiny.srvgg(seed=seed)}, file)
    return file.getvalue()


def files(catalogue: Path, name: str) -> dict[str, Any]:
    return tomllib.loads(catalogue.read_text())["entries"][name]["files"]


def changed(before: str, after: str) -> list[str]:
    """The lines that are others than before, where no line came or went."""
    return [new for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if new != old]


def test_all_entries_without_a_checksum_get_one_and_nothing_else_changes(host: Site, catalogue: Path) -> None:
    before = catalogue.read_text()
    first, third = checkpoint(1), checkpoint(3)
    host.answer("/first.pth", Answer(first))
    host.answer("/unet/third.pth", Answer(third))
    host.answer("/config.json", Answer(b"{}"))
    assert tool.main(["pin", str(catalogue)]) == 0
    assert changed(before, catalogue.read_text()) == [
        f'files."first.pth" = {{ size = {len(first)}, sha256 = "{sha256(first).hexdigest()}" }}',
        f'files."unet/third.pth" = {{ size = {len(third)}, sha256 = "{sha256(third).hexdigest()}" }}',
        f'files."config.json" = {{ size = 2, sha256 = "{sha256(b"{}").hexdigest()}" }}',
    ]
    assert host.paths == ["/first.pth", "/unet/third.pth", "/config.json"]
    assert [path.name for path in catalogue.parent.iterdir()] == ["weights.toml"]


def test_entries_named_are_the_only_ones_fetched(
    host: Site, catalogue: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = checkpoint(1)
    host.answer("/first.pth", Answer(content))
    assert tool.main(["pin", str(catalogue), "first-x4_net"]) == 0
    assert capsys.readouterr().out == f"first-x4_net: first.pth: sha256 {sha256(content).hexdigest()}\n"
    assert files(catalogue, "third.1")["unet/third.pth"] == {}
    assert host.paths == ["/first.pth"]


def test_a_checksum_is_never_replaced(host: Site, catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = catalogue.read_text()
    host.answer("/second.pth", Answer(checkpoint(2)))
    assert tool.main(["pin", str(catalogue), "second"]) == 1
    assert "second already has a checksum" in capsys.readouterr().err
    assert catalogue.read_text() == before
    assert host.paths == []


@pytest.mark.parametrize(
    ("answer", "told"), [(Answer(status=404), "404"), (Answer(b"<html>Sign in</html>"), "not a checkpoint")]
)
def test_what_is_no_checkpoint_is_not_written_down_and_the_others_are(
    host: Site, catalogue: Path, capsys: pytest.CaptureFixture[str], answer: Answer, told: str
) -> None:
    host.answer("/first.pth", answer)
    host.answer("/unet/third.pth", Answer(checkpoint(3)))
    host.answer("/config.json", Answer(b"{}"))
    assert tool.main(["pin", str(catalogue)]) == 1
    said = capsys.readouterr().err
    assert f"{host.url}/first.pth: " in said
    assert told in said
    assert files(catalogue, "first-x4_net")["first.pth"] == {}
    assert all("sha256" in file for file in files(catalogue, "third.1").values())


def test_unknown_entries_and_commands_are_told(catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(["pin", str(catalogue), "x"]) == 1
    assert "there is no entry 'x'" in capsys.readouterr().err
    for arguments in (["unpin", str(catalogue)], ["pin"], []):
        assert tool.main(arguments) == 2
        assert "Usage: python tools/weights.py pin CATALOGUE" in capsys.readouterr().err


def test_every_file_of_the_true_catalogue_can_be_written_to() -> None:
    text = (ROOT / "shared" / "src" / "upscaling" / "weights" / "weights.toml").read_text()
    for name, row in tomllib.loads(text)["entries"].items():
        for path, known in row["files"].items():
            if "sha256" not in known:
                written = tool.with_checksum(text, name, path, 7, "ab")
                assert changed(text, written) == [f'files."{path}" = {{ size = 7, sha256 = "ab" }}']


def test_a_file_in_another_notation_is_not_changed(catalogue: Path) -> None:
    text = catalogue.read_text().replace('files."first.pth" = { }', 'files = {"first.pth" = {}}')
    with pytest.raises(tool.PinError, match='insert size = 7, sha256 = "ab" by hand'):
        tool.with_checksum(text, "first-x4_net", "first.pth", 7, "ab")
