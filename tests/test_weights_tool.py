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

[networks.first-x4_net]
models = ["some-model"]
file = "first.pth"
urls = ["SITE/first.pth"]
licence = "MIT"  # as the repository says
fp16_safe = true
origin = "this test"

# Its checksum is published.
[networks.second]
models = ["some-model"]
file = "second.pth"
urls = [
    "SITE/second.pth",
]
bytes = 5
sha256 = "22"
licence = "MIT"
fp16_safe = true
origin = "this test"

[networks.third]
models = ["some-model"]
file = "third.pth"
urls = [
    "SITE/third.pth",
    "SITE/copy/third.pth",
]
licence = "MIT"
fp16_safe = false
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


def rows(catalogue: Path) -> dict[str, Any]:
    return tomllib.loads(catalogue.read_text())["networks"]


def added(before: str, after: str) -> list[str]:
    """The lines that came in, where no other line changed."""
    lines = iter(before.splitlines())
    old = next(lines, None)
    new: list[str] = []
    for line in after.splitlines():
        if line == old:
            old = next(lines, None)
        else:
            new.append(line)
    assert old is None
    return new


def test_all_networks_without_a_checksum_get_one_and_nothing_else_changes(host: Site, catalogue: Path) -> None:
    before = catalogue.read_text()
    first, third = checkpoint(1), checkpoint(3)
    host.answer("/first.pth", Answer(first))
    host.answer("/third.pth", Answer(third))
    assert tool.main(["pin", str(catalogue)]) == 0
    assert added(before, catalogue.read_text()) == [
        f"bytes = {len(first)}",
        f'sha256 = "{sha256(first).hexdigest()}"',
        f"bytes = {len(third)}",
        f'sha256 = "{sha256(third).hexdigest()}"',
    ]
    assert rows(catalogue)["third"]["sha256"] == sha256(third).hexdigest()
    assert host.paths == ["/first.pth", "/third.pth"]
    assert [path.name for path in catalogue.parent.iterdir()] == ["weights.toml"]


def test_networks_named_are_the_only_ones_fetched(
    host: Site, catalogue: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = checkpoint(1)
    host.answer("/first.pth", Answer(content))
    assert tool.main(["pin", str(catalogue), "first-x4_net"]) == 0
    assert capsys.readouterr().out == f"first-x4_net: sha256 {sha256(content).hexdigest()}\n"
    assert "sha256" not in rows(catalogue)["third"]
    assert host.paths == ["/first.pth"]


def test_a_checksum_is_never_replaced(host: Site, catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = catalogue.read_text()
    host.answer("/second.pth", Answer(checkpoint(2)))
    assert tool.main(["pin", str(catalogue), "second"]) == 1
    assert "second has a checksum already" in capsys.readouterr().err
    assert catalogue.read_text() == before
    assert host.paths == []


@pytest.mark.parametrize(
    ("answer", "told"), [(Answer(status=404), "404"), (Answer(b"<html>Sign in</html>"), "no checkpoint of tensors")]
)
def test_what_is_no_checkpoint_is_not_written_down_and_the_others_are(
    host: Site, catalogue: Path, capsys: pytest.CaptureFixture[str], answer: Answer, told: str
) -> None:
    host.answer("/first.pth", answer)
    host.answer("/third.pth", Answer(checkpoint(3)))
    assert tool.main(["pin", str(catalogue)]) == 1
    said = capsys.readouterr().err
    assert f"{host.url}/first.pth: " in said
    assert told in said
    assert "sha256" not in rows(catalogue)["first-x4_net"]
    assert "sha256" in rows(catalogue)["third"]


def test_unknown_networks_and_commands_are_told(catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(["pin", str(catalogue), "x"]) == 1
    assert "there is no network 'x'" in capsys.readouterr().err
    for arguments in (["unpin", str(catalogue)], ["pin"], []):
        assert tool.main(arguments) == 2
        assert "Usage: python tools/weights.py pin CATALOGUE" in capsys.readouterr().err


def test_every_row_of_the_true_catalogue_can_be_written_to() -> None:
    text = (ROOT / "shared" / "src" / "upscaling" / "weights" / "weights.toml").read_text()
    without = [name for name, row in tomllib.loads(text)["networks"].items() if "sha256" not in row]
    for name in without:
        changed = tool.with_checksum(text, name, 7, "ab")
        assert added(text, changed) == ["bytes = 7", 'sha256 = "ab"']


def test_a_row_written_in_another_way_is_left_to_a_person(catalogue: Path) -> None:
    text = catalogue.read_text().replace('licence = "MIT"  # as the repository says\n', 'licence="MIT"\n')
    with pytest.raises(tool.PinError, match='write bytes = 7 and sha256 = "ab" into it by hand'):
        tool.with_checksum(text, "first-x4_net", 7, "ab")
