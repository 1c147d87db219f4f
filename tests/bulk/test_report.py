from __future__ import annotations

import re
import sys

import pytest

from upscaling.bulk.report import Report, duration, say


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (3540, "59 min"), (26_400, "7 h 20 min")]
)
def test_times_are_for_people(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_the_summary_counts_by_code_and_names_a_picture_of_each() -> None:
    report = Report(pictures=5, total_bytes=50)
    for name, code in (("a", None), ("b", "E_DECODE"), ("c", "E_DECODE"), ("d", "")):
        outcome = {"outcome": "done"} if code is None else {"outcome": "failed", "code": code, "error": "it is cut."}
        report.add({"input": name, "input_bytes": 10, **outcome})
    first, *others = report.summary().splitlines()
    assert re.fullmatch(r"1 done, 3 failed in 0 s, [\d.]+ per second\.", first)
    assert others == [
        "1 not begun or not finished.",
        "  E_DECODE: 2, for example b: it is cut.",
        "  no code: 1, for example d: it is cut.",
    ]


def test_progress_says_how_much_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(pictures=2, total_bytes=40)
    report.add({"input": "a", "input_bytes": 30, "outcome": "done"})
    report.show()
    report.show()  # too early for another line
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"1 of 2 pictures, 0 failed, [\d.]+ per second, about 0 s left", line)


def test_on_a_terminal_what_is_said_takes_the_place_of_the_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    Report(pictures=2, total_bytes=40).show()
    say("the end")
    assert re.fullmatch(r"\r0 of 2 pictures, .* per second\033\[K\r\033\[Kthe end\n", capsys.readouterr().err)


def test_in_a_log_what_is_said_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("the end")
    assert capsys.readouterr().err == "the end\n"
