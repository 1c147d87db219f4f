from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import random_swinir
import torch
from servers import FASTEST, opened, picture

import tiny
from upscaling import weights
from upscaling.errors import Code, UpscalingError
from upscaling.images import Image, Rows, Size
from upscaling.runtime.progress import Progress
from upscaling.serving import pipeline
from upscaling.serving.output import Output
from upscaling.serving.pipeline import process
from upscaling.superres import swinir
from upscaling.superres.real_esrgan import Options, work
from upscaling.superres.upscalers import Upscalers
from upscaling.weights.store import write

CPU = torch.device("cpu")
ENTRY = weights.entry(FASTEST)
Run = Callable[..., Path]


@pytest.fixture
def figures() -> dict[str, Any]:
    return {}


@pytest.fixture
def run(tmp_path: Path, figures: dict[str, Any]) -> Run:
    """Runs a request of Real-ESRGAN on a picture of 10 × 7 pixels with a tiny network."""
    write(tiny.srvgg(), ENTRY, "tiny", tmp_path / "weights")
    upscalers = Upscalers("real-esrgan", tmp_path / "weights", CPU)
    (tmp_path / "picture.png").write_bytes(picture(10, 7))
    (tmp_path / "result").mkdir()

    def upscale(progress: Callable[[float], None] = lambda _: None, **inputs: Any) -> Path:
        of_output = {field.name for field in fields(Output)}
        output = Output(**{name: value for name, value in inputs.items() if name in of_output})
        options = Options(**{"network": FASTEST, **{k: v for k, v in inputs.items() if k not in of_output}})
        source, result = tmp_path / "picture.png", tmp_path / "result"
        return process(source, result, output, work(options, upscalers), figures.__setitem__, Progress(progress))

    return upscale


@pytest.mark.parametrize(
    ("code", "inputs"),
    [
        (Code.INPUT, {"scale": 0}),
        (Code.INPUT, {"scale": -1}),
        (Code.INPUT, {"scale": 10.001}),
        (Code.INPUT, {"scale": math.nan}),
        (Code.INPUT, {"scale": math.inf}),
        (Code.INPUT, {"width": 0}),
        (Code.INPUT, {"height": -5}),
        (Code.INPUT, {"width": 4, "height": 0}),
        (Code.INPUT, {"tile_size": 31}),
        (Code.INPUT, {"tile_size": 2049}),
        (Code.INPUT, {"tile_size": -1}),
        (Code.INPUT, {"format": "gif"}),
        (Code.INPUT, {"format": "PNG"}),
        (Code.INPUT, {"quality": 0}),
        (Code.INPUT, {"quality": 101}),
        (Code.INPUT, {"network": "RealESRGAN_x8plus"}),
        (Code.INPUT, {"denoise_strength": -0.1, "network": "realesr-general-x4v3"}),
        (Code.INPUT, {"denoise_strength": math.nan, "network": "realesr-general-x4v3"}),
        (Code.INPUT, {"denoise_strength": 0.5}),
        (Code.TOO_LARGE, {"width": 1_000_000}),
        (Code.TOO_LARGE, {"width": 256_000_000, "height": 1}),
        (Code.TOO_LARGE, {"width": 50, "height": 5_000_000}),
        (Code.TOO_LARGE, {"width": 16_384, "height": 1, "format": "webp"}),
        (Code.TOO_LARGE, {"width": 1, "height": 65_501, "format": "jpg"}),
    ],
)
def test_refusals_come_before_decoding_and_weights(
    run: Run, monkeypatch: pytest.MonkeyPatch, code: Code, inputs: dict[str, Any]
) -> None:
    def unwanted(*_: object) -> None:
        raise AssertionError("the refusal came too late")

    monkeypatch.setattr(pipeline, "decode", unwanted)
    monkeypatch.setattr(weights, "load", unwanted)
    with pytest.raises(UpscalingError) as raised:
        run(**inputs)
    assert raised.value.code is code


@pytest.mark.parametrize("name", ["width", "height", "tile_size", "quality"])
def test_whole_numbers_with_a_point_are_whole_numbers(run: Run, name: str) -> None:
    # JSON Schema holds 64.0 for an integer.
    whole, pointed = (run(format="jpg", **{name: value}).read_bytes() for value in (64, 64.0))
    assert pointed == whole


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale", "4"),
        ("scale", None),
        ("scale", True),
        ("width", 1.5),
        ("width", "300"),
        ("height", [300]),
        ("tile_size", None),
        ("tile_size", 64.5),
        ("quality", math.inf),
        ("quality", "95"),
        ("format", None),
        ("network", ["x"]),
        ("denoise_strength", "1"),
        ("denoise_strength", True),
        ("second_pass", "yes"),
        ("seamless", 1),
    ],
)
def test_values_of_a_wrong_type_are_refused(run: Run, name: str, value: Any) -> None:
    # A server without its schema lets them through.
    with pytest.raises(UpscalingError, match="E_INPUT: "):
        run(**{name: value})


def test_limits_of_the_operator_hold(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSCALING_MAX_OUTPUT_MP", "0.001")
    with pytest.raises(UpscalingError, match=r"E_TOO_LARGE: .* largest scale that fits this picture is 3\.77"):
        run()
    assert opened(run(scale=3.77).read_bytes()).size == (38, 26)
    monkeypatch.setenv("UPSCALING_MAX_INPUT_MP", "0.00001")
    with pytest.raises(UpscalingError, match=r"E_TOO_LARGE: .* raise UPSCALING_MAX_INPUT_MP"):
        run(scale=1)


@pytest.mark.parametrize(("output_format", "mode"), [("png", "L"), ("jpg", "L"), ("webp", "RGB")])
def test_a_network_for_grey_is_given_grey_and_a_log_line_says_so(
    run: Run, tmp_path: Path, figures: dict[str, Any], caplog: pytest.LogCaptureFixture, output_format: str, mode: str
) -> None:
    grey = weights.entry("004_grayDN_DFWB_s128w8_SwinIR-M_noise15")
    write(random_swinir.state(random_swinir.tiny("gray_dn")), grey, "tiny", tmp_path / "weights")
    options = swinir.Options(swinir.TaskType.DENOISE_GREY)
    denoise = swinir.work(options, Upscalers("swinir", tmp_path / "weights", CPU))
    source, output = tmp_path / "picture.png", Output(scale=1, format=output_format)
    prepare = partial(swinir.prepared, options)
    with caplog.at_level(logging.INFO, logger=swinir.__name__):
        made = process(source, tmp_path, output, denoise, figures.__setitem__, Progress(), prepare)
    result = opened(made.read_bytes())
    assert (result.mode, result.size) == (mode, (10, 7))
    assert caplog.messages == ["Grayscale Image Denoising accepts only grey. The picture is converted to grey."]


@pytest.mark.parametrize("output_format", ["png", "jpg", "webp"])
def test_result_is_called_output(run: Run, output_format: str) -> None:
    assert run(format=output_format).name == f"output.{output_format}"


def test_figures_of_the_request_are_recorded_also_where_it_fails(
    run: Run, figures: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(scale=2)
    sizes = {"input_width": 10, "input_height": 7, "output_width": 20, "output_height": 14}
    assert figures.items() > {**sizes, "tiles": 1, "retries": 0, "device": "cpu", "weights": "tiny"}.items()
    figures.clear()

    def fail(*_: object) -> None:
        raise UpscalingError(Code.DECODE, "damaged")

    monkeypatch.setattr(pipeline, "decode", fail)
    with pytest.raises(UpscalingError):
        run(scale=2)
    assert figures == sizes


def test_progress_ends_at_one(run: Run) -> None:
    shares: list[float] = []
    run(progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_cancel_in_the_middle_leaves_no_result(run: Run, tmp_path: Path) -> None:
    class Cancelled(BaseException):
        pass

    def cancel(_: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        run(progress=cancel)
    assert list((tmp_path / "result").iterdir()) == []
    assert opened(run().read_bytes()).size == (40, 28)


@pytest.mark.parametrize("output_format", ["png", "jpg", "webp"])
def test_rows_that_are_not_finite_are_written_anew_from_the_next_attempt(
    tmp_path: Path, figures: dict[str, Any], output_format: str
) -> None:
    (tmp_path / "picture.png").write_bytes(picture(10, 7))

    def doubled(image: Image, spoiled: bool) -> Rows:
        for row in image.pixels.repeat(2, axis=0).repeat(2, axis=1):
            yield row[None], None
        if spoiled:
            raise UpscalingError(Code.NONFINITE, "NaN")

    def made(*attempts: bool) -> bytes:
        def work(image: Image, size: Size, progress: Progress) -> Iterator[Rows]:
            assert size == (20, 14)
            yield from (doubled(image, spoiled) for spoiled in attempts)

        output = Output(scale=2, format=output_format)
        source = tmp_path / "picture.png"
        return process(source, tmp_path, output, work, figures.__setitem__, Progress()).read_bytes()

    once = made(False)
    assert opened(once).size == (20, 14)
    assert made(True, False) == once
    (tmp_path / f"output.{output_format}").unlink()
    with pytest.raises(UpscalingError, match="E_NONFINITE"):
        made(True, True)
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_what_a_model_computes_before_it_has_rows_counts_as_computing(
    tmp_path: Path, figures: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "picture.png").write_bytes(picture(10, 7))
    now = 0.0
    monkeypatch.setattr(pipeline, "perf_counter", lambda: now)

    def work(image: Image, *_: object) -> Iterator[Rows]:
        nonlocal now
        now += 5
        yield iter([(image.pixels, None)])

    process(tmp_path / "picture.png", tmp_path, Output(scale=1), work, figures.__setitem__, Progress())
    assert (figures["seconds_computing"], figures["seconds_encoding"]) == (5, 0)
