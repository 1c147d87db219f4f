"""The commands in the pages name models, inputs, weights, modules and files that there are."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import contract
import pytest
from local_server import ROOT

from upscaling.weights.catalogue import catalogue

PAGES = sorted(
    path for place in ("*", "docs/*", "models/*/*", "benchmarks/*", "deploy/*") for path in ROOT.glob(f"{place}.md")
)
MODELS = {path.parent.name for path in ROOT.glob("models/*/cog.yaml")}
BLOCK = re.compile(r"(?:^ {4,}\S.*\n)+", re.MULTILINE)
# What a block of commands begins with, after variables; others hold formulas.
COMMAND = re.compile(r" *(?:\w+=\S+ )*(?:make|cd|cog|curl|docker|kubectl|python|ray|\.venv/bin/python) ")


@pytest.fixture(params=PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    return request.param


def blocks(text: str) -> list[str]:
    """The blocks of commands."""
    return [block for block in BLOCK.findall(text) if COMMAND.match(block)]


def commands(text: str) -> Iterator[str]:
    """Each command in one line: those of blocks, and code inside of sentences."""
    for block in blocks(text):
        yield from re.sub(r"\\\n *", "", block).splitlines()
    yield from re.findall(r"`((?:make|python|docker|cog) [^`]+)`", text)


def wrong(text: str, folder: str) -> list[str]:
    """What the commands of a page name and is not there; folder is that of the page."""
    return [said for command in commands(text) for said in _wrong(command, folder)]


def _wrong(command: str, folder: str) -> Iterator[str]:
    models = re.findall(r"\b(?:MODEL=|models/)([\w-]+)", command)
    yield from (f"model {name}" for name in models if name not in MODELS)
    for name in re.findall(r"-i '?(\w+)=", command):
        model = next((model for model in [*models, folder] if model in MODELS), None)
        if model is None or name not in inputs(model):
            yield f"input {name} of {model}"
    parts = re.findall(r"\bPART=(\w+)", command)
    yield from (f"part {name}" for name in parts if not (ROOT / "benchmarks" / f"{name}.py").is_file())
    names = " ".join(re.findall(r'\bNAMES="?([\w .-]+)', command)).split()
    yield from (f"weights {name}" for name in names if name not in catalogue().entries)
    yield from (f"module {name}" for name in re.findall(r"\bpython -m ([\w.]+)", command) if not exists(name))
    files = re.findall(r"\bdocker build .*?-f (\S+)", command) + re.findall(r"\bkubectl apply -[fk] (\S+)", command)
    yield from (f"file {name}" for name in files if not (ROOT / name).exists())


def inputs(model: str) -> set[str]:
    return set(contract.read((ROOT / "models" / model / "openapi.json").read_text()).inputs)


def exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package around it
        return False


def test_what_commands_name_is_there(page: Path) -> None:
    assert wrong(page.read_text(), page.parent.name) == []


def test_blocks_of_commands_are_shell(page: Path) -> None:
    text = "\n".join(blocks(page.read_text()))
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("make predict MODEL=swinir ARGS=\"-i image=@a.jpg -i 'task_type=a b' -i jpeg=20\"", []),
        (
            "make predict MODEL=swinir ARGS=\"-i img=@a.jpg \\\n      -i 'task=a b'\"",
            [f"input {name} of swinir" for name in ("img", "task")],
        ),
        ("make predict MODEL=swinr", ["model swinr"]),
        ("cd models/gfpgan && cog run -i image=@a.jpg -o out.png", ["input image of gfpgan"]),
        ("make bulk IN=a OUT=b ARGS='-i scale=2'", ["input scale of None"]),
        ("make bench PART=none", ["part none"]),
        ('make weights MODEL=gfpgan NAMES="GFPGANv1.4 GFPGANv9"', ["weights GFPGANv9"]),
        ("ray job submit -- \\\n      python -m upscaling.bulky a b", ["module upscaling.bulky"]),
        ("PYTHONPATH=a .venv/bin/python -m nothing.at.all", ["module nothing.at.all"]),
        ("docker build -f deploy/none/Dockerfile -t a .", ["file deploy/none/Dockerfile"]),
        ("kubectl apply -k deploy/none", ["file deploy/none"]),
    ],
)
def test_what_is_not_there_is_told(command: str, said: list[str]) -> None:
    assert wrong(f"As follows:\n\n    {command}\n", "docs") == said


def test_commands_inside_of_sentences_are_read() -> None:
    assert wrong("Run `make predict MODEL=none` for it.", "docs") == ["model none"]


def test_the_folder_of_a_page_is_its_model() -> None:
    assert wrong("Try:\n\n    cog run -i img=@a.jpg\n", "gfpgan") == []
    assert wrong("Try:\n\n    cog run -i image=@a.jpg\n", "gfpgan") == ["input image of gfpgan"]


def test_formulas_are_no_commands() -> None:
    assert blocks("So:\n\n    hours = pictures × seconds ÷ 3600\n\n    make one\n    two\n\nDone.") == [
        "    make one\n    two\n"
    ]
