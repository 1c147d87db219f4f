"""How an image gets into a registry, and its version; docker is a stand-in with a folder of tags as registry."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
import release_weights
from histories import commit
from local_server import ROOT

from upscaling.weights.catalogue import catalogue

# The tags of local images are in LOCAL, those of the registry in REGISTRY; a file holds the digest.
DOCKER = """#!/usr/bin/env bash
set -e
echo "$*" >>"$CALLS"
last=${@: -1}
file() { echo "$1" | tr '/' '_'; }
case "$1 $2" in
  "pull --quiet")
    [ -z "$DOWN" ] || { echo "dial tcp: connection refused" >&2; exit 1; }
    case $last in *@*) echo "$last" >"$LOCAL/$(file "$last")"; exit ;; esac
    cp "$REGISTRY/$(file "$last")" "$LOCAL/" 2>/dev/null || { echo "manifest for $last not found" >&2; exit 1; } ;;
  tag*) cp "$LOCAL/$(file "$2")" "$LOCAL/$(file "$last")" ;;
  push*) cp "$LOCAL/$(file "$last")" "$REGISTRY/" ;;
  "image inspect") cat "$LOCAL/$(file "$last")" ;;
esac
"""
IMAGE = "registry.example.org/you/swinir"
ONE, OTHER = f"{IMAGE}@sha256:11", f"{IMAGE}@sha256:22"


class Registry:
    """A registry and the commands that were given to docker."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("bin", "local", "registry"):
            (root / name).mkdir()
        docker = root / "bin" / "docker"
        docker.write_text(DOCKER)
        docker.chmod(stat.S_IRWXU)
        self.add("local", "swinir", ONE)

    def add(self, place: str, name: str, by_digest: str) -> None:
        (self.root / place / name.replace("/", "_")).write_text(by_digest + "\n")

    @property
    def tags(self) -> dict[str, str]:
        """The digests of what is in the registry, by tag."""
        return {path.name.rpartition(":")[2]: path.read_text().strip() for path in (self.root / "registry").iterdir()}

    @property
    def calls(self) -> list[str]:
        calls = self.root / "calls"
        return calls.read_text().splitlines() if calls.exists() else []

    def run(self, *command: str, cwd: Path = ROOT, down: str = "") -> subprocess.CompletedProcess[str]:
        places = {name.upper(): str(self.root / name) for name in ("local", "registry", "calls")}
        path = f"{self.root / 'bin'}:{os.environ['PATH']}"
        environment = {**os.environ, **places, "PATH": path, "DOWN": down}
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    def name_version(self, by_digest: str, version: str, down: str = "") -> subprocess.CompletedProcess[str]:
        return self.run("tools/name_version.sh", by_digest, version, down=down)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def test_an_image_is_pushed_by_its_commit_only(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "clone").mkdir()
    made = commit(tmp_path / "clone", {"README.md": ""})
    done = registry.run(str(ROOT / "tools" / "publish.sh"), "swinir", IMAGE, cwd=tmp_path / "clone")
    assert (done.returncode, done.stdout) == (0, f"{ONE}\n"), done.stderr
    assert registry.tags == {f"sha-{made[:12]}": ONE}


def test_what_a_model_host_gets_is_the_image_that_was_checked(registry: Registry) -> None:
    hosted = "r8.im/you/swinir"
    registry.add("local", "swinir", f"{hosted}@sha256:11")
    done = registry.run("tools/publish.sh", "swinir", hosted)
    assert (done.returncode, done.stdout) == (0, f"{hosted}@sha256:11\n"), done.stderr
    assert f"push {hosted}" in registry.calls
    assert registry.name_version(f"{hosted}@sha256:11", "1.0.0").returncode == 0
    assert len(registry.calls) == 3  # it numbers its versions itself


def test_a_version_is_the_image_that_was_pushed_and_can_be_named_again(registry: Registry) -> None:
    for _ in range(2):
        done = registry.name_version(ONE, "1.0.0")
        assert (done.returncode, done.stdout) == (0, f"{IMAGE}:1.0.0\n"), done.stderr
    assert registry.tags == {"1.0.0": ONE}


def test_a_published_version_never_changes(registry: Registry) -> None:
    registry.add("registry", f"{IMAGE}:1.0.0", OTHER)
    done = registry.name_version(ONE, "1.0.0")
    said = f"{IMAGE}:1.0.0 is published already, and is not {ONE}: take the next version.\n"
    assert (done.returncode, done.stderr) == (1, said)
    assert registry.tags == {"1.0.0": OTHER}


def test_a_registry_that_does_not_answer_is_not_taken_for_empty(registry: Registry) -> None:
    done = registry.name_version(ONE, "1.0.0", down="yes")
    assert (done.returncode, done.stderr) == (1, "dial tcp: connection refused\n")
    assert registry.tags == {}


def test_a_name_without_a_digest_is_refused(registry: Registry) -> None:
    done = registry.name_version(f"{IMAGE}:1.0.0", "1.0.0")
    assert done.returncode == 2
    assert "has no digest" in done.stderr
    assert registry.calls == []


def test_a_release_lists_the_weights_in_the_image_and_those_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baked = "003_realSR_BSRGAN_DFO_s64w8_SwinIR-M_x4_GAN"
    (tmp_path / baked).mkdir()
    said = list(release_weights.lines(catalogue(), "swinir", tmp_path))
    assert len(said) == 16
    assert f"- `{baked}`: in the image" in said
    without = "004_grayDN_DFWB_s128w8_SwinIR-M_noise15"
    assert f"- `{without}`: left out; no published checksum, needs `UNVERIFIED_WEIGHTS=1`" in said
    later = "003_realSR_BSRGAN_DFOWMFC_s64w8_SwinIR-L_x4_GAN"
    assert f"- `{later}`: left out; downloaded at its first use" in said
    (kept_back, *_) = catalogue().kept_back["ultimate-sd-upscale"]
    others = list(release_weights.lines(catalogue(), "ultimate-sd-upscale", tmp_path))
    assert any(line.startswith(f"- `{kept_back}`: left out for its licence, ") for line in others)
    assert release_weights.main([""]) == 2
    assert "choose one of real-esrgan" in capsys.readouterr().err
