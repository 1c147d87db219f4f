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
README = """| name | licence |
|---|---|
| `net` | MIT |

- `fa*`: Apache-2.0,
  with a non-commercial part

MIT, Apache-2.0 and non-commercial; `other`: LIMIT, MIT-0, Apache-2.0.1.
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "models" / "one").mkdir(parents=True)
    (tmp_path / "README.md").write_text("All non-commercial\n| [one](models/one/README.md) | non-commercial |\n")
    (tmp_path / "models" / "one" / "README.md").write_text(README)
    return tmp_path


def test_a_complete_catalogue_has_no_problems(root: Path) -> None:
    assert problems(read(WHOLE), root) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('origin = "example.org/net"', 'origin = " "', "net has no origin."),
        ('licence = "MIT"', 'licence = ""', "net has no licence."),
        ("size = 5, ", "", "net: net.pth has no size in the catalogue, but unpublished is None."),
        (', sha256 = "22"', "", "net: net.pth has no SHA-256 in the catalogue, but unpublished is None."),
        (
            '{ unpublished = "size and SHA-256" }',
            '{ size = 1, unpublished = "size and SHA-256" }',
            "face: face.pth has no SHA-256 in the catalogue, but unpublished is 'size and SHA-256'.",
        ),
        (
            '"33", unpublished',
            '"33", size = 5, unpublished',
            "face: config.json is complete, but unpublished is 'size'.",
        ),
        ('"net", ', "", "net is used by no model."),
    ],
)
def test_what_is_incomplete_is_told(root: Path, old: str, new: str, said: str) -> None:
    assert WHOLE.count(old) == 1
    assert said in problems(read(WHOLE.replace(old, new)), root)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("`net` | MIT", "`net` |", "MIT of net"),
        ("`net` | MIT", "`net` | LIMIT", "MIT of net"),
        ("`net` | MIT", "`net` | MIT-0", "MIT of net"),
        ("`net` | MIT", "`nets` | MIT", "MIT of net"),
        ("`fa*`: Apache-2.0", "`fa*`: Apache-2.0.1", "Apache-2.0 of face"),
        ("`fa*`", "`Fa*`", "Apache-2.0 of face"),
        ("a non-commercial part", "a part", "non-commercial of face"),
    ],
)
def test_a_licence_that_the_readme_does_not_name_beside_the_weights_is_reported(
    root: Path, old: str, new: str, said: str
) -> None:
    assert README.count(old) == 1
    (root / "models" / "one" / "README.md").write_text(README.replace(old, new))
    assert f"models/one/README.md does not name the licence {said}." in problems(read(WHOLE), root)


def test_non_commercial_weights_not_marked_in_the_main_readme_are_reported(root: Path) -> None:
    page = root / "README.md"
    page.write_text(page.read_text().replace("| non-commercial |", "| MIT |"))
    assert problems(read(WHOLE), root) == [
        "The row of one in README.md does not say that some of its weights are non-commercial."
    ]


def test_a_model_without_a_folder_has_no_readme_to_check(root: Path) -> None:
    text = WHOLE.replace("[models]", '[models]\nplanned = ["net"]')
    assert problems(read(text), root) == []


def test_all_is_told_at_once(root: Path) -> None:
    text = WHOLE.replace("size = 5, ", "").replace('"net", ', "")
    assert len(problems(read(text), root)) == 2


def test_our_catalogue_has_no_problems() -> None:
    assert problems(catalogue(), ROOT) == []


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
