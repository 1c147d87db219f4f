from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import random_swinir
from hypothesis import given
from hypothesis import strategies as st
from servers import FASTEST, opened, picture

import tiny
from upscaling import weights
from upscaling.errors import Code, UpscalingError
from upscaling.serving import job
from upscaling.serving.job import Request, target_size, upscale_file
from upscaling.superres.library import Library
from upscaling.weights.store import write

ENTRY = weights.entry(FASTEST)
Run = Callable[..., Path]


@pytest.fixture
def figures() -> dict[str, Any]:
    return {}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: dict[str, Any]) -> Run:
    """Runs a request on a picture of 10 × 7 pixels with a tiny network."""
    monkeypatch.setenv("UPSCALING_DEVICE", "cpu")
    write(tiny.srvgg(), ENTRY, "tiny", tmp_path / "weights")
    library = Library("real-esrgan", baked=tmp_path / "weights")
    (tmp_path / "picture.png").write_bytes(picture(10, 7))
    (tmp_path / "result").mkdir()

    def upscale(progress: Callable[[float], None] = lambda _: None, **inputs: Any) -> Path:
        request = Request(**{"network": FASTEST, **inputs})
        source, result = tmp_path / "picture.png", tmp_path / "result"
        return upscale_file(source, result, request, library, figures.__setitem__, progress)

    return upscale


@pytest.mark.parametrize(
    ("request_", "size", "expected"),
    [
        (Request("any"), (10, 7), (40, 28)),
        (Request("any", scale=0.5), (5, 7), (2, 4)),  # 2.5 and 3.5 round to the even number
        (Request("any", scale=2.5), (1, 3), (2, 8)),
        (Request("any", scale=0.01), (10, 400), (1, 4)),
        (Request("any", width=5), (2, 1), (5, 2)),
        (Request("any", width=7), (2, 1), (7, 4)),
        (Request("any", height=5), (1, 2), (2, 5)),
        (Request("any", width=10), (1000, 3), (10, 1)),
        (Request("any", height=10), (3, 1000), (1, 10)),
        (Request("any", width=3, height=9), (1000, 1), (3, 9)),
        (Request("any", scale=10, width=3), (3, 3), (3, 3)),
    ],
)
def test_target_size_rounds_half_to_even_and_is_at_least_one(
    request_: Request, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert target_size(request_, *size) == expected


@given(
    width=st.integers(1, 20_000),
    height=st.integers(1, 20_000),
    scale=st.floats(0, 10, exclude_min=True),
    asked_width=st.none() | st.integers(1, 70_000),
    asked_height=st.none() | st.integers(1, 70_000),
)
def test_target_size_is_exact_where_asked_and_within_half_a_pixel_elsewhere(
    width: int, height: int, scale: float, asked_width: int | None, asked_height: int | None
) -> None:
    found = target_size(Request("any", scale, asked_width, asked_height), width, height)
    assert asked_width in (None, found[0])
    assert asked_height in (None, found[1])
    factor = scale
    if asked_width or asked_height:
        factor = asked_width / width if asked_width else (asked_height or 0) / height
    for side, source, asked in ((found[0], width, asked_width), (found[1], height, asked_height)):
        assert side >= 1
        assert asked or abs(side - source * factor) <= 0.5 + 1e-6 or side == 1


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
        (Code.INPUT, {"output_format": "gif"}),
        (Code.INPUT, {"output_format": "PNG"}),
        (Code.INPUT, {"output_quality": 0}),
        (Code.INPUT, {"output_quality": 101}),
        (Code.INPUT, {"network": "RealESRGAN_x8plus"}),
        (Code.INPUT, {"denoise_strength": -0.1, "network": "realesr-general-x4v3"}),
        (Code.INPUT, {"denoise_strength": math.nan, "network": "realesr-general-x4v3"}),
        (Code.INPUT, {"denoise_strength": 0.5}),
        (Code.TOO_LARGE, {"width": 1_000_000}),
        (Code.TOO_LARGE, {"width": 256_000_000, "height": 1}),
        (Code.TOO_LARGE, {"width": 50, "height": 5_000_000}),
        (Code.TOO_LARGE, {"width": 16_384, "height": 1, "output_format": "webp"}),
        (Code.TOO_LARGE, {"width": 1, "height": 65_501, "output_format": "jpg"}),
    ],
)
def test_refusals_come_before_decoding_and_weights(
    run: Run, monkeypatch: pytest.MonkeyPatch, code: Code, inputs: dict[str, Any]
) -> None:
    def unwanted(*_: object) -> None:
        raise AssertionError("the refusal came too late")

    monkeypatch.setattr(job, "decode", unwanted)
    monkeypatch.setattr(weights, "load", unwanted)
    with pytest.raises(UpscalingError) as raised:
        run(**inputs)
    assert raised.value.code is code


@pytest.mark.parametrize("name", ["width", "height", "tile_size", "output_quality"])
def test_whole_numbers_with_a_point_are_whole_numbers(run: Run, name: str) -> None:
    # JSON Schema holds 64.0 for an integer.
    whole, pointed = (run(output_format="jpg", **{name: value}).read_bytes() for value in (64, 64.0))
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
        ("output_quality", math.inf),
        ("output_quality", "95"),
        ("output_format", None),
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
    library = Library("swinir", baked=tmp_path / "weights")
    request = Request(grey.name, scale=1, output_format=output_format)
    with caplog.at_level(logging.INFO, logger=job.__name__):
        made = upscale_file(tmp_path / "picture.png", tmp_path, request, library, figures.__setitem__, lambda _: None)
    result = opened(made.read_bytes())
    assert (result.mode, result.size) == (mode, (10, 7))
    assert caplog.messages == [f"The picture is in colour and {grey.name} takes grey only: it is converted to grey."]


@pytest.mark.parametrize("output_format", ["png", "jpg", "webp"])
def test_result_is_called_output(run: Run, output_format: str) -> None:
    assert run(output_format=output_format).name == f"output.{output_format}"


def test_figures_of_the_request_are_recorded_also_where_it_fails(
    run: Run, figures: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(scale=2)
    sizes = {"input_width": 10, "input_height": 7, "output_width": 20, "output_height": 14}
    assert figures.items() > {**sizes, "tiles": 1, "retries": 0, "device": "cpu", "weights": "tiny"}.items()
    figures.clear()

    def fail(*_: object) -> None:
        raise UpscalingError(Code.DECODE, "damaged")

    monkeypatch.setattr(job, "decode", fail)
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
