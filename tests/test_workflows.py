"""The workflows of .github/ are thin callers of the Makefile, with no more rights than they need."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from histories import commit, git
from local_server import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yml"))
RELEASE = ROOT / ".github" / "workflows" / "release.yml"
ALLOWED = re.compile(r"make|tools/\w+\.sh|docker pull|echo|test|\w+=\$\(make|sudo rm -rf")


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def workflow(request: pytest.FixtureRequest) -> dict[Any, Any]:
    return yaml.safe_load(request.param.read_text())


def steps(path: Path) -> Iterator[dict[str, Any]]:
    read = yaml.safe_load(path.read_text())
    for job in read["jobs"].values() if "jobs" in read else [read["runs"]]:
        yield from job["steps"]


def commands(path: Path) -> Iterator[str]:
    yield from (step["run"] for step in steps(path) if "run" in step)


def test_there_are_those_that_the_pages_name() -> None:
    assert {path.stem for path in WORKFLOWS} == {"ci", "release", "gpu", "drift"}


def test_rights_are_granted_per_job(workflow: dict[Any, Any]) -> None:
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert set(job["permissions"].values()) <= {"read", "write"}, name
        writing = {scope for scope, right in job["permissions"].items() if right == "write"}
        assert writing == ({"packages", "id-token", "attestations"} if name == "release" else set()), name


def test_every_job_ends_in_time(workflow: dict[Any, Any]) -> None:
    assert [name for name, job in workflow["jobs"].items() if not 0 < job["timeout-minutes"] <= 120] == []


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_actions_of_others_are_pinned_to_a_commit(path: Path) -> None:
    pinned = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    used = re.findall(r"uses: (.+)", path.read_text())
    local = [name.removeprefix("./") for name in used if name.startswith("./")]
    assert [name for name in used if not name.startswith("./") and not pinned.fullmatch(name)] == []
    assert [name for name in local if not (ROOT / name / "action.yml").is_file()] == []


def test_an_action_has_one_version_everywhere() -> None:
    used = {name for path in [*WORKFLOWS, *ACTIONS] for name in re.findall(r"uses: (.+@.+)", path.read_text())}
    assert len({name.partition("@")[0] for name in used}) == len(used)


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_shell_gets_values_from_its_environment_only(path: Path) -> None:
    assert [command for command in commands(path) if "${{" in command] == []


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_commands_are_those_that_a_person_can_run(path: Path) -> None:
    for command in commands(path):
        for line in command.strip().splitlines():
            assert ALLOWED.match(line.strip()), line
        for tool in re.findall(r"tools/\w+\.sh", command):
            assert (ROOT / tool).is_file()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_command_that_fails_ends_its_step(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["defaults"] == {"run": {"shell": "bash"}}  # sets pipefail
    assert not [step for step in steps(path) if step.get("shell", "bash") != "bash"]
    # A substitution hides the failure, unless its value is assigned.
    lines = [line.strip() for command in commands(path) for line in command.splitlines()]
    assert [line for line in lines if "$(" in line and not re.match(r"\w+=\$\(", line)] == []


def test_targets_that_workflows_call_exist() -> None:
    called = {
        target
        for path in WORKFLOWS
        for command in commands(path)
        for target in re.findall(r"\bmake (?:--silent )?([a-z-]+)", command)
    }
    assert {"lint", "test", "build", "check-image", "publish"} <= called
    assert called <= targets()


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_gate_waits_for_every_job() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    gate = jobs.pop("ci-ok")
    assert set(gate["needs"]) == set(jobs)
    assert gate["if"] == "always()"


def test_what_is_baked_for_a_release_can_be_verified_and_passed_on() -> None:
    release = list(commands(ROOT / ".github" / "workflows" / "release.yml"))
    assert 'make weights ARGS="--verified-only --for-others"' in release


def test_a_release_gets_its_version_after_all_checks_of_what_was_pushed() -> None:
    release = {step.get("name", step.get("run", "")): step for step in steps(RELEASE)}
    order = ["make check-image", "Push it by its commit", "What was pushed works", "Attest what is in it"]
    places = [list(release).index(name) for name in [*order, "Give it the version", "Summary"]]
    assert places == sorted(places)
    assert "make check-image" in release["What was pushed works"]["run"]
    assert release["Give it the version"]["env"]["IMAGE"] == release["What was pushed works"]["env"]["IMAGE"]


def test_a_release_that_failed_has_a_summary_with_the_weights_too() -> None:
    *_, summary = steps(RELEASE)
    assert summary["if"] == "always()"
    assert "make --silent release-weights" in summary["run"]


def test_dependabot_holds_what_cog_decides() -> None:
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    (pip,) = [update for update in updates if update["package-ecosystem"] == "pip"]
    assert {"torch", "torchvision"} <= {ignored["dependency-name"] for ignored in pip["ignore"]}
    # It would compile them in its own way: see .github/dependabot.yml.
    files = [str(path.relative_to(ROOT)) for path in [*ROOT.glob("models/*/*.txt"), *ROOT.glob("requirements-*.txt")]]
    made = {path for path in files if (ROOT / path).read_text().startswith("# Made by ")}
    assert made == {path for path in files if any(fnmatch(path, glob) for glob in pip["exclude-paths"])}
    (actions,) = [update for update in updates if update["package-ecosystem"] == "github-actions"]
    assert set(actions["directories"]) == {"/", *(f"/{path.parent.relative_to(ROOT)}" for path in ACTIONS)}


def cog_repository(root: Path, *tags: str) -> str:
    commit(root, {"README.md": ""})
    for tag in tags:
        git(root, "tag", tag)
    return str(root)


@pytest.mark.parametrize(
    ("tags", "code", "said"),
    [
        (["v1.9.0", "v1.10.0"], 0, "Cog 1.10.0 is used, 1.10.0 is the newest.\n"),
        (["v1.10.0", "v1.10.1"], 1, "Cog 1.10.0 is used, 1.10.1 is the newest.\n"),
        (["v1.10.0", "v1.11.0-rc1", "vnext"], 0, "Cog 1.10.0 is used, 1.10.0 is the newest.\n"),
        ([], 2, ""),
    ],
)
def test_a_newer_cog_is_told(tmp_path: Path, tags: list[str], code: int, said: str) -> None:
    command = ["tools/newest_cog.sh", "1.10.0", cog_repository(tmp_path, *tags)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (code, said), done.stderr


def lint_with(programs: Path, **written: str) -> subprocess.CompletedProcess[str]:
    """Runs `make lint` with stand-ins for its programs."""
    (programs / "bin").mkdir()
    for name, script in {**dict.fromkeys(("ruff", "pyright", "shellcheck", "zizmor"), ""), **written}.items():
        program = programs / "bin" / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(stat.S_IRWXU)
    venv = os.path.relpath(programs, ROOT)
    command = ["make", "--silent", "--old-file", f"{venv}/tests", "lint", f"VENV={venv}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_lint_says_that_actionlint_is_left_out(tmp_path: Path) -> None:
    done = lint_with(tmp_path)
    said = "actionlint is not installed, and was left out: `make actionlint` builds it, with Go.\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, "", said)


def test_lint_fails_where_actionlint_does(tmp_path: Path) -> None:
    done = lint_with(tmp_path, actionlint="echo bad workflow; exit 1")
    assert (done.returncode, done.stdout) == (2, "bad workflow\n")


def test_lint_of_a_pull_request_has_actionlint() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    ran = [step.get("run") for step in jobs["lint"]["steps"]]
    assert ran.index("make actionlint") < ran.index("make lint")
