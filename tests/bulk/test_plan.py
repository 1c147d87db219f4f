from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import linux_only

from upscaling.bulk import results
from upscaling.bulk.inputs import Inputs, parse
from upscaling.bulk.places import Place
from upscaling.bulk.plan import Plan, plan
from upscaling.bulk.report import intention
from upscaling.errors import UpscalingError

INPUTS = parse(Path(__file__).parents[2] / "models" / "real-esrgan", [])
SMALLER_TILES = parse(Path(__file__).parents[2] / "models" / "real-esrgan", ["tile_size=64"])
TWICE = parse(Path(__file__).parents[2] / "models" / "real-esrgan", ["scale=2"])


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    return tmp_path / "in", tmp_path / "out"


def write(folder: Path, **sizes: int) -> None:
    for name, size in sizes.items():
        path = folder / name.replace("_", ".")
        path.write_bytes(b"x" * size)


def planned(places: tuple[Path, Path], inputs: Inputs = INPUTS, only_failed: bool = False) -> Plan:
    source, target = places
    return plan(Place.of(str(source)), Place.of(str(target)), inputs, only_failed)


def todo(places: tuple[Path, Path], **options: Any) -> list[str]:
    return planned(places, **options).work["input"].to_pylist()


def end(places: tuple[Path, Path], code: str | None = None, inputs: Inputs = INPUTS) -> None:
    """Ends all pictures that are to do, as workers would: with results, or with a code."""
    source, target = places
    place = Place.of(str(target))
    work = plan(Place.of(str(source)), place, inputs, only_failed=False)
    parts = results.Parts(place)
    for row in work.work.to_pylist():
        if code is None:
            (target / row["output"]).write_bytes(b"result")
        outcome = {"outcome": "failed", "code": code} if code else {"outcome": "done", "output_bytes": 6}
        parts.add({**row, **outcome, "arguments": inputs.arguments})
    parts.close()


def test_the_largest_picture_comes_first(places: tuple[Path, Path]) -> None:
    write(places[0], small_png=1, large_png=9, medium_png=5)
    assert todo(places) == ["large.png", "medium.png", "small.png"]


def test_results_keep_the_path(places: tuple[Path, Path]) -> None:
    (places[0] / "deep" / "er").mkdir(parents=True)
    write(places[0] / "deep" / "er", a_jpg=1)
    assert planned(places).work["output"].to_pylist() == ["deep/er/a.png"]


def test_pictures_that_differ_in_their_extension_have_two_results(places: tuple[Path, Path]) -> None:
    write(places[0], a_jpg=3, a_webp=2, b_jpg=1)
    assert planned(places).work["output"].to_pylist() == ["a.jpg.png", "a.webp.png", "b.png"]


def test_two_pictures_never_share_a_result(places: tuple[Path, Path]) -> None:
    write(places[0], a_jpg=3, a_webp=2, a_jpg_tif=1)
    with pytest.raises(UpscalingError, match=r"E_INPUT: two pictures have the same result 'a.jpg.png'"):
        planned(places)


def test_files_that_are_no_pictures_are_counted_and_hidden_ones_are_not(places: tuple[Path, Path]) -> None:
    write(places[0], a_png=1, notes_txt=1, Thumbs_db=1, picture=1, _DS_Store=1)
    assert todo(places) == ["a.png", "picture"]
    assert planned(places).other_files == 2


@pytest.mark.parametrize(
    "name",
    [
        "a.PNG",
        "a.jpg",
        "a.jpeg",
        "a.jfif",
        "a.webp",
        "a.avif",
        "a.tif",
        "a.tiff",
        "a.gif",
        "a.heic",
        "a.jxl",
        "a",
        "12.03.2024",
    ],
)
def test_pictures_are_known_by_their_names(places: tuple[Path, Path], name: str) -> None:
    (places[0] / name).touch()
    assert todo(places) == [name]


@pytest.mark.parametrize("name", ["a.xmp", "a.md5", "a.png.gz", "a.png.part", "a.mp4", "desktop.ini"])
def test_other_files_are_known_by_their_names(places: tuple[Path, Path], name: str) -> None:
    write(places[0], a_png=1)
    (places[0] / name).touch()
    assert todo(places) == ["a.png"]
    assert planned(places).other_files == 1


def test_done_pictures_are_skipped(places: tuple[Path, Path]) -> None:
    write(places[0], a_png=1, b_png=2)
    end(places)
    write(places[0], new_png=3)
    again = planned(places)
    assert (again.work["input"].to_pylist(), again.done, again.pictures) == (["new.png"], 2, 3)


def _change_content(source: Path, target: Path) -> None:
    (source / "a.png").write_bytes(b"longer")


def _change_time(source: Path, target: Path) -> None:
    os.utime(source / "a.png", ns=(0, 0))


def _lose_result(source: Path, target: Path) -> None:
    (target / "a.png").unlink()


def _cut_result(source: Path, target: Path) -> None:
    (target / "a.png").write_bytes(b"res")


@pytest.mark.parametrize("change", [_change_content, _change_time, _lose_result, _cut_result])
def test_what_has_changed_is_done_again(places: tuple[Path, Path], change: Callable[[Path, Path], None]) -> None:
    write(places[0], a_png=1, b_png=1)
    end(places)
    change(*places)
    assert todo(places) == ["a.png"]


def test_other_inputs_are_done_again_but_not_other_tiles(places: tuple[Path, Path]) -> None:
    write(places[0], a_png=1)
    end(places)
    assert todo(places, inputs=SMALLER_TILES) == []
    assert todo(places, inputs=TWICE) == ["a.png"]


@pytest.mark.parametrize("code", ["E_MEMORY", "E_DEVICE", "E_WEIGHTS", "E_ENCODE", "E_NONFINITE", ""])
def test_failures_of_the_operator_are_tried_again(places: tuple[Path, Path], code: str) -> None:
    write(places[0], a_png=1)
    end(places, code or "no code at all")
    assert todo(places) == ["a.png"]


@pytest.mark.parametrize("code", ["E_FORMAT", "E_DECODE", "E_INPUT", "E_TOO_LARGE"])
def test_failures_of_the_caller_are_not_tried_again(places: tuple[Path, Path], code: str) -> None:
    write(places[0], a_png=1)
    end(places, code)
    again = planned(places)
    assert (again.work.num_rows, again.done, again.refused) == (0, 0, 1)


def test_only_failed_leaves_out_what_is_new(places: tuple[Path, Path]) -> None:
    write(places[0], a_png=1)
    end(places, "E_MEMORY")
    write(places[0], new_png=1)
    assert todo(places, only_failed=True) == ["a.png"]


def test_only_failed_leaves_out_failures_with_other_inputs(places: tuple[Path, Path]) -> None:
    write(places[0], a_png=1)
    end(places, "E_MEMORY", TWICE)
    assert todo(places, only_failed=True) == []
    assert todo(places, inputs=TWICE, only_failed=True) == ["a.png"]


def test_a_picture_that_is_begun_again_has_still_failed(places: tuple[Path, Path]) -> None:
    write(places[0], a_png=1)
    end(places, "E_MEMORY")
    planned(places)  # by a job that is killed before it writes a row
    assert todo(places, only_failed=True) == ["a.png"]


@linux_only
def test_a_name_that_is_not_utf8_is_counted_and_the_others_go_on(places: tuple[Path, Path]) -> None:
    write(places[0], a_png=1)
    for name in (b"bad\xff.png", b".bad\xff.png", b"bad\xff.txt"):
        (places[0] / os.fsdecode(name)).write_bytes(b"x")
    found = planned(places)
    assert found.work["input"].to_pylist() == ["a.png"]
    assert (found.pictures, found.unnamed) == (2, ["bad\\xff.png"])
    assert intention(found) == (
        "1 of 2 pictures to do; skipped: 0 done, 1 with names that are not UTF-8, for example bad\\xff.png"
        " (rename them)."
    )


def test_a_damaged_part_is_named(places: tuple[Path, Path]) -> None:
    write(places[0], a_png=1)
    end(places)
    (part,) = results.parts(Place.of(str(places[1])))
    (places[1] / part).write_bytes(b"PAR1")
    with pytest.raises(UpscalingError, match=f"E_INPUT: {part}"):
        planned(places)


def test_an_empty_folder_is_refused(places: tuple[Path, Path]) -> None:
    with pytest.raises(UpscalingError, match=r"E_INPUT: there are no pictures in"):
        planned(places)


def test_results_are_not_written_among_the_pictures(places: tuple[Path, Path]) -> None:
    write(places[0], a_png=1)
    with pytest.raises(UpscalingError, match=r"E_INPUT: .* is inside"):
        planned((places[0], places[0] / "large"))


def test_unfinished_files_of_a_killed_run_are_found(places: tuple[Path, Path]) -> None:
    write(places[0], a_png=1)
    (places[1] / ".a.png.unfinished").touch()
    assert planned(places).leftovers == [".a.png.unfinished"]
