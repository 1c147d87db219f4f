from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import check_image
import pytest
from bridge import bridge
from check_image import ImageError, described, main, ready_after, weights_gb
from local_server import health
from loopback import Answer, Site, site
from predict import PredictionError, predict

CONTRACT = json.dumps({"info": {"version": "dev"}, "paths": {"/": 1}})
# Runs a command as `docker exec` does, with a Python on PATH.
HERE = ["env", f"PATH={Path(sys.executable).parent}"]
TOKEN = "ghp_" + "a1B2" * 9


def image(**changed: Any) -> dict[str, Any]:
    label = json.dumps({"paths": {"/": 1}, "info": {"version": "0.1"}})
    config = {"Env": ["PATH=/bin"], "Labels": {"run.cog.openapi_schema": label}}
    return {"Size": 9_500_000_000, "Config": {**config, **changed}}


def test_an_image_as_it_must_be_has_nothing_wrong() -> None:
    assert list(described(image(), ["RUN pip install"], CONTRACT, 10)) == []


def test_an_image_may_be_larger_by_its_weights(tmp_path: Path) -> None:
    assert weights_gb(tmp_path) == 0
    (tmp_path / "weights" / "a").mkdir(parents=True)
    (tmp_path / "weights" / "a" / "a.safetensors").write_bytes(bytes(2_500_000))
    assert weights_gb(tmp_path) == pytest.approx(0.0025)


@pytest.mark.parametrize(
    ("inspected", "history", "image_gb", "said"),
    [
        (image(), [], 9.4, "The image has 9.5 GB; its smoke.yaml and its weights allow 9.4 GB."),
        (image(Labels=None), [], 10, "The image's schema is not the committed openapi.json: run `make schema`."),
        (
            image(Labels={"run.cog.openapi_schema": '{"info": {}, "paths": {}}'}),
            [],
            10,
            "The image's schema is not the committed openapi.json: run `make schema`.",
        ),
        (
            image(Env=["A=1", f"LOGIN={TOKEN}"]),
            [],
            10,
            "LOGIN holds a key or a token, which everyone who has the image can read.",
        ),
        (
            image(),
            [f"RUN echo {TOKEN}"],
            10,
            "A step of its build holds a key or a token, which everyone who has the image can read.",
        ),
    ],
)
def test_what_is_wrong_is_told(inspected: dict[str, Any], history: list[str], image_gb: float, said: str) -> None:
    assert list(described(inspected, history, CONTRACT, image_gb)) == [said]


@pytest.fixture
def inside() -> Iterator[tuple[Site, str]]:
    """A server as in a container, and the address of a bridge to it."""
    with site() as server, bridge(HERE, server.port) as url:
        yield server, url


def test_a_bridge_answers_as_the_server_behind_it(inside: tuple[Site, str]) -> None:
    server, url = inside
    server.answer("/health-check", Answer(b'{"status": "READY"}'))
    server.answer("/predictions", Answer(b'{"status": "succeeded", "output": "data:,"}'))
    assert health(url) == {"status": "READY"}
    assert predict(url, {"scale": 2})["status"] == "succeeded"
    assert server.asked == [("/health-check", b""), ("/predictions", b'{"input": {"scale": 2}}')]


def test_a_bridge_hands_on_refusals(inside: tuple[Site, str]) -> None:
    server, url = inside
    server.answer("/predictions", Answer(b'{"detail": [{"loc": ["body", "input", "scale"], "msg": "no"}]}', status=422))
    with pytest.raises(PredictionError, match="scale: no"):
        predict(url, {})


def test_a_server_that_does_not_answer_is_not_ready() -> None:
    with bridge(["false"]) as url:
        assert health(url) == {}


def test_waiting_ends_when_ready_and_when_time_or_the_container_does(
    inside: tuple[Site, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = inside
    said = {"inspect": "true", "logs": "what it said"}
    monkeypatch.setattr(check_image, "docker", lambda command, *_: said[command])
    server.answer("/health-check", Answer(b'{"status": "STARTING"}'), Answer(b'{"status": "READY"}'))
    assert 0 < ready_after(url, "id", 20) < 20
    server.answer("/health-check", Answer(b'{"status": "STARTING"}'))
    with pytest.raises(ImageError, match=r"not READY within 0\.5 s:\nwhat it said"):
        ready_after(url, "id", 0.5)
    said["inspect"] = "false"
    with pytest.raises(ImageError, match="ended:\nwhat it said"):
        ready_after(url, "id", 20)


def test_missing_docker_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(["real-esrgan"]) == 1
    assert capsys.readouterr().err == "Docker is not on PATH; it is needed to check an image.\n"
