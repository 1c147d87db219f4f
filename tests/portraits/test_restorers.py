"""Networks for faces by the names that callers choose, and what the inputs of GFPGAN and CodeFormer must be."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import random_faces
import torch
from local_server import ROOT
from servers import FASTEST, STATES, data_url, picture, write_weights

from upscaling.errors import Code, UpscalingError
from upscaling.images import Image
from upscaling.portraits import Restorers, codeformer, gfpgan
from upscaling.superres.upscalers import Upscalers

CPU = torch.device("cpu")
EIGHT_BIT, SIXTEEN_BIT = (Image(np.zeros((8, 8, 3), dtype)) for dtype in (np.uint8, np.uint16))


def networks(model: str, folder: Path, image: Image = EIGHT_BIT) -> Any:
    restorers = Restorers(model, folder, CPU)
    return restorers.networks(restorers.entry({"codeformer": "codeformer"}.get(model, "GFPGANv1.3")), image)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gfpgan", "GFPGANv1.5"),
        ("gfpgan", "detection_Resnet50_Final"),
        ("gfpgan", "realesr-general-x4v3"),
        ("real-esrgan", "codeformer"),
        ("real-esrgan", ["GFPGANv1.3"]),
    ],
)
def test_other_networks_are_refused_with_the_known_ones(model: str, name: Any) -> None:
    with pytest.raises(UpscalingError, match=r"GFPGANv1\.3, GFPGANv1\.4, RestoreFormer") as raised:
        Restorers(model, Path("nowhere"), CPU).entry(name)
    assert raised.value.code is Code.INPUT


@pytest.mark.parametrize("name", ["GFPGANv1.3", "parsing_parsenet"])
def test_networks_for_faces_enlarge_no_background(name: str) -> None:
    with pytest.raises(UpscalingError, match="E_INPUT: there is no network"):
        Upscalers("real-esrgan", Path("nowhere"), CPU).get(name)


def test_a_network_is_loaded_once_in_each_type(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_weights({"GFPGANv1.3": random_faces.small_restoreformer()}, tmp_path)
    caplog.set_level(logging.INFO)
    given = networks("real-esrgan", tmp_path)
    first = given.restorer(torch.float32)
    assert given.restorer(torch.float32) is first
    assert given.restorer(torch.bfloat16).dtype is torch.bfloat16
    assert caplog.messages == ["Weights GFPGANv1.3, downloaded from tiny"] * 2


def test_the_cache_counts_all_memory_that_a_network_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSCALING_DTYPE", "float32")
    state = random_faces.parsenet()
    write_weights({"parsing_parsenet": state}, tmp_path)
    restorers = Restorers("real-esrgan", tmp_path, CPU)
    restorers.networks(restorers.entry("GFPGANv1.3"), EIGHT_BIT).parser()
    # Weights are packed, normalisations are folded into them, and 3×3 weights after a doubling become four times 2×2.
    after_doubling = re.compile(r"decoder\.\d\.(conv1|shortcut_func)\.conv2d\.weight")
    expected = sum(value.nbytes * (16 / 9 if after_doubling.match(name) else 1) for name, value in state.items())
    assert restorers.cache.nbytes == pytest.approx(expected, rel=0.02)


def test_the_log_says_once_that_weights_are_for_non_commercial_use_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_weights({"codeformer": random_faces.small_restoreformer()}, tmp_path)
    given = networks("codeformer", tmp_path)
    for _ in range(2):
        given.restorer(torch.float32)
    assert caplog.messages == [
        "codeformer is for non-commercial use only (S-Lab License 1.0, github.com/sczhou/CodeFormer)."
    ]


def test_weights_of_another_network_are_a_coded_error(tmp_path: Path) -> None:
    write_weights({"GFPGANv1.3": STATES[FASTEST], "parsing_parsenet": STATES[FASTEST]}, tmp_path)
    given = networks("real-esrgan", tmp_path)
    for load in (lambda: given.restorer(torch.float32), given.parser):
        with pytest.raises(UpscalingError, match="E_WEIGHTS"):
            load()


def test_faces_take_no_fp16_and_16_bit_pictures_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSCALING_DTYPE", "float16")
    assert networks("gfpgan", Path("nowhere")).dtype is torch.float32
    monkeypatch.setattr("upscaling.portraits.restorers.choose_dtype", lambda _: torch.bfloat16)
    assert networks("gfpgan", Path("nowhere")).dtype is torch.bfloat16
    assert networks("gfpgan", Path("nowhere"), SIXTEEN_BIT).dtype is torch.float32


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"version": "v1.5"}, "version is 'v1.5'; take one of v1.2, v1.3, v1.4, RestoreFormer."),
        ({"version": 1.4}, "version is 1.4; take one of"),
        ({"tile_size": 31}, "tile_size is 31; "),
        ({"tile_size": "0"}, "tile_size is '0'; "),
    ],
)
def test_gfpgan_refuses_invalid_options(options: dict[str, Any], told: str) -> None:
    upscalers, restorers = Upscalers("gfpgan", Path("nowhere"), CPU), Restorers("gfpgan", Path("nowhere"), CPU)
    with pytest.raises(UpscalingError) as raised:
        gfpgan.work(gfpgan.Options(**options), upscalers, restorers)
    assert raised.value.code is Code.INPUT
    assert raised.value.message.startswith(told)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"fidelity": -0.1}, "codeformer_fidelity is -0.1; take 0 to 1."),
        ({"fidelity": float("nan")}, "codeformer_fidelity is nan; take 0 to 1."),
        ({"fidelity": "0.2"}, "codeformer_fidelity is '0.2'; take a number."),
        ({"background_enhance": 1}, "background_enhance is 1; take true or false."),
        ({"face_upsample": "yes"}, "face_upsample is 'yes'; take true or false."),
        ({"tile_size": 2049}, "tile_size is 2049; "),
    ],
)
def test_codeformer_refuses_invalid_options(options: dict[str, Any], told: str) -> None:
    upscalers, restorers = Upscalers("codeformer", Path("nowhere"), CPU), Restorers("codeformer", Path("nowhere"), CPU)
    with pytest.raises(UpscalingError) as raised:
        codeformer.work(codeformer.Options(**options), upscalers, restorers)
    assert raised.value.code is Code.INPUT
    assert raised.value.message.startswith(told)


@pytest.mark.parametrize("upscale", [0, -1, 11, 1.5, "2", None, True])
def test_codeformer_refuses_other_factors_by_the_name_of_the_input(upscale: Any) -> None:
    with pytest.raises(UpscalingError, match="E_INPUT: upscale is "):
        codeformer.scale(upscale)
    assert codeformer.scale(2.0) == 2  # type: ignore[arg-type]


def test_without_face_enhance_nothing_of_faces_is_imported(tmp_path: Path) -> None:
    write_weights({FASTEST: STATES[FASTEST]}, tmp_path)
    assert _imported(tmp_path, face_enhance=False) == []


def _imported(cache: Path, face_enhance: bool) -> list[str]:
    """What the runner of real-esrgan has imported of faces after a prediction, in a process of its own."""
    code = f"""
import inspect, json, os, sys
import run
runner = run.Runner()
runner.setup()
runner.record_metric = lambda *_: None
declared = inspect.signature(runner.run).parameters
inputs = {{name: parameter.default.default for name, parameter in declared.items()}}
inputs |= {{"image": run.Path.validate({data_url(picture(10, 7))!r}), "model": {FASTEST!r}}}
assert os.path.getsize(runner.run(**inputs | {{"face_enhance": {face_enhance}}}))
rooms = ("cv2", "upscaling.faces", "upscaling.portraits", "spandrel_extra_arches")
print(json.dumps([name for name in rooms if name in sys.modules]))
"""
    environment = {**os.environ, "UPSCALING_CACHE": str(cache), "UPSCALING_DEVICE": "cpu", "TMPDIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "models" / "real-esrgan", env=environment, capture_output=True,
        text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
