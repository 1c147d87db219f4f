"""Pictures whose workers were killed, with a stand-in for Ray whose actors end as a test wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from upscaling.bulk import missing
from upscaling.bulk.arrow import arrow
from upscaling.bulk.engine import Pool, errors
from upscaling.errors import UpscalingError

OF_MONITOR = errors.OutOfMemoryError("1 worker(s) were killed due to the node running low on memory.")
OF_SYSTEM = errors.ActorDiedError()
OF_NODE = errors.RayActorError(error_msg="The actor died because its node has died. Node Id: 1")
OF_LOADING = errors.RayActorError(error_msg="E_WEIGHTS: no such file.", actor_init_failed=True)


class StandIn:
    """What `missing` uses of Ray. A picture's result comes when it is waited for, the oldest first."""

    def __init__(self, ends: Callable[[int, int], Exception | None], loads: Sequence[Exception]) -> None:
        self._ends = ends
        self._loads = iter(loads)
        """What ends the first actors while they load."""
        self.tries: list[int] = []
        """The numbers of the pictures that were processed, in order."""
        self.at_once = 0

    def remote(self, cls: type) -> _Class:
        return _Class(self._loads)

    def wait(self, refs: list[Any]) -> tuple[list[Any], list[Any]]:
        self.at_once = max(self.at_once, len(refs))
        return refs[:1], refs[1:]

    def get(self, ref: _Result | _Loaded) -> dict[str, Any] | None:
        if ref.actor.error:
            raise ref.actor.error
        if isinstance(ref, _Loaded):
            return None
        number = ref.picture["number"]
        self.tries.append(number)
        if error := self._ends(number, self.tries.count(number)):
            raise error
        return {**ref.picture, "outcome": "done"}


@dataclass
class _Actor:
    error: Exception | None

    @property
    def process(self) -> Any:
        return SimpleNamespace(remote=partial(_Result, self))

    @property
    def __ray_ready__(self) -> Any:
        return SimpleNamespace(remote=partial(_Loaded, self))


@dataclass(frozen=True, eq=False)
class _Result:
    actor: _Actor
    picture: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Loaded:
    actor: _Actor


@dataclass(frozen=True)
class _Class:
    errors: Iterator[Exception]

    def options(self, **kwargs: Any) -> _Class:
        return self

    def remote(self, make: object) -> _Actor:
        return _Actor(next(self.errors, None))


def processed(
    monkeypatch: pytest.MonkeyPatch,
    ended: list[int],
    rows: int,
    ends: Callable[[int, int], Exception | None],
    machines: int = 1,
    loads: Sequence[Exception] = (),
) -> tuple[dict[int, str], StandIn]:
    """What became of the pictures of 12 that had not ended, by their numbers."""
    stand_in = StandIn(ends, loads)
    monkeypatch.setattr(missing, "ray", stand_in)
    monkeypatch.setattr(missing, "machines", lambda pool: machines)
    there = np.isin(np.arange(12), ended)
    work = arrow.table({"number": np.arange(12)})
    pool = Pool(first=3, most=3, cpus=1, gpus=0.0)
    found = missing.process(work, there, rows, lambda: None, pool)
    return {row["number"]: row.get("code") or row["outcome"] for row in found}, stand_in


def test_pictures_that_were_not_begun_are_spread_and_the_first_of_a_block_has_a_machine_to_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, ray = processed(monkeypatch, [0, 1, 2, 3, 4, 11], 6, lambda number, tries: None)
    assert found == dict.fromkeys(range(5, 11), "done")
    assert ray.tries == [7, 8, 9, 10, 5, 6]
    assert ray.at_once == 3


def test_several_machines_take_pictures_that_may_have_killed_their_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    found, ray = processed(monkeypatch, [0, 1], 1, lambda number, tries: None, machines=2)
    assert len(found) == 10
    assert ray.at_once == 2


@pytest.mark.parametrize("kill", [OF_MONITOR, OF_SYSTEM])
def test_memory_ends_a_worker_once_more_and_then_the_picture_has_failed(
    monkeypatch: pytest.MonkeyPatch, kill: Exception
) -> None:
    found, ray = processed(monkeypatch, list(range(9)), 1, lambda number, tries: kill if number == 10 else None)
    assert found == {9: "done", 10: "E_MEMORY", 11: "done"}
    assert ray.tries == [9, 10, 11]


@pytest.mark.parametrize("kill", [OF_MONITOR, OF_SYSTEM])
def test_a_picture_that_was_not_begun_before_is_tried_twice(monkeypatch: pytest.MonkeyPatch, kill: Exception) -> None:
    found, ray = processed(
        monkeypatch, list(range(9)), 12, lambda number, tries: kill if number == 10 and tries == 1 else None
    )
    assert found == {9: "done", 10: "done", 11: "done"}
    assert ray.tries == [10, 11, 9, 10]


def test_a_lost_machine_is_no_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = processed(monkeypatch, list(range(10)), 1, lambda number, tries: OF_NODE if number == 10 else None)
    assert found == {10: "E_DEVICE", 11: "done"}


@pytest.mark.parametrize("kill", [OF_MONITOR, OF_SYSTEM])
def test_a_worker_that_is_killed_while_it_loads_costs_its_picture_nothing(
    monkeypatch: pytest.MonkeyPatch, kill: Exception
) -> None:
    found, ray = processed(monkeypatch, list(range(9)), 1, lambda number, tries: None, loads=[kill, kill])
    assert found == {9: "done", 10: "done", 11: "done"}
    assert ray.tries == [9, 10, 11]


@pytest.mark.parametrize(("left", "kills"), [(12, 3 * missing.LOADS), (1, missing.LOADS)])
def test_workers_that_are_always_killed_while_they_load_end_the_job(
    monkeypatch: pytest.MonkeyPatch, left: int, kills: int
) -> None:
    ended = list(range(12 - left))
    with pytest.raises(UpscalingError, match=r"^E_MEMORY: workers are killed while they load"):
        processed(monkeypatch, ended, 1, lambda number, tries: None, machines=3, loads=[OF_SYSTEM] * kills)


def test_workers_that_cannot_load_end_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(type(OF_LOADING), match="E_WEIGHTS"):
        processed(monkeypatch, [], 1, lambda number, tries: None, loads=[OF_LOADING] * missing.LOADS)


def test_one_worker_that_cannot_load_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = processed(monkeypatch, list(range(9)), 1, lambda number, tries: None, loads=[OF_LOADING])
    assert found == {9: "done", 10: "done", 11: "done"}
