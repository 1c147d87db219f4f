"""Processes the pictures that have no row because their workers were killed, one at a time in each actor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np

from upscaling.bulk.engine import Pool, errors, machines, ray
from upscaling.bulk.worker import Worker, failure
from upscaling.errors import Code, UpscalingError

_KILLED = UpscalingError(
    Code.MEMORY,
    "the worker was killed twice at this picture, most likely because memory ran out, or else because its GPU failed."
    " Take a smaller tile_size, or give workers more memory.",
)
LOADS = 3
"""How many times in a row an actor may be killed while it loads."""
_LOST = UpscalingError(Code.DEVICE, "the worker's machine was lost at this picture. Run the job again.")
_NODE_DIED = "its node has died"  # in the text of an actor's error: Ray has no field for it
_AT_ONCE = 1000  # pictures that are turned into rows


def killed_loading() -> UpscalingError:
    """What ends a job whose workers are all killed before they have loaded."""
    return UpscalingError(
        Code.MEMORY, "workers are killed while they load, most likely because memory runs out. Take fewer --workers."
    )


def process(work: Any, ended: Any, rows: int, make: Callable[[], Worker], pool: Pool) -> Iterator[dict[str, Any]]:
    """Yields the rows of the pictures that have not ended, by a boolean for each picture of `work`.

    Workers had blocks of so many rows, and took the pictures in their order. The first one that is missing of a block
    may have killed its worker, so only one worker on each machine takes it now. If that is killed too, its code is
    E_MEMORY, or E_DEVICE if the machine was lost. The others of the block have not been begun.
    Raises E_MEMORY if workers are killed again and again while they load, and Ray's error if they cannot load.
    """
    left = np.flatnonzero(~ended)
    begun = np.unique(left // rows, return_index=True)[1]
    killers: list[dict[str, Any]] = []
    for picture, row in _each(_pictures(work.take(np.delete(left, begun))), pool.most, make, pool):
        if isinstance(row, Exception):
            killers.append(picture)
        else:
            yield row
    again = chain(_pictures(work.take(left[begun])), killers)
    for picture, row in _each(again, min(machines(pool), pool.most), make, pool):
        if isinstance(row, Exception):
            reason = _LOST if _NODE_DIED in str(row) else _KILLED
            yield {**picture, **failure(reason), "ended": datetime.now(UTC)}
        else:
            yield row


def _pictures(work: Any) -> Iterator[dict[str, Any]]:
    for batch in work.to_batches(max_chunksize=_AT_ONCE):
        yield from batch.to_pylist()


class _Actor(NamedTuple):
    """An actor, and what is there when it has loaded."""

    worker: Any
    loaded: Any


def _each(
    pictures: Iterable[dict[str, Any]], most: int, make: Callable[[], Worker], pool: Pool
) -> Iterator[tuple[dict[str, Any], dict[str, Any] | Exception]]:
    """Every picture with its row, or with the error that ended its worker, by up to `most` actors."""
    waiting = iter(pictures)
    idle: list[_Actor] = []
    busy: dict[Any, tuple[_Actor, dict[str, Any]]] = {}
    kills = 0  # and errors of actors that were loading, since one has loaded
    while True:
        for picture in islice(waiting, most - len(busy)):
            actor = idle.pop() if idle else _started(make, pool)
            busy[actor.worker.process.remote(picture)] = (actor, picture)
        if not busy:
            return
        if len(busy) < most:
            idle.clear()  # which ends them: others may wait for their room
        (done,), _ = ray.wait(list(busy))
        actor, picture = busy.pop(done)
        try:
            row = ray.get(done)
        except (errors.RayActorError, errors.OutOfMemoryError) as error:
            ended_loading = _loading_error(actor)
            if ended_loading is None:
                kills = 0
                yield picture, error
            else:
                kills += 1
                if kills >= LOADS * (len(busy) + 1):
                    raise _as_raised(ended_loading) from error
                waiting = chain([picture], waiting)
        else:
            kills = 0
            idle.append(actor)
            yield picture, row
        del actor


def _started(make: Callable[[], Worker], pool: Pool) -> _Actor:
    # On as many machines as there are, so that those which may need much memory are apart.
    start = ray.remote(_Alone).options(num_cpus=pool.cpus, num_gpus=pool.gpus, scheduling_strategy="SPREAD")
    worker = start.remote(make)
    return _Actor(worker, worker.__ray_ready__.remote())


def _loading_error(actor: _Actor) -> Exception | None:
    """What has ended an actor while it loaded; None if it had loaded before it ended."""
    try:
        ray.get(actor.loaded)
    except (errors.RayActorError, errors.OutOfMemoryError) as error:
        return error
    return None


def _as_raised(error: Exception) -> Exception:
    """What an actor has raised while it loaded, as Ray passes it on, or that it was killed."""
    return error if getattr(error, "actor_init_failed", False) else killed_loading()


class _Alone:
    """A worker as an actor."""

    def __init__(self, make: Callable[[], Worker]) -> None:
        self._worker = make()

    def process(self, picture: dict[str, Any]) -> dict[str, Any]:
        return self._worker.process(picture)
