"""The command line: what it refuses before anything happens, and --dry-run."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from servers import picture

from upscaling.bulk import __main__ as command
from upscaling.bulk import headers, job, results
from upscaling.bulk.__main__ import main
from upscaling.bulk.arrow import arrow
from upscaling.bulk.engine import Pool
from upscaling.bulk.inputs import parse
from upscaling.bulk.places import Place
from upscaling.bulk.plan import plan
from upscaling.errors import Code, UpscalingError

MODEL = Path(__file__).parents[2] / "models" / "real-esrgan"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--cpus", "0"], "E_INPUT: --cpus is 0: take a whole number, 1 or more.\n"),
        (["--workers", "0"], "E_INPUT: --workers is 0: take a whole number, 1 or more.\n"),
        (["--workers", "-2"], "E_INPUT: --workers is -2: take a whole number, 1 or more.\n"),
        (["--gpus", "1.5"], "E_INPUT: --gpus is 1.5: take 0, a part of one such as 0.5, or a whole number.\n"),
        (["--gpus", "nan"], "E_INPUT: --gpus is nan: take 0, a part of one such as 0.5, or a whole number.\n"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(
    options: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "in"), str(tmp_path / "out"), "--model", str(MODEL), *options]) == 2
    assert capsys.readouterr().err == says


def test_inputs_that_make_no_sense_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "in"), str(tmp_path / "out"), "--model", str(MODEL), "-i", "scale=99"]) == 2
    assert capsys.readouterr().err == "E_INPUT: scale: 99 is greater than the maximum of 10\n"


def test_an_error_without_a_code_ends_with_2_and_its_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(options: object) -> bool:
        raise ConnectionError("no cluster")

    monkeypatch.setattr(command, "run", run)
    assert main([str(tmp_path / "in"), str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.endswith("ConnectionError: no cluster\n")


class Full(results.Parts):
    """A table whose place is full."""

    def __init__(self) -> None: ...

    def close(self) -> None:
        raise UpscalingError(Code.ENCODE, "the disk is full.")


def test_a_table_that_cannot_be_written_does_not_hide_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    job._close(Full(), KeyboardInterrupt, KeyboardInterrupt(), None)
    assert capsys.readouterr().err == "E_ENCODE: the disk is full.\n"
    with pytest.raises(UpscalingError, match=r"^E_ENCODE"):
        job._close(Full(), None, None, None)


@pytest.mark.parametrize(("kind", "ends"), [(None, 1), (KeyboardInterrupt, 0), (UpscalingError, 0)])
def test_ray_is_ended_only_if_nothing_waits_for_rows(
    monkeypatch: pytest.MonkeyPatch, kind: type[BaseException] | None, ends: int
) -> None:
    ended: list[None] = []
    monkeypatch.setattr(job.engine, "disconnect", lambda: ended.append(None))
    job._disconnect(kind, None, None)
    assert len(ended) == ends


def rows_of(*codes: str | None) -> Iterator[dict[str, Any]]:
    for code in codes:
        yield {
            "input": "a.png",
            "input_bytes": 1,
            "outcome": "failed" if code else "done",
            "code": code,
            "error": "why.",
        }


@pytest.mark.parametrize(("codes", "is_hopeless"), [
    (["E_WEIGHTS"] * 50, True),
    (["E_WEIGHTS"] * 39, False),
    ([None, *["E_WEIGHTS"] * 50], False),
    (["E_DECODE", *["E_WEIGHTS"] * 50], False),
])  # fmt: skip
def test_a_job_whose_first_pictures_all_lack_weights_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, codes: list[str | None], is_hopeless: bool
) -> None:
    monkeypatch.setattr(job, "engine", Mock(choose=lambda *_: Pool(2, 2, 1, 0)))
    monkeypatch.setattr(job.pool, "process", lambda *_: rows_of(*codes))
    work = arrow.table({"input": ["a.png"] * 60, "input_bytes": [1] * 60})
    target = Place.of(str(tmp_path))
    options = Namespace(workers=None, cpus=1, gpus=None)
    with pytest.raises(UpscalingError, match=r"^E_WEIGHTS: .* a\.png: why\.$") if is_hopeless else nullcontext():
        job.work_off(work, Mock(), target, "", options)
    assert results.read(target, ["code"])["code"].to_pylist() == codes[-1:]


def dry_run(folder: Path, *options: str) -> int:
    return main([str(folder / "in"), str(folder / "out"), "--model", str(MODEL), "--dry-run", *options])


def test_a_dry_run_says_what_there_is_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.png").write_bytes(picture(100, 100))
    assert dry_run(tmp_path) == 0
    assert capsys.readouterr().err.splitlines() == [
        "3 of 3 pictures to do; skipped: 0 done.",
        "3 pictures with a readable header, 0.0 MP.",
        "The time is not known: no earlier run with these inputs has done a picture.",
    ]
    assert not (tmp_path / "out").exists()


def test_a_dry_run_with_pictures_that_cannot_be_read_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headers, "_AT_ONCE", 1)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(picture(100, 100))
    (tmp_path / "in" / "b.png").write_bytes(b"no picture")
    assert dry_run(tmp_path) == 1
    said = capsys.readouterr().err
    assert "1 pictures with a readable header" in said
    assert "E_FORMAT: 1" in said


def test_only_what_failed_is_done_if_that_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "failed.png").write_bytes(picture(100, 100))
    inputs = parse(MODEL, [])
    target = Place.of(str(tmp_path / "out"))
    parts = results.Parts(target)
    for row in plan(Place.of(str(tmp_path / "in")), target, inputs, only_failed=False).work.to_pylist():
        parts.add({**row, "outcome": "failed", "code": "E_MEMORY", "arguments": inputs.arguments})
    parts.close()
    (tmp_path / "in" / "new.png").write_bytes(picture(100, 100))
    assert dry_run(tmp_path, "--only-failed") == 0
    assert capsys.readouterr().err.startswith("1 of 2 pictures to do; skipped: 0 done, 1 that have not failed.\n")
