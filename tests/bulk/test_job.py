"""A job on true Ray, with broken pictures and a bucket that refuses a result, whose worker and driver are killed."""

from __future__ import annotations

import io
import os
import re
import signal
from pathlib import Path
from time import monotonic

import pandas
import PIL.Image
import pytest
from bucket import Bucket, bucket
from jobs import DEADLY, Jobs, are_alive, jobs_in, workers
from loopback import until
from processes import linux_only
from servers import opened, picture

from upscaling.bulk import results
from upscaling.bulk.arrow import arrow, parquet
from upscaling.bulk.inputs import parse
from upscaling.bulk.places import Place
from upscaling.bulk.plan import plan

PICTURES, BROKEN = 300, 15  # without the one that kills its worker
STARTED_WITHIN = 120  # seconds
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
REFUSED = "b/5.png"  # by the bucket
PART = "-000000.parquet"  # of the table, which the bucket refuses at first
STOPPED_WITHIN = 15  # seconds
IN_WORK = 25  # at most: two pictures, and those that ended in a tenth of a second before
SAMPLE = [f"{'ab'[i % 2]}/{i}.png" for i in range(0, PICTURES - BROKEN, 13) if i != 5]
WORKERS = ("--workers", "2")


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Jobs:
    return jobs_in(tmp_path_factory.mktemp("bulk"))


def bomb() -> bytes:
    """A small file with a picture of 225 MP, above the limit."""
    file = io.BytesIO()
    PIL.Image.new("1", (15_000, 15_000)).save(file, "PNG")
    return file.getvalue()


def write_pictures(folder: Path) -> dict[str, str]:
    """Writes the pictures, and returns the codes of those that fail, by their paths."""
    broken = {"E_DECODE": picture(9, 9)[:-20], "E_FORMAT": b"no picture", "E_TOO_LARGE": bomb()}
    codes = {f"{'ab'[i % 2]}/broken-{i}.png": list(broken)[i % 3] for i in range(BROKEN)}
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
    for i in range(PICTURES - BROKEN):
        (folder / "ab"[i % 2] / f"{i}.png").write_bytes(picture(8 + i % 7, 6 + i % 5, seed=i))
    for path, code in codes.items():
        (folder / path).write_bytes(broken[code])
    (folder / "deadly.png").write_bytes(b"x" * DEADLY)
    return {**codes, "deadly.png": "E_MEMORY"}


@linux_only
def test_nothing_is_lost_or_done_twice_when_workers_and_jobs_are_killed(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setitem(jobs.environment, name, value)
    source = tmp_path / "in"
    codes = write_pictures(source)
    with bucket() as store:
        places = (str(source), store.uri("out"))
        target = Place.of(places[1])
        target.filesystem.create_dir("bucket")
        store.failing |= {REFUSED, PART}

        with jobs.start(*places, *WORKERS) as job:
            until(lambda: stored(store) >= 20, STARTED_WITHIN)
            os.kill(workers(job.pid)[0], signal.SIGKILL)
            store.failing.remove(PART)
            until(lambda: stored(store) >= 80 and results.parts(target), STARTED_WITHIN)
            running = workers(job.pid)
            job.kill()
        until(lambda: not are_alive(running))
        recorded = results.read(target, ["input"]).num_rows
        there = stored(store)

        with jobs.start(*places, *WORKERS) as job:
            until(lambda: stored(store) >= there + 40, STARTED_WITHIN)
            job.send_signal(signal.SIGINT)
            begun = monotonic()
            _, said = job.communicate(timeout=STARTED_WITHIN)
        assert (job.returncode, monotonic() - begun < STOPPED_WITHIN) == (130, True)
        assert skipped(said) == recorded > 0
        before, recorded = recorded, results.read(target, ["input"]).num_rows
        assert recorded >= before + 40 - IN_WORK

        code, said = jobs.run(*places, *WORKERS)
        assert code == 1
        assert skipped(said) == recorded
        assert "E_MEMORY: 1, for example deadly.png: the worker was killed twice" in said
        assert f"E_ENCODE: 1, for example {REFUSED}: '{REFUSED}' cannot be written to s3://bucket/out" in said

        table = rows(target).set_index("input")
        assert table.index.is_unique
        assert len(table) == PICTURES + 1
        assert table["code"].dropna().to_dict() == {**codes, REFUSED: "E_ENCODE"}
        assert_done(table[table["outcome"] == "done"], source, target)

        # Those of the operator, and no more than those.
        again = plan(Place.of(places[0]), target, parse(jobs.model, jobs.inputs), only_failed=True)
        assert set(again.work["input"].to_pylist()) == {REFUSED, "deadly.png"}
        assert (again.done, again.refused) == (PICTURES - BROKEN - 1, BROKEN)

        made = jobs.predict(source, SAMPLE, tmp_path / "container")
        assert {name: content(target, name) for name in SAMPLE} == made

        for name in (*codes, REFUSED):
            (source / name).unlink()
        code, said = jobs.run(*places)
        assert (code, skipped(said)) == (0, PICTURES - BROKEN - 1)


def rows(target: Place) -> pandas.DataFrame:
    """All rows of the table, also those that no longer count."""
    tables = [parquet.read_table(target.open(name)) for name in results.parts(target)]
    return arrow.concat_tables(tables).to_pandas()


def assert_done(done: pandas.DataFrame, source: Path, target: Place) -> None:
    """The results are those of the table, no more and no less, and whole."""
    there = [path for path in target.files()["path"].to_pylist() if path.endswith(".png")]
    assert sorted(done["output"]) == sorted(there)
    assert set(done["weights"]) == {"tiny"}
    for name, row in done.iterrows():
        made = content(target, row["output"])
        width, height = opened((source / str(name)).read_bytes()).size
        assert opened(made).size == (row["output_width"], row["output_height"]) == (2 * width, 2 * height)
        assert len(made) == row["output_bytes"]


def content(place: Place, path: str) -> bytes:
    return b"".join(place.read(path))


def stored(store: Bucket) -> int:
    """How many results a bucket has been given."""
    return sum(key.endswith(".png") for key in list(store.stored))


def skipped(said: str) -> int:
    """How many pictures a job says that it has skipped."""
    found = re.search(r"skipped: (\d+) done(?:, (\d+) that failed)?", said)
    assert found, said
    return sum(int(number or 0) for number in found.groups())


def test_a_job_that_cannot_begin_says_why(jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(picture(4, 4))
    code, said = jobs.run(str(tmp_path / "in"), str(tmp_path / "out"), "-i", "scale=99")
    assert (code, said) == (2, "E_INPUT: scale: 99 is greater than the maximum of 10\n")
