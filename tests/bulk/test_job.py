"""Jobs on true Ray, with broken pictures and a bucket that refuses a result, whose workers and drivers are killed."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pandas
import PIL.Image
import pytest
from bucket import Bucket, bucket
from jobs import DEADLY, Jobs, are_alive, below, jobs_in, workers
from loopback import until
from processes import linux_only
from servers import opened, picture

from upscaling.bulk import engine, pool, results
from upscaling.bulk.arrow import arrow, parquet
from upscaling.bulk.inputs import parse
from upscaling.bulk.places import Place
from upscaling.bulk.plan import plan
from upscaling.errors import UpscalingError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # Ray Data reads options of its own
PICTURES, BROKEN = 300, 15  # without the one that kills its worker
STARTED_WITHIN = 120  # seconds
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
REFUSED = "b/5.png"  # by the bucket
STOPPED_WITHIN = 15  # seconds
IN_WORK = 25  # at most: two pictures, and those that ended in a tenth of a second before
SAMPLE = [f"{'ab'[i % 2]}/{i}.png" for i in range(0, PICTURES - BROKEN, 13) if i != 5]
WORKERS, ONE_WORKER = ("--workers", "2"), ("--workers", "1")  # one where one will do: each takes 11 s of a CPU to load
ROWS = 40  # of the jobs whose workers do nothing
DEADLY_ONCE = 19  # the last of its block


@pytest.fixture(scope="module", autouse=True)
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    """Jobs on a Ray that this process has started, whose workers have the environment that it started with."""
    made = jobs_in(tmp_path_factory.mktemp("bulk"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**made.environment, **CREDENTIALS}.items():
            patch.setenv(name, value)
        engine.connect()
        address = engine.ray.get_runtime_context().gcs_address
        yield replace(made, environment={**os.environ, "RAY_ADDRESS": address})
        engine.disconnect()


def own_ray(jobs: Jobs) -> Jobs:
    """Jobs that start Ray, as on the machine of a user."""
    return replace(jobs, environment={name: text for name, text in jobs.environment.items() if name != "RAY_ADDRESS"})


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
def test_nothing_is_lost_or_done_twice_when_workers_and_jobs_are_killed(jobs: Jobs, tmp_path: Path) -> None:
    source = tmp_path / "in"
    codes = write_pictures(source)
    with bucket() as store:
        places = (str(source), store.uri("out"))
        target = Place.of(places[1])
        target.filesystem.create_dir("bucket")
        store.failing.add(REFUSED)

        with jobs.start(*places, *WORKERS) as job:
            until(lambda: stored(store) >= 20, STARTED_WITHIN)
            os.kill(workers(os.getpid())[0], signal.SIGKILL)
            until(lambda: stored(store) >= 80 and results.parts(target), STARTED_WITHIN)
            running = workers(os.getpid())
            job.kill()
        until(lambda: not are_alive(running))
        recorded = finished(target)
        there = stored(store)

        with own_ray(jobs).start(*places, *ONE_WORKER) as job:
            until(lambda: stored(store) >= there + 40, STARTED_WITHIN)
            running = below(job.pid)
            assert any(b"/raylet\0" in command for command in running.values())
            job.send_signal(signal.SIGTERM)
            begun = monotonic()
            _, said = job.communicate(timeout=STARTED_WITHIN)
        assert job.returncode == 130, said
        assert monotonic() - begun < STOPPED_WITHIN
        # Ray's agents end too, but take a minute to see that it is gone.
        until(lambda: not are_alive([pid for pid, command in running.items() if b"Agent" not in command]))
        assert skipped(said) == recorded > 0
        before, recorded = recorded, finished(target)
        assert recorded >= before + 40 - IN_WORK

        code, said = jobs.run(*places, *ONE_WORKER)
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


def finished(target: Place) -> int:
    """How many pictures of the table the next run does not do again."""
    codes = results.read(target, ["code"])["code"].to_pylist()
    return sum(code not in ("E_ENCODE", "E_MEMORY") for code in codes)


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


def work() -> Any:
    return arrow.table({"input": [f"{number}.png" for number in range(ROWS)]})


@linux_only
def test_a_killed_worker_costs_the_picture_in_work_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_MOST_BLOCKS", 2)
    log, killed = tmp_path / "log", tmp_path / "killed"

    class Fatal:  # in here, so that it is sent to the workers by its code
        def process(self, picture: dict[str, Any]) -> dict[str, Any]:
            with log.open("a") as file:
                file.write(f"{picture['number']}\n")
            if picture["number"] == DEADLY_ONCE and not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return {**picture, "outcome": "done"}

    rows = list(pool.process(work(), Fatal, engine.choose(2, 1, 0)))  # type: ignore[arg-type]
    assert sorted(row["number"] for row in rows) == list(range(ROWS))
    tries = Counter(map(int, log.read_text().split()))
    assert tries == {**dict.fromkeys(range(ROWS), 1), DEADLY_ONCE: 2}


# Processes of their own, as jobs are: threads that still wait for rows may end the process when Ray is shut down.
_FAILING = """
import os, signal, sys
from upscaling.bulk import engine, missing, pool
from upscaling.bulk.arrow import arrow
from upscaling.errors import Code, UpscalingError
killed = sys.argv[1]
missing.LOADS = 1
{worker}
engine.connect()
work = arrow.table({{"input": [f"{{number}}.png" for number in range(40)]}})
try:
    list(pool.process(work, Worker, engine.choose(1, 1, 0)))
except UpscalingError as error:
    print(error, flush=True)
os._exit(0)
"""
_CANNOT_LOAD = """
def Worker():
    raise UpscalingError(Code.WEIGHTS, "they are not there.")
"""
_CANNOT_LOAD_AGAIN = """
class Worker:
    def __init__(self):
        if os.path.exists(killed):
            raise UpscalingError(Code.DEVICE, "the GPU is gone.")
    def process(self, picture):
        open(killed, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
"""
_IS_KILLED = """
def Worker():
    os.kill(os.getpid(), signal.SIGKILL)
"""


@linux_only
@pytest.mark.parametrize(
    ("worker", "says"),
    [
        (_CANNOT_LOAD, "E_WEIGHTS: they are not there.\n"),
        (_CANNOT_LOAD_AGAIN, "E_DEVICE: the GPU is gone.\n"),
        (_IS_KILLED, "E_MEMORY: workers are killed while they load"),
    ],
    ids=["an error", "an error after it was killed", "killed"],
)
def test_a_job_ends_if_no_worker_can_load(jobs: Jobs, tmp_path: Path, worker: str, says: str) -> None:
    command = [sys.executable, "-c", _FAILING.format(worker=worker), str(tmp_path / "killed")]
    ended = subprocess.run(
        command, env=jobs.environment, capture_output=True, text=True, check=True, timeout=STARTED_WITHIN
    )
    assert says in ended.stdout, ended.stderr


def test_sigterm_interrupts_a_job_as_ctrl_c_does(jobs: Jobs) -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_workers_that_find_no_room_are_refused() -> None:
    with pytest.raises(UpscalingError, match=r"^E_DEVICE: no worker with 9999 CPUs and 0 GPUs fits"):
        engine.choose(2, 9999, 0)


@linux_only
def test_ray_starts_without_a_dashboard_and_without_usage_reports() -> None:
    # One process has the name, with the part that reports usage, or does nothing if the environment says so.
    dashboards = {pid: command for pid, command in below(os.getpid()).items() if b"dashboard/dashboard.py" in command}
    assert dashboards
    for pid, command in dashboards.items():
        assert {b"--disable-frontend", b"--modules-to-load=UsageStatsHead"} <= set(command.split(b"\0"))
        assert b"\0RAY_USAGE_STATS_ENABLED=0\0" in b"\0" + (Path("/proc") / str(pid) / "environ").read_bytes()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
