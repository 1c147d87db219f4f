"""Workers on true Ray, which are killed."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jobs import below
from processes import linux_only

from upscaling.bulk import engine, pool
from upscaling.bulk.arrow import arrow
from upscaling.errors import Code, UpscalingError

PICTURES = 40
DEADLY_ONCE = 13


@pytest.fixture(scope="module", autouse=True)
def ray() -> Iterator[None]:
    engine.connect()
    yield
    engine.disconnect()


def work() -> Any:
    return arrow.table({"input": [f"{number}.png" for number in range(PICTURES)]})


@linux_only
def test_a_killed_worker_costs_the_picture_in_work_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_MOST_BLOCKS", 4)
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
    assert sorted(row["number"] for row in rows) == list(range(PICTURES))
    tries = Counter(map(int, log.read_text().split()))
    assert tries == {**dict.fromkeys(range(PICTURES), 1), DEADLY_ONCE: 2}


def test_a_worker_that_cannot_load_says_why() -> None:
    def make() -> Any:
        raise UpscalingError(Code.WEIGHTS, "they are not there.")

    with pytest.raises(UpscalingError, match=r"^E_WEIGHTS: they are not there\.$"):
        list(pool.process(work(), make, engine.choose(1, 1, 0)))


def test_workers_that_find_no_room_are_refused() -> None:
    with pytest.raises(UpscalingError, match=r"^E_DEVICE: no worker with 9999 CPUs and 0 GPUs fits"):
        engine.choose(2, 9999, 0)


@linux_only
def test_ray_starts_without_a_dashboard_and_without_usage_reports() -> None:
    started = below(os.getpid())
    assert [command for command in started.values() if b"dashboard/dashboard.py" in command] == []
    (gcs,) = [pid for pid, command in started.items() if b"gcs_server" in command.split(b"\0")[0]]
    assert b"\0RAY_USAGE_STATS_ENABLED=0\0" in (Path("/proc") / str(gcs) / "environ").read_bytes()
