from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bucket import bucket

from upscaling.bulk import results
from upscaling.bulk.arrow import arrow, parquet
from upscaling.bulk.places import Place
from upscaling.errors import UpscalingError

LARGEST_SEED = 2**64 - 1
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}


def write(place: Place, *rows: dict[str, Any]) -> None:
    parts = results.Parts(place)
    for row in rows:
        parts.add(row)
    parts.close()


def write_before_seeds_were_text(folder: Path, *rows: dict[str, Any]) -> None:
    """A part whose seeds are numbers, as the first release wrote it."""
    at = results.SCHEMA.get_field_index("seed")
    older = results.SCHEMA.set(at, arrow.field("seed", arrow.int64()))
    (folder / results.FOLDER).mkdir()
    parquet.write_table(arrow.Table.from_pylist(list(rows), older), folder / results.FOLDER / "part-1-000000.parquet")


@pytest.mark.parametrize("seed", [7, 2**63, str(LARGEST_SEED), None])
def test_every_seed_has_its_place(tmp_path: Path, seed: object) -> None:
    place = Place.of(str(tmp_path))
    write(place, {"input": "a", "seed": seed})
    assert results.read(place, ["seed"])["seed"].to_pylist() == [None if seed is None else str(seed)]


def test_the_last_row_of_a_picture_counts(tmp_path: Path) -> None:
    place = Place.of(str(tmp_path))
    write(place, {"input": "a", "outcome": "failed"}, {"input": "b", "outcome": "done"})
    write(place, {"input": "a", "outcome": "done"})
    assert results.read(place, ["outcome"]).to_pydict() == {"outcome": ["done", "done"]}


def rows_of(place: Place) -> list[list[str]]:
    """The pictures of each part."""
    return [parquet.read_table(place.open(name))["input"].to_pylist() for name in results.parts(place)]


def test_small_parts_are_merged_without_older_rows(tmp_path: Path) -> None:
    place = Place.of(str(tmp_path))
    for names in ("ab", "c", "de", "bc"):
        write(place, *({"input": name, "arguments": names} for name in names))
    last = results.parts(place)[-1]
    results.tidy(place)
    assert results.parts(place) == [last]
    table = parquet.read_table(place.open(last))
    assert table.schema == results.SCHEMA
    assert dict(zip(*table.select(["input", "arguments"]).to_pydict().values(), strict=True)) == {
        "a": "ab", "d": "de", "e": "de", "b": "bc", "c": "bc",
    }  # fmt: skip


def test_parts_that_are_large_and_have_no_older_rows_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_MOST_MERGED", 2)
    place = Place.of(str(tmp_path))
    for names in ("hij", "ab", "cd", "e", "f", "ag"):
        write(place, *({"input": name} for name in names))
    unchanged = [(tmp_path / part).stat().st_ino for part in results.parts(place)]
    results.tidy(place)
    assert rows_of(place) == [["h", "i", "j"], ["b"], ["c", "d"], ["e", "f"], ["a", "g"]]
    for number in (0, 2):
        assert (tmp_path / results.parts(place)[number]).stat().st_ino == unchanged[number]


def test_a_part_that_has_only_older_rows_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_MOST_MERGED", 1)
    place = Place.of(str(tmp_path))
    for name in "aba":
        write(place, {"input": name})
    results.tidy(place)
    assert rows_of(place) == [["b"], ["a"]]


@pytest.mark.parametrize("removed", range(3))
def test_no_row_is_lost_if_merging_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: int) -> None:
    place = Place.of(str(tmp_path))
    for names in ("ab", "c", "bd", "e"):
        write(place, *({"input": name, "output": names} for name in names))
    left = iter(range(removed))

    def remove(self: Place, path: str) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        (tmp_path / path).unlink()

    expected = sorted(results.read(place, ["input", "output"]).to_pylist(), key=str)
    with monkeypatch.context() as patch:
        patch.setattr(Place, "remove", remove)
        with pytest.raises(KeyboardInterrupt):
            results.tidy(place)
    assert len(results.parts(place)) == 4 - removed
    assert sorted(results.read(place, ["input", "output"]).to_pylist(), key=str) == expected
    results.tidy(place)
    assert sorted(*rows_of(place)) == list("abcde")


def test_a_table_without_rows_is_tidy(tmp_path: Path) -> None:
    results.tidy(Place.of(str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_an_earlier_release_is_read_and_brought_up_to_date(tmp_path: Path) -> None:
    place = Place.of(str(tmp_path))
    write_before_seeds_were_text(tmp_path, {"input": "a", "seed": 5})
    write(place, {"input": "b", "seed": LARGEST_SEED})
    expected = ["5", str(LARGEST_SEED)]
    assert results.read(place, ["seed"])["seed"].to_pylist() == expected
    results.tidy(place)
    assert parquet.read_table(tmp_path / results.FOLDER)["seed"].to_pylist() == expected


def test_rows_wait_while_their_bucket_refuses_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("_FIRST", "_LONGEST"):
        monkeypatch.setattr(results, name, 0.0)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with bucket() as store:
        place = Place.of(store.uri("parts"))
        place.filesystem.create_dir("bucket")
        parts = results.Parts(place)
        store.failing.add(".parquet")
        parts.add({"input": "a"})
        parts.write_if_due()
        assert "cannot be written to s3://bucket/parts" in caplog.text
        parts.add({"input": "b"})
        with pytest.raises(UpscalingError, match=r"^E_ENCODE: .* The table misses 2 pictures: run the job again"):
            parts.close()
        store.failing.clear()
        parts.write_if_due()
        assert results.read(place, ["input"])["input"].to_pylist() == ["a", "b"]
