"""Every folder in models/ is a complete Cog project; a new one falls under this by existing."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import tomllib
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from model_folder import MODELS, PIN, ROOT, Model, imports

FILES = (
    "cog.yaml",
    "run.py",
    "requirements.in",
    "requirements.txt",
    "openapi.json",
    "smoke.yaml",
    "README.md",
    ".dockerignore",
)
# Ours, the same at the end of every model.
TAIL = ["width", "height", "tile_size", "output_format", "output_quality"]


def bulk_pins(name: str = "requirements-bulk.txt") -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    return dict(match.groups() for line in lines if (match := PIN.fullmatch(line)))


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Model:
    return Model(request.param)


def test_there_are_models() -> None:
    assert set(MODELS) >= {"codeformer", "gfpgan", "real-esrgan", "swinir"}
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in MODELS)


@pytest.mark.parametrize(
    "line",
    [
        "import upscaling.diffusion",
        "from upscaling import diffusion",
        "from upscaling.diffusion import redraw",
        "from upscaling.diffusion.redraw import redraw",
    ],
)
def test_every_import_of_diffusion_is_found(line: str) -> None:
    assert any(name.startswith("upscaling.diffusion") for name in imports(f"import os\n{line}"))
    assert not any(name.startswith("upscaling.diffusion") for name in imports(f"import os  # not {line}"))


def test_folder_has_its_files(model: Model) -> None:
    assert [file for file in FILES if not (model.folder / file).is_file()] == []


def test_cog_yaml_builds_alike_everywhere(model: Model) -> None:
    written = yaml.safe_load(model.text("cog.yaml"))
    assert written["run"] == "run.py:Runner"
    assert written["build"] == {
        "gpu": True,
        "cuda": "12.8",
        "python_version": "3.11",
        "python_requirements": "requirements.txt",
        "sdk_version": model.pins["cog"],
    }


def test_requirements_are_exact_pins_and_the_shared_wheel(model: Model) -> None:
    # Cog drops hashes and markers without a word and cuts lines of any other form.
    version = tomllib.loads((ROOT / "shared" / "pyproject.toml").read_text())["project"]["version"]
    *pins, wheel = model.lines("requirements.txt")
    assert [line for line in pins if not PIN.fullmatch(line)] == []
    assert wheel == f"./vendor/upscaling-{version}-py3-none-any.whl"
    assert len(model.pins) == len(pins)


def test_requirements_are_those_of_requirements_in(model: Model) -> None:
    wanted = [re.sub(r"\[.*\]", "", line) for line in model.lines("requirements.in")]
    assert [line for line in wanted if line not in model.lines("requirements.txt")] == []


def test_audited_packages_are_those_that_models_and_bulk_jobs_pin() -> None:
    audited = re.findall(r"^(\S+)==(\S+) ", (ROOT / "requirements-audit.txt").read_text(), re.MULTILINE)
    pinned = {package: version for name in MODELS for package, version in Model(name).pins.items()}
    pinned |= bulk_pins("requirements-cluster.txt")
    assert dict(audited) == pinned, "run `make audit-lock`"


def test_audited_packages_have_hashes() -> None:
    # A pin goes on in the next line as long as hashes follow.
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements-audit.txt").read_text().strip())[1:]
    assert entries
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_models_share_their_versions() -> None:
    versions: dict[str, set[str]] = {}
    for name in MODELS:
        for package, version in Model(name).pins.items():
            versions.setdefault(package, set()).add(version)
    assert {package: found for package, found in versions.items() if len(found) > 1} == {}


def test_no_container_installs_or_imports_what_bulk_jobs_need(model: Model) -> None:
    assert not {"ray", "pyarrow", "pandas"} & set(model.pins)
    assert not [name for name in imports(model.text("run.py")) if name.startswith("upscaling.bulk")]


def test_bulk_jobs_pin_the_ray_of_the_extra_and_the_versions_of_the_models() -> None:
    extras = tomllib.loads((ROOT / "shared" / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert f"ray[data]=={bulk_pins()['ray']}" in extras["bulk"]
    pinned = {package: version for name in MODELS for package, version in Model(name).pins.items()}
    assert {package: pinned[package] for package in bulk_pins() if package in pinned}.items() <= bulk_pins().items()


def test_clusters_pin_what_bulk_jobs_on_one_machine_do() -> None:
    cluster = bulk_pins("requirements-cluster.txt")
    assert bulk_pins().items() <= cluster.items()
    pinned = {package: version for name in MODELS for package, version in Model(name).pins.items()}
    assert {package: pinned[package] for package in cluster if package in pinned}.items() <= cluster.items()


def test_clusters_pin_what_ray_needs_to_take_submitted_jobs() -> None:
    # Its head looks for these packages, and answers no `ray job submit` if one is missing.
    (ray,) = (find_spec("ray") or ModuleSpec("ray", None)).submodule_search_locations or [""]
    wanted = {name.split(".")[0] for name in imports((Path(ray) / "dashboard" / "optional_deps.py").read_text())}
    assert {"aiohttp", "aiohttp_cors", "grpc", "opencensus", "opentelemetry"} <= wanted
    packages = {"grpc": "grpcio", "opentelemetry": "opentelemetry-exporter-prometheus"}
    pins = {*bulk_pins("requirements-cluster.txt"), *set.intersection(*(set(Model(name).pins) for name in MODELS))}
    assert {packages.get(name, name).replace("_", "-") for name in wanted} - pins == set()


def test_image_holds_only_what_is_let_in(model: Model) -> None:
    first, *let_in = model.lines(".dockerignore")
    assert first == "*"
    assert {"!cog.yaml", "!run.py", "!requirements.txt", "!weights", "!weights/**"} <= set(let_in)
    assert all(line.startswith("!") for line in let_in)


def test_runner_is_a_thin_adapter(model: Model) -> None:
    code = model.text("run.py")
    assert len(code.splitlines()) < 150
    (runner,) = [node for node in ast.parse(code).body if isinstance(node, ast.ClassDef)]
    assert runner.name == "Runner"


def test_inputs_end_with_those_that_all_models_share(model: Model) -> None:
    names = list(model.inputs)
    assert [name for name in names if name in TAIL] == TAIL
    assert names[-len(TAIL) :] == TAIL


def test_every_input_is_described_in_a_sentence(model: Model) -> None:
    # Quotes or a second line mean that Cog's static reader met a text in parts, which it does not join.
    sentence = re.compile(r"[A-Z][^\"'\\\n]*\.")
    described = {name: field.get("description", "") for name, field in model.inputs.items()}
    assert {name: text for name, text in described.items() if not sentence.fullmatch(text)} == {}


def test_common_inputs_are_the_same_everywhere(model: Model) -> None:
    said = {
        name: [model.inputs[name].get(key) for key in ("type", "default", "minimum", "maximum")]
        for name in TAIL
        if name != "output_format"  # its default is what the hosted model returns
    }
    assert said == {
        "width": ["integer", None, 1, None],
        "height": ["integer", None, 1, None],
        "tile_size": ["integer", 0, 0, 2048],
        "output_quality": ["integer", 95, 1, 100],
    }


def test_common_inputs_are_described_alike(model: Model) -> None:
    def described(of: Model) -> list[str]:
        texts = (of.inputs[name]["description"] for name in TAIL if name != "tile_size")
        return [re.sub(r"overrides (upscale|scale|upscale_by|resolution)\.", "overrides it.", text) for text in texts]

    assert described(model) == described(Model(MODELS[0]))


def test_exact_models_and_no_others_say_that_tiles_never_change_the_result(model: Model) -> None:
    (row,) = [line for line in model.text("README.md").splitlines() if line.startswith("| `tile_size` |")]
    described = model.inputs["tile_size"]["description"]
    assert ("never changes the result" in described, "never changes the result" in row) == (model.is_exact,) * 2


def test_schema_is_what_cog_makes_of_the_runner(model: Model) -> None:
    generator = shutil.which("cog-schema")
    if generator is None:
        pytest.skip("cog-schema is not on PATH; `make check-image` compares the image's own")
    made = subprocess.run(
        [generator, str(model.folder)], capture_output=True, text=True, timeout=100, check=True
    ).stdout
    assert json.loads(model.text("openapi.json")) == json.loads(made)


def test_readme_has_a_row_for_every_input(model: Model) -> None:
    rows = dict.fromkeys(re.findall(r"^\| `(\w+)` \|", model.text("README.md"), re.MULTILINE))
    assert [name for name in rows if name in model.inputs] == list(model.inputs)


def test_readme_tells_every_choice(model: Model) -> None:
    text = model.text("README.md")
    choices = [
        value
        for name, schema in json.loads(model.text("openapi.json"))["components"]["schemas"].items()
        if name in model.inputs
        for value in schema["enum"]
    ]
    assert [value for value in choices if f"`{value}`" not in text] == []


def test_readme_links_what_all_models_share(model: Model) -> None:
    assert "(../../docs/operating.md)" in model.text("README.md")


def test_operating_has_a_row_for_every_environment_variable() -> None:
    sources = (ROOT / "shared" / "src").rglob("*.py")
    variables = {name for path in sources for name in re.findall(r"UPSCALING_[A-Z_]+", path.read_text())}
    assert variables
    described = (ROOT / "docs" / "operating.md").read_text()
    assert {name for name in variables if f"| `{name}` |" not in described} == set()


def test_root_readme_has_a_row_for_every_model(model: Model) -> None:
    assert f"| [{model.name}](models/{model.name}/README.md) |" in (ROOT / "README.md").read_text()
