"""What the pages tell people to run and to read exists."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from urllib.parse import urlsplit

import licences
import pytest
import release
import scaling
import yaml
from local_server import ROOT

from upscaling.weights.catalogue import catalogue

PAGES = sorted(
    path
    for place in (
        "*.md",
        "docs/*.md",
        "models/*/*.md",
        "samples/*.md",
        "benchmarks/*.md",
        "deploy/*.md",
        ".github/*.md",
    )
    for path in ROOT.glob(place)
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:^|[`\s])make ((?:[\w.-]+(?:=\S+)? ?)*)", re.MULTILINE)
# A path below the root of the repository: begins with one of its folders, and has no placeholder in it.
NAMED = re.compile(r"`((?:models|shared|tests|tools|docs|samples|benchmarks|deploy|\.github)/[\w./-]*)`")
MADE = re.compile(r"models/[\w-]+/(weights|vendor)/")  # by a command
CHANGELOG = """# Changelog
## one

### 1.1.0 (2026-11-25)
Newer.

- A point.

### 1.0.0
First.

## one-more

### 1.0.0 (not released)
Other.
"""


@pytest.fixture(params=PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    return request.param


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_there_are_pages() -> None:
    names = {str(path.relative_to(ROOT)) for path in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "THIRD_PARTY.md"} <= names


def commands(text: str) -> set[str]:
    """The targets of every `make …` in code."""
    code = "\n".join([*re.findall(r"`([^`\n]+)`", text), *re.findall(r"^ {4,}(.+)", text, re.MULTILINE)])
    words = {match[1].split()[0] for match in COMMAND.finditer(code) if match[1].strip()}
    return {word for word in words if "=" not in word}


def test_commands_of_make_are_targets(page: Path) -> None:
    assert commands(page.read_text()) <= targets()


def test_commands_are_found_where_they_are_written() -> None:
    text = "Run `make one` or:\n\n    make two ARGS=x  # or\n    cd x && make three\n\nmake sure of it, `make MODEL=x`."
    assert commands(text) == {"one", "two", "three"}


def test_every_target_is_listed_and_made_always() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = {name for line in re.findall(r"^\.PHONY: (.+)", makefile, re.MULTILINE) for name in line.split()}
    assert phony == targets()


def test_links_lead_to_files(page: Path) -> None:
    local = [link for link in LINK.findall(page.read_text()) if not urlsplit(link).scheme]
    assert [link for link in local if not (page.parent / link.partition("#")[0]).exists()] == []


def test_files_named_exist(page: Path) -> None:
    named = [path for path in NAMED.findall(page.read_text()) if not MADE.match(path)]
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_contributing_names_every_check_that_ci_runs() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    run = set(re.findall(r"make (?:--silent )?([a-z-]+)", text))
    assert "check-contract" in run
    assert run <= commands((ROOT / "CONTRIBUTING.md").read_text())


def test_third_party_licences_are_current() -> None:
    assert (ROOT / "THIRD_PARTY.md").read_text() == licences.text(ROOT, catalogue()), "run `make licences`"


def test_tables_of_machines_are_computed_from_the_measurements() -> None:
    assert (ROOT / scaling.PAGE).read_text() == scaling.text(ROOT), "run `make scaling`"


def test_machines_follow_from_seconds() -> None:
    measured = scaling.Speed("one", "small", 3.6)
    assert measured.hours(1_000_000) == 1000
    assert "| 1,000,000 | `one` | small | 1,000 | 42 | 6 |" in scaling.tables([measured])
    with pytest.raises(LookupError, match="contenders"):
        list(scaling.speeds("nothing"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"License-Expression": "MIT OR Apache-2.0", "License": "other"}, "MIT OR Apache-2.0"),
        ({"License": "BSD-3-Clause", "Classifier": "License :: OSI Approved :: BSD License"}, "BSD-3-Clause"),
        ({"License": "a" * 61, "Classifier": "License :: OSI Approved :: MIT License"}, "MIT License"),
        ({"License": "  Apache License\n  Version 2.0\n\n  Terms"}, "Apache License, Version 2.0"),
    ],
)
def test_a_licence_is_read_from_metadata(fields: dict[str, str], said: str) -> None:
    assert licences.licence_of(metadata(fields)) == said


def test_a_package_without_a_licence_is_told() -> None:
    with pytest.raises(ValueError, match="one states no licence"):
        licences.licence_of(metadata({"Name": "one", "Classifier": "Topic :: Multimedia"}))


def metadata(fields: dict[str, str]) -> licences.Message:
    message = licences.Message()
    for name, value in fields.items():
        message[name] = value
    return message


def test_a_package_that_is_not_installed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "models" / "one").mkdir(parents=True)
    (tmp_path / "models" / "one" / "requirements.txt").write_text("no-such-package==1.0\n")
    with pytest.raises(PackageNotFoundError):
        licences.text(tmp_path, catalogue())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for model in ("one", "one-more"):
        (tmp_path / "models" / model).mkdir(parents=True)
        (tmp_path / "models" / model / "cog.yaml").write_text("")
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    return tmp_path


def test_a_release_has_the_notes_below_its_heading(root: Path) -> None:
    assert release.read(root, "one/v1.1.0") == release.Release("one", "1.1.0", "Newer.\n\n- A point.")
    assert release.read(root, "one/v1.0.0").notes == "First."


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("one/1.0.0", "is no release tag"),
        ("one/v1.0", "is no release tag"),
        ("one/v01.0.0", "is no release tag"),
        ("one/v1.0.0\n", "is no release tag"),
        ("v1.0.0", "is no release tag"),
        ("two/v1.0.0", "there is no model 'two'; there are one, one-more"),
        ("one/v1.2.0", r"no text below `## one`, `### 1\.2\.0 \(YYYY-MM-DD\)`"),
        ("one/v1.1.00", "is no release tag"),
        ("one-more/v1.0.0", "no text below `## one-more`"),
    ],
)
def test_a_tag_that_is_no_release_is_told(root: Path, tag: str, said: str) -> None:
    with pytest.raises(release.ReleaseError, match=said):
        release.read(root, tag)


def test_release_prints_outputs_for_a_workflow(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert release.main(["names", "one/v1.1.0"], root) == 0
    assert release.main(["notes", "one/v1.1.0"], root) == 0
    assert capsys.readouterr().out == "model=one\nversion=1.1.0\nNewer.\n\n- A point.\n"
    assert release.main(["names", "one"], root) == 1
    assert release.main(["tag"], root) == 2


def test_changelog_has_a_section_for_known_models_only() -> None:
    titles = re.findall(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert titles
    assert set(titles) <= {path.parent.name for path in ROOT.glob("models/*/cog.yaml")}


def test_hooks_before_a_commit_are_installed_with_the_tests() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert {"ruff", "ruff-format", "large-files", "yaml"} <= {hook["id"] for hook in hooks}
    commands = [Path(hook["entry"].split()[0]) for hook in hooks]
    assert {command.parent for command in commands} == {Path(".venv/bin")}
    assert [command for command in commands if not (Path(sys.prefix) / "bin" / command.name).is_file()] == []
