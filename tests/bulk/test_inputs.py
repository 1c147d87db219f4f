from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from upscaling.bulk.inputs import parse
from upscaling.errors import UpscalingError

MODELS = Path(__file__).parents[2] / "models"
REAL_ESRGAN = MODELS / "real-esrgan"


def test_inputs_that_are_left_out_have_their_defaults() -> None:
    values = parse(REAL_ESRGAN, []).values
    assert (values["scale"], values["output_format"], values["width"]) == (4, "png", None)
    assert "image" not in values


@pytest.mark.parametrize("model", sorted(path.name for path in MODELS.iterdir()))
def test_every_model_takes_a_picture_and_a_format(model: str) -> None:
    inputs = parse(MODELS / model, ["output_format=webp"])
    assert inputs.picture in ("image", "img")
    assert inputs.suffix == "webp"


@pytest.mark.parametrize("model", sorted(path.name for path in MODELS.iterdir()))
def test_results_are_named_by_the_default_format(model: str) -> None:
    declared = json.loads((MODELS / model / "openapi.json").read_text())["components"]["schemas"]["Input"]["properties"]
    assert parse(MODELS / model, []).suffix == declared.get("format", declared["output_format"])["default"]


def test_arguments_differ_between_models() -> None:
    models = [path for path in MODELS.iterdir() if path.is_dir()]
    assert len({parse(model, []).arguments for model in models}) == len(models)


def test_values_have_their_declared_types() -> None:
    values = parse(REAL_ESRGAN, ["scale=2.5", "face_enhance=true", "width=7", "model=RealESRGAN_x2plus"]).values
    assert [values[name] for name in ("scale", "face_enhance", "width", "model")] == [2.5, True, 7, "RealESRGAN_x2plus"]


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        ("scale", "'scale' is not an input"),
        ("size=3", "'size=3' is not an input"),
        ("image=a.png", "'image=a.png' is not an input"),
        ("scale=11", "scale: 11 is greater than the maximum of 10"),
        ("scale=big", "scale: 'big' is not of type 'number'"),
        ("width=1.5", "width: 1.5 is not of type 'integer'"),
        ("model=best", "model: 'best' is not one of"),
    ],
)
def test_what_the_schema_does_not_allow_is_refused(pair: str, says: str) -> None:
    with pytest.raises(UpscalingError, match=f"^E_INPUT: {re.escape(says)}"):
        parse(REAL_ESRGAN, [pair])


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UpscalingError, match=r"E_INPUT: .* has no valid openapi.json"):
        parse(tmp_path, [])


def test_arguments_hold_what_the_result_depends_on() -> None:
    usual = parse(REAL_ESRGAN, [])
    assert json.loads(usual.arguments)["scale"] == 4
    assert parse(REAL_ESRGAN, ["tile_size=64"]).arguments == usual.arguments
    assert parse(REAL_ESRGAN, ["scale=2"]).arguments != usual.arguments


def test_files_are_sent_whole_and_named_by_their_digest(tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    mask.write_bytes(b"pixels")
    inputs = parse(MODELS / "ultimate-sd-upscale", [f"mask=@{mask}"])
    assert inputs.values["mask"] == "data:application/octet-stream;base64,cGl4ZWxz"
    assert re.fullmatch("sha256:[0-9a-f]{64}", json.loads(inputs.arguments)["mask"])


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UpscalingError, match=r"E_INPUT: .*none.png cannot be read"):
        parse(MODELS / "ultimate-sd-upscale", [f"mask=@{tmp_path / 'none.png'}"])


@pytest.mark.parametrize("given", ["mask.png", "https://example.com/mask.png", "data:image/png;base64,cGl4ZWxz", ""])
def test_what_is_not_a_file_is_refused_where_one_is_wanted(given: str) -> None:
    with pytest.raises(UpscalingError, match=f"^E_INPUT: mask is '{re.escape(given)}', not a file: take mask=@PATH"):
        parse(MODELS / "ultimate-sd-upscale", [f"mask={given}"])


def test_text_may_begin_as_the_name_of_a_file_does(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a cat")
    given = f"@{tmp_path / 'text'}"
    assert parse(MODELS / "ultimate-sd-upscale", [f"positive_prompt={given}"]).values["positive_prompt"] == given
