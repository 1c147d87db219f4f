from __future__ import annotations

import os
from pathlib import Path

import pytest
from processes import linux_only

from upscaling.bulk import places
from upscaling.bulk.arrow import arrow
from upscaling.bulk.places import Place, is_unfinished
from upscaling.errors import UpscalingError


def test_files_are_listed_with_size_and_time(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.png").write_bytes(b"123")
    os.utime(tmp_path / "a" / "b" / "c.png", ns=(0, 5_000_000_000))
    assert Place.of(str(tmp_path)).files().to_pylist() == [{"path": "a/b/c.png", "bytes": 3, "modified": 5_000_000_000}]


@linux_only
def test_paths_that_are_not_utf8_are_listed_apart(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xe9t\xe9")
    folder.mkdir()
    (folder / "a.png").touch()
    (tmp_path / "b.png").touch()
    files, unnamed = Place.of(str(tmp_path)).listed()
    assert files["path"].to_pylist() == ["b.png"]
    assert unnamed == ["\\xe9t\\xe9/a.png"]


def test_a_folder_that_does_not_exist_has_no_files(tmp_path: Path) -> None:
    assert Place.of(str(tmp_path / "none")).files().num_rows == 0


def test_files_come_as_they_are(tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "source").write_bytes(content)
    place = Place.of(str(tmp_path / "place"))
    assert place.put_file("new/folder/copy", tmp_path / "source") == len(content)
    assert b"".join(place.read("new/folder/copy")) == content
    assert place.files()["path"].to_pylist() == ["new/folder/copy"]


def test_an_older_file_is_replaced(tmp_path: Path) -> None:
    place = Place.of(str(tmp_path))
    for content in (b"older", b"new"):
        place.put("file", arrow.py_buffer(content))
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "inside").touch()
    place = Place.of(str(tmp_path))
    with pytest.raises(UpscalingError, match=r"^E_ENCODE: 'taken' cannot be written"):
        place.put("taken", arrow.py_buffer(b"content"))
    assert place.files()["path"].to_pylist() == ["taken/inside"]


def test_a_file_that_is_gone_is_no_fault_of_the_picture(tmp_path: Path) -> None:
    with pytest.raises(UpscalingError, match=r"^E_ENCODE: 'gone.png' cannot be read"):
        list(Place.of(str(tmp_path)).read("gone.png"))


def test_what_a_killed_worker_leaves_is_known_by_its_name() -> None:
    assert is_unfinished("a/.b.png.unfinished")
    assert not is_unfinished("a/b.png.unfinished")


@pytest.mark.parametrize(("outer", "inner", "expected"), [("a", "a/b", True), ("a", "ab", False), ("a", "a", True)])
def test_a_place_knows_what_is_inside(tmp_path: Path, outer: str, inner: str, expected: bool) -> None:
    assert Place.of(str(tmp_path / outer)).contains(Place.of(str(tmp_path / inner))) == expected


def test_a_place_knows_what_is_inside_however_it_is_written(tmp_path: Path) -> None:
    outer = Place.of(f"file://{tmp_path}/a/../b")
    assert outer.contains(Place.of(str(tmp_path / "b" / "c")))
    assert not outer.contains(Place.of(str(tmp_path / "a")))


def test_a_bucket_is_known_by_its_name() -> None:
    outer, inner = "s3://bucket/a?region=us-east-1", "s3://bucket/a/out?region=us-east-1&allow_bucket_creation=true"
    assert Place.of(outer).contains(Place.of(inner))
    assert not Place.of(inner).contains(Place.of(outer))
    assert not Place.of("/bucket").contains(Place.of(inner))


def test_buckets_of_one_name_on_two_servers_are_two() -> None:
    one, other = (f"s3://bucket/a?region=us-east-1&endpoint_override=127.0.0.1:{port}" for port in (1, 2))
    assert Place.of(one).contains(Place.of(one))
    assert not Place.of(one).contains(Place.of(other))
    assert not Place.of(one).contains(Place.of("s3://bucket/a?region=us-east-1"))


def test_the_home_folder_has_its_short_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Place.of("~/large").root == str(tmp_path.resolve() / "large")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("s3://KEY:SECRET@bucket/x@1?region=us-east-1&session=SECRET", "s3://bucket/x@1"),
        ("s3://bucket/x@1?region=us-east-1", "s3://bucket/x@1"),
        ("s3://KEY:SE@CRET@bucket/x@1", "s3://bucket/x@1"),
        ("s3://bucket/a:b@c/x", "s3://bucket/a:b@c/x"),
        ("a?b:c@d", "a?b:c@d"),
    ],
)
def test_addresses_are_shown_without_secrets(address: str, shown: str) -> None:
    assert places._without_secrets(address) == shown


@pytest.mark.parametrize(
    "address",
    [
        "nothing://KEY:SECRET@bucket/x?key=SECRET",
        "s3://KEY:SEC/SECRET@bucket/x?region=us-east-1",
        "s3://KEY:SECRET@bucket/x?nothing=SECRET",
        "s3://KEY:SECRET@bucket/ x?region=SECRET",
    ],
)
def test_refused_addresses_are_shown_without_secrets(address: str) -> None:
    with pytest.raises(UpscalingError, match=r"^E_INPUT: '(nothing|s3)://bucket/ ?x' is neither") as caught:
        Place.of(address)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("address", ["~nobody-of-this-name/x", "nothing://bucket/folder", "s3://"])
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(UpscalingError, match=f"^E_INPUT: '{address}' is neither a folder nor a bucket"):
        Place.of(address)
