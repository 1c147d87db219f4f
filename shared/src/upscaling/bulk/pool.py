"""Spreads pictures over workers: Ray Data gives them to a pool of actors, which grows and shrinks with the cluster.

Ray Data passes on results by blocks of pictures, and a killed worker takes its blocks with it. So every row leaves its
worker by a queue as soon as its picture has ended, and what Ray Data passes on is empty. Nor does Ray Data know a
picture that kills its worker: it would try it again for ever, or give up the job. So tasks are not tried again there,
and `missing` does the pictures that have no row at the end. A worker that is killed while it loads is started again by
Ray, for ever: workers say by the queue when they load, and the job ends if none gets through. An error while loading
would be the end of the job, or if the worker had loaded before, of the worker: Ray Data would wait for it for ever. So
the worker says the error by the queue, and ends as if it was killed. Ray Data removes the options for this,
max_restarts and max_task_retries, in Ray 2.64: the pin stays below until it has others.
"""

from __future__ import annotations

import logging
import os
import re
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from queue import Empty
from typing import Any, NamedTuple

import numpy as np

from upscaling.bulk import missing
from upscaling.bulk.arrow import arrow
from upscaling.bulk.engine import Pool, errors, ray
from upscaling.bulk.pauses import with_pauses
from upscaling.bulk.worker import Worker
from upscaling.errors import Code, UpscalingError

ray_data: Any = import_module("ray.data")
from_blocks: Any = import_module("ray.data.read_api").from_blocks
Queue: Any = import_module("ray.util.queue").Queue
NodeAffinity: Any = import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
RayDeprecationWarning: Any = import_module("ray.util.annotations").RayDeprecationWarning

_MOST_BLOCKS = 10_000  # of pictures, each of which takes some KiB of the driver's memory
_PAUSE = 0.1  # seconds without a block, after which the queue is looked after
_CODED = re.compile(f"({'|'.join(Code)}): (.*)")


def process(work: Any, make: Callable[[], Worker], pool: Pool) -> Iterator[dict[str, Any]]:
    """Yields the rows of results for a table of `Plan.work`, as pictures end.

    make loads a worker in an actor. A picture whose worker was killed is processed once more, by a worker of its own;
    if that is killed too, it fails. Raises what workers raise while they load, if none can, and E_MEMORY if all are
    killed while they load.
    """
    work = work.append_column("number", arrow.array(np.arange(work.num_rows)))
    rows = -(-work.num_rows // _MOST_BLOCKS)
    ended = np.zeros(work.num_rows, bool)
    try:
        for row in _spread(work, rows, make, pool):
            if not ended[row["number"]]:  # Ray may put a row twice, after it has missed an answer of the queue
                ended[row["number"]] = True
                yield row
        yield from missing.process(work, ended, rows, make, pool)
    except errors.RayError as error:
        if isinstance(error, errors.OutOfMemoryError):
            raise missing.killed_loading() from error
        if reason := _coded(str(error)):
            raise reason from error
        raise


def _coded(trace: str) -> UpscalingError | None:
    """The coded error at the end of a traceback, which is what Ray passes on."""
    if coded := _CODED.findall(trace):
        code, message = coded[-1]
        return UpscalingError(Code(code), message.strip())
    return None


class _Load(NamedTuple):
    """What a worker says when it begins to load, and when it has loaded or cannot."""

    actor: str
    """Its id, which it keeps when Ray starts it again."""
    has_ended: bool
    error: str = ""
    """The traceback of what it has raised instead."""


class _Mapper:
    """A worker as Ray Data calls it: with a block of pictures, whose rows it puts into a queue."""

    def __init__(self, make: Callable[[], Worker], said: Any) -> None:
        actor: str = ray.get_runtime_context().get_actor_id()
        said.put(_Load(actor, has_ended=False))
        try:
            self._worker, self._said = make(), said
        except Exception:
            said.put(_Load(actor, has_ended=True, error=traceback.format_exc()))
            os._exit(1)
        said.put(_Load(actor, has_ended=True))

    def __call__(self, batch: Any) -> Any:
        for picture in batch.to_pylist():
            self._said.put(self._worker.process(picture))
        return batch.slice(0, 0)


def _spread(work: Any, rows: int, make: Callable[[], Worker], pool: Pool) -> Iterator[dict[str, Any]]:
    """The rows of all pictures whose workers were not killed, in blocks of so many rows."""
    context = ray_data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1  # those of killed workers
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore", RayDeprecationWarning)  # the options that the docstring of this module is about
    queue = _queue()
    blocks = [work.slice(at, rows).combine_chunks() for at in range(0, work.num_rows, rows)]
    dataset = from_blocks(blocks).map_batches(
        _Mapper,
        fn_constructor_args=(make, queue),
        batch_size=None,  # a block
        batch_format="pyarrow",
        compute=ray_data.ActorPoolStrategy(min_size=1, initial_size=pool.first, max_size=pool.most),
        num_cpus=pool.cpus,
        num_gpus=pool.gpus,
        max_restarts=-1,
        max_task_retries=0,
    )
    loads = _Loads()
    for _ in with_pauses(dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0), _PAUSE):
        yield from _rows(queue, loads, pool.first)
    yield from _rows(queue, loads, pool.first)


def _rows(queue: Any, loads: _Loads, first: int) -> Iterator[dict[str, Any]]:
    """The rows that are in a queue now; raises if no actor, of the first ones, gets to load."""
    for said in _taken(queue):
        if isinstance(said, _Load):
            loads.add(said)
        else:
            yield said
    loads.check(first)


class _Loads:
    """How often each actor has begun to load since it last had loaded, and the last error."""

    def __init__(self) -> None:
        self._begun = Counter[str]()
        self._error = ""

    def add(self, said: _Load) -> None:
        """Counts what a worker has said. An error counts as too often."""
        begun = self._begun[said.actor]
        if said.error:
            self._begun[said.actor], self._error = max(begun, missing.LOADS + 1), said.error
        else:
            self._begun[said.actor] = 0 if said.has_ended else begun + 1

    def check(self, first: int) -> None:
        """Raises if all actors have begun too often: the first ones, or fewer if these have tried much longer.

        There are fewer where others take the room.
        """
        often = self._begun.values()
        if not often or min(often) <= missing.LOADS or (len(often) < first and max(often) <= 3 * missing.LOADS):
            return
        if not self._error:
            raise missing.killed_loading()
        raise _coded(self._error) or RuntimeError(f"a worker cannot load:\n{self._error}")


def _queue() -> Any:
    """A queue on the driver's machine. If it is killed, it starts again empty; the rows that it held are `missing`."""
    here = NodeAffinity(ray.get_runtime_context().get_node_id(), soft=True)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
    return Queue(actor_options=options)


def _taken(queue: Any) -> list[dict[str, Any] | _Load]:
    """All that is in a queue now."""
    try:
        return queue.get_nowait_batch(queue.size())
    except Empty:  # it was started again in between
        return []
