from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import weights_online
from check_weights import licences, problems
from local_server import ROOT
from loopback import Answer, Site, site

from upscaling.weights.catalogue import Catalogue, catalogue, read

WHOLE = """
[wheel]
project = "carrier"
version = "1.0"
tag = { python = "3.11" }
sha256 = "11"

[models]
one = ["net", "face"]

[entries.net]
sources = ["SITE"]
files."net.pth" = { size = 5, sha256 = "22" }
licence = "MIT"
origin = "example.org/net"

[entries.face]
sources = ["SITE/a", "SITE/b"]
files."face.pth" = { unpublished = "size and SHA-256" }
files."config.json" = { sha256 = "33", unpublished = "size" }
licence = "Apache-2.0, except a part (non-commercial)"
origin = "example.org/face"
"""
SAID = "MIT, Apache-2.0 and non-commercial"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "models" / "one").mkdir(parents=True)
    (tmp_path / "README.md").write_text(f"MIT Apache-2.0 non-commercial\n| [one](models/one/README.md) | {SAID} |\n")
    (tmp_path / "models" / "one" / "README.md").write_text(f"All of it is {SAID}.\n")
    return tmp_path


def test_a_complete_catalogue_has_no_problems(root: Path) -> None:
    assert problems(read(WHOLE), root) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('origin = "example.org/net"', 'origin = " "', "net has no origin."),
        ('licence = "MIT"', 'licence = ""', "net has no licence."),
        ("size = 5, ", "", "net: net.pth lacks size, and says that nothing is unpublished."),
        (', sha256 = "22"', "", "net: net.pth lacks SHA-256, and says that nothing is unpublished."),
        (
            '{ unpublished = "size and SHA-256" }',
            '{ size = 1, unpublished = "size and SHA-256" }',
            "face: face.pth lacks SHA-256, and says that size and SHA-256 is unpublished.",
        ),
        (
            '"33", unpublished',
            '"33", size = 5, unpublished',
            "face: config.json lacks nothing, and says that size is unpublished.",
        ),
        ('"net", ', "", "net is used by no model."),
    ],
)
def test_what_is_incomplete_is_told(root: Path, old: str, new: str, said: str) -> None:
    assert WHOLE.count(old) == 1
    assert said in problems(read(WHOLE.replace(old, new)), root)


@pytest.mark.parametrize("page", ["README.md", "models/one/README.md"])
@pytest.mark.parametrize("words", ["MIT", "Apache-2.0", "non-commercial"])
def test_a_licence_that_a_page_leaves_out_is_told(root: Path, page: str, words: str) -> None:
    text = (root / page).read_text()
    before, _, after = text.rpartition(words)
    (root / page).write_text(before + after)
    assert problems(read(WHOLE), root) == [f"{page} does not say that weights of one are {words}."]


def test_all_is_told_at_once(root: Path) -> None:
    text = WHOLE.replace("size = 5, ", "").replace('"net", ', "")
    assert len(problems(read(text), root)) == 2


def test_our_catalogue_has_only_entries_that_wait_for_their_model() -> None:
    used = {name for names in catalogue().models.values() for name in names}
    waiting = {f"{name} is used by no model." for name in catalogue().entries if name not in used}
    assert set(problems(catalogue(), ROOT)) - waiting == set()


def test_licences_of_a_model_are_each_once() -> None:
    assert licences(catalogue(), "swinir") == ["Apache-2.0"]


@pytest.fixture
def host() -> Iterator[Site]:
    with site() as running:
        yield running


def online(host: Site) -> Catalogue:
    return read(WHOLE.replace("SITE", host.url))


def test_files_with_the_size_known_are_where_they_should_be(host: Site) -> None:
    host.answer("/net.pth", Answer(b"12345"))
    for path in ("/a/face.pth", "/a/config.json", "/b/face.pth", "/b/config.json"):
        host.answer(path, Answer(b"any size"))
    assert list(weights_online.problems(online(host))) == []
    assert len(host.asked) == 5


def test_lost_and_changed_files_are_told_with_their_address(host: Site) -> None:
    host.answer("/net.pth", Answer(b"1234"))
    host.answer("/a/face.pth", Answer(b"x"))
    host.answer("/b/face.pth", Answer(status=410))
    host.answer("/a/config.json", Answer(status=302, headers={"Location": f"{host.url}/a/face.pth"}))
    assert list(weights_online.problems(online(host))) == [
        f"{host.url}/net.pth: 4 bytes, not 5",
        f"{host.url}/b/face.pth: HTTP 410",
        f"{host.url}/b/config.json: HTTP 404",
    ]


def test_a_host_that_does_not_answer_is_told() -> None:
    with site() as gone:
        text = WHOLE.replace("SITE", gone.url)
    (first, *_) = weights_online.problems(read(text))
    assert first.endswith("/net.pth: ConnectionError")
