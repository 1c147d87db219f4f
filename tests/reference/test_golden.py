"""The smoke cases of real-esrgan with the real weights, as `make smoke` and `make check-image` run them."""

from __future__ import annotations

import json
import pickle
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import check_image
import pytest
import smoke
from local_server import ROOT
from reference.test_ncnn import ncnn_files
from servers import FASTEST, serving, write_weights

from upscaling.weights.ncnn import to_state_dict

FOLDER = ROOT / "models" / "real-esrgan"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    cache = tmp_path_factory.mktemp("cache")
    write_weights({FASTEST: to_state_dict(*ncnn_files(FASTEST))}, cache)
    with serving("real-esrgan", tmp_path_factory.mktemp("server"), cache) as client:
        yield client.url


def test_real_weights_give_the_golden_picture(url: str) -> None:
    wanted = [case for case in smoke.read(FOLDER / "smoke.yaml").cases if case.golden is not None]
    assert wanted
    assert smoke.run("real-esrgan", url, wanted) == 0


@pytest.fixture
def image(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the files of an image, whose container answers as the server does."""
    label = {"run.cog.openapi_schema": (FOLDER / "openapi.json").read_text()}
    inspected = [{"Size": 3_210_000_000, "Config": {"Env": ["PATH=/bin"], "Labels": label}}]
    (tmp_path / "inspected.json").write_text(json.dumps(inspected))
    (tmp_path / "files" / "src").mkdir(parents=True)
    (tmp_path / "files" / "src" / "run.py").write_text("")
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT / "tests" / "docker_stand_in.py"} "$@"\n')
    docker.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(docker.parent))
    monkeypatch.setenv("PORT", str(urlsplit(url).port))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("FILES", str(tmp_path / "files"))
    monkeypatch.setenv("INSPECTED", str(tmp_path / "inspected.json"))
    return tmp_path / "files"


def test_an_image_that_does_all_it_must_passes(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_image.main(["real-esrgan"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "real-esrgan: 3.21 GB"
    assert said[1].startswith("real-esrgan: READY after ")
    assert len(said[2:]) == len([case for case in smoke.read(FOLDER / "smoke.yaml").cases if not case.gpu])
    assert all(line.endswith(": ok") for line in said[2:])


def test_its_container_is_locked_down_and_removed(image: Path) -> None:
    assert check_image.main(["real-esrgan", "registry/real-esrgan@sha256:0"]) == 0
    calls = (image.parent / "calls").read_text().splitlines()
    (started,) = [call for call in calls if call.startswith("run ")]
    assert started == (
        "run --detach --network none --read-only --tmpfs /tmp --user 1000 --cap-drop ALL registry/real-esrgan@sha256:0"
    )
    assert calls[-1] == "rm --force --volumes 0123abcd"
    assert calls.count(calls[-1]) == 2  # of the files, and of the server


def test_a_file_that_must_not_be_there_fails_it(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (image / "src" / "net.pth").write_bytes(pickle.dumps({}, protocol=4))
    assert check_image.main(["real-esrgan"]) == 1
    assert "real-esrgan: /src/net.pth is a pickle." in capsys.readouterr().out.splitlines()
