from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import local_server
import numpy as np
import pytest
import smoke
from contract import read
from servers import FASTEST, STATES, picture, serving, write_weights
from smoke import Case, CaseError, Smoke

from upscaling import weights

MODELS = sorted(path.parent.name for path in local_server.ROOT.glob("models/*/cog.yaml"))
TINY = "tiny"  # what stands for the weights of diffusion models, which have gigabytes
PHOTO = {"image": "@samples/cat.jpg", "model": FASTEST}
GOOD = Case("half as large", {**PHOTO, "scale": 0.5}, size=(96, 96), format="png")


def cases(model: str) -> Smoke:
    return smoke.read(local_server.ROOT / "models" / model / "smoke.yaml")


@pytest.mark.parametrize("model", MODELS)
def test_cases_ask_for_inputs_and_networks_that_there_are(model: str) -> None:
    inputs = read((local_server.ROOT / "models" / model / "openapi.json").read_text()).inputs
    assert cases(model).weights == (TINY,) or set(cases(model).weights) <= {
        entry.name for entry in weights.of_model(model)
    }
    for case in cases(model).cases:
        assert set(case.inputs) <= set(inputs), case.name
        files = [value for value in case.inputs.values() if isinstance(value, str) and value.startswith("@")]
        assert [path for path in files if not (local_server.ROOT / path[1:]).is_file()] == []


@pytest.mark.parametrize("model", MODELS)
def test_cases_expect_a_picture_or_an_error(model: str) -> None:
    all_cases = cases(model).cases
    assert len({case.name for case in all_cases}) == len(all_cases)
    for case in all_cases:
        if case.error is None:
            assert case.size, case.name
            assert case.format in ("png", "jpeg", "webp"), case.name
        else:
            assert (case.size, case.format, case.golden, case.gpu) == (None, None, None, False), case.name
        assert case.golden is None or (local_server.ROOT / "models" / model / case.golden).is_file()


@pytest.mark.parametrize("model", MODELS)
def test_networks_of_the_cases_are_written_in_one_line(model: str) -> None:
    # So that the Makefile can read them.
    (line,) = [line for line in _text(model).splitlines() if line.startswith("weights:")]
    assert line == f"weights: [{', '.join(cases(model).weights)}]"


def _text(model: str) -> str:
    return (local_server.ROOT / "models" / model / "smoke.yaml").read_text()


@pytest.mark.parametrize("model", MODELS)
def test_cases_include_a_success_and_a_failure(model: str) -> None:
    assert {case.error is None for case in cases(model).cases} == {True, False}
    assert any(case.error is None for case in cases(model).cases if not case.gpu)
    assert cases(model).weights


def test_no_weights_are_downloaded_for_cases_that_need_none(tmp_path: Path) -> None:
    (tmp_path / "smoke.yaml").write_text("weights: []\n")
    command = ["make", "--silent", "smoke-weights", f"FOLDER={tmp_path}"]
    done = subprocess.run(command, cwd=local_server.ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    cache = tmp_path_factory.mktemp("cache")
    write_weights(STATES, cache)
    with serving("real-esrgan", tmp_path_factory.mktemp("server"), cache) as client:
        yield client.url


def test_a_case_that_ends_as_it_must_is_ok(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    failing = Case("nothing", {**PHOTO, "scale": 0}, error="E_INPUT")
    assert smoke.run("real-esrgan", url, [GOOD, failing]) == 0
    assert [line.rpartition(": ")[2] for line in capsys.readouterr().out.splitlines()] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (replace(GOOD, size=(96, 97)), "the result is 96×96; "),
        (replace(GOOD, format="webp"), "the result is png; "),
        (replace(GOOD, size=None, format=None, error="E_INPUT"), r"it succeeded; expected the error E_INPUT\."),
        (Case("other error", {"image": "@README.md"}, error="E_INPUT"), "E_FORMAT: "),
        (Case("unexpected error", {**PHOTO, "scale": 0}, size=(0, 0)), "E_INPUT: "),
        (Case("refused", {**PHOTO, "scale": 11}, size=(0, 0)), "scale: "),
        (replace(GOOD, golden="smoke/cat-x2.webp"), r"differs from smoke/cat-x2\.webp: PSNR 0\.0 dB"),
    ],
)
def test_a_case_that_ends_otherwise_says_how(url: str, case: Case, said: str) -> None:
    with pytest.raises(CaseError, match=said):
        smoke.check("real-esrgan", url, case)


def test_every_failed_case_is_counted(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = replace(GOOD, format="jpeg")
    assert smoke.run("real-esrgan", url, [wrong, GOOD, wrong]) == 2
    assert [("FAILED" in line) for line in capsys.readouterr().out.splitlines()] == [True, False, True]


@pytest.mark.parametrize(
    ("value", "written"),
    [(2, "2"), (0.5, "0.5"), (True, "true"), ("a b", "a b"), ("@samples/x.png", f"@{local_server.ROOT}/samples/x.png")],
)
def test_values_are_written_as_on_a_command_line(value: Any, written: str) -> None:
    assert smoke._written(value) == written


def test_psnr_is_that_of_8_bit_pixels() -> None:
    pixels = np.full((4, 5, 3), 100.0)
    assert smoke.psnr_db(pixels, pixels) == float("inf")
    assert smoke.psnr_db(pixels, pixels + 255) == pytest.approx(0)
    assert smoke.psnr_db(pixels, pixels + 25.5) == pytest.approx(20)
    assert smoke.psnr_db(pixels, pixels[:3]) == 0


def test_a_picture_that_differs_is_no_golden_one() -> None:
    golden = smoke.picture((local_server.ROOT / "models/real-esrgan/smoke/cat-x2.webp").read_bytes())
    plain = smoke.picture(picture(golden.width, golden.height))
    assert smoke.psnr_db(smoke._pixels(golden), smoke._pixels(plain)) < 15
