"""Runs workers on Ray: Ray Data spreads the pictures over a pool of actors, which grows and shrinks with the cluster.

What Ray Data does not know is a picture that kills its worker: it would try it again for ever, or give up the job. So
tasks are not tried again there, and the pictures that are missing at the end get a worker of their own, one by one.
Ray Data removes the options for this, max_restarts and max_task_retries, in Ray 2.64: the pin stays below until it has
others.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import numpy as np

from upscaling.bulk import results
from upscaling.bulk.arrow import arrow
from upscaling.bulk.worker import Worker, failure
from upscaling.errors import Code, UpscalingError

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # or it writes to the terminal too, beside its log files
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # or what still runs after Ctrl-C starts Ray once more

# Ray has types for little of what it offers, and none for actors.
ray: Any = import_module("ray")
ray_data: Any = import_module("ray.data")
from_blocks: Any = import_module("ray.data.read_api").from_blocks
RayActorError: Any = import_module("ray.exceptions").RayActorError
RayDeprecationWarning: Any = import_module("ray.util.annotations").RayDeprecationWarning

_MOST_BLOCKS = 10_000  # of pictures, each of which takes some KiB of the driver's memory
_OBJECT_STORE_BYTES = 256 << 20  # it holds paths and sizes only; Ray's default is 30 % of the memory
_CODED = re.compile(f"({'|'.join(Code)}): (.*)", re.DOTALL)
_KILLED_TWICE = UpscalingError(
    Code.MEMORY,
    "the worker was killed twice at this picture, most likely because memory ran out."
    " Take a smaller tile_size, or give workers more memory.",
)
_ROW = results.SCHEMA.append(arrow.field("number", arrow.int64()))


@dataclass(frozen=True)
class Pool:
    """The actors of a job."""

    first: int
    """How many there are at the beginning."""
    most: int
    cpus: int
    """Of each actor, as are the GPUs; also its threads."""
    gpus: float


def connect() -> None:
    """Joins the cluster that this process was submitted to, or starts Ray on this machine."""
    if "RAY_ADDRESS" in os.environ:
        ray.init(logging_level=logging.ERROR, log_to_driver=False)
    else:
        ray.init(
            address="local", include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES,
            logging_level=logging.ERROR, log_to_driver=False,
        )  # fmt: skip


def disconnect() -> None:
    """Ends all workers, and Ray too if it was started here."""
    ray.shutdown()


def choose(most: int | None, cpus: int, gpus: float | None) -> Pool:
    """Actors with a GPU each, if there are any and gpus is None: up to `most`, or as many as there is room for.

    Raises E_DEVICE if most is None and there is no room for one. With most, the cluster may grow to make room.
    """
    there: dict[str, float] = ray.cluster_resources()
    gpus = float("GPU" in there) if gpus is None else gpus
    room = int(there.get("CPU", 0.0) // cpus)
    if gpus:
        room = min(room, int(there.get("GPU", 0.0) // gpus))
    if most is None and room == 0:
        raise UpscalingError(
            Code.DEVICE,
            f"no worker with {cpus} CPUs and {gpus:g} GPUs fits: Ray has {there.get('CPU', 0.0):g} and"
            f" {there.get('GPU', 0.0):g}. Take smaller --cpus and --gpus.",
        )
    most = room if most is None else most
    return Pool(max(1, min(room, most)), most, cpus, gpus)


def process(work: Any, make: Callable[[], Worker], pool: Pool) -> Iterator[dict[str, Any]]:
    """Yields the rows of results for a table of `Plan.work`, as pictures end.

    make loads a worker in an actor. A picture whose worker was killed is processed once more, by a worker of its own;
    if that is killed too, its code is E_MEMORY. Raises UpscalingError if a worker cannot load.
    """
    work = work.append_column("number", arrow.array(np.arange(work.num_rows)))
    ended = np.zeros(work.num_rows, bool)
    try:
        for row in _spread(work, make, pool):
            ended[row["number"]] = True
            yield row
        yield from _one_by_one(work.filter(arrow.array(~ended)), make, pool)
    except RayActorError as error:
        # Ray passes on what a worker has raised as the end of a text.
        coded = _CODED.search(str(error))
        if coded is None:
            raise
        raise UpscalingError(Code(coded[1]), coded[2].strip()) from error


class _Mapper:
    """A worker as Ray Data calls it: with a block of pictures, for a table of their results."""

    def __init__(self, make: Callable[[], Worker]) -> None:
        self._worker = make()

    def __call__(self, batch: Any) -> Any:
        return arrow.Table.from_pylist([self._worker.process(row) for row in batch.to_pylist()], _ROW)


def _spread(work: Any, make: Callable[[], Worker], pool: Pool) -> Iterator[dict[str, Any]]:
    """The rows of all pictures whose workers were not killed."""
    context = ray_data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1  # those of killed workers
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore", RayDeprecationWarning)  # the options that the docstring of this module is about
    rows = -(-work.num_rows // _MOST_BLOCKS)
    blocks = [work.slice(at, rows).combine_chunks() for at in range(0, work.num_rows, rows)]
    dataset = from_blocks(blocks).map_batches(
        _Mapper,
        fn_constructor_args=(make,),
        batch_size=None,  # a block
        batch_format="pyarrow",
        compute=ray_data.ActorPoolStrategy(min_size=1, initial_size=pool.first, max_size=pool.most),
        num_cpus=pool.cpus,
        num_gpus=pool.gpus,
        max_restarts=-1,
        max_task_retries=0,
    )
    for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from table.to_pylist()


def _one_by_one(work: Any, make: Callable[[], Worker], pool: Pool) -> Iterator[dict[str, Any]]:
    """The rows of pictures that have lost their workers."""
    actor = None
    for picture in work.to_pylist():
        actor = actor or ray.remote(_Alone).options(num_cpus=pool.cpus, num_gpus=pool.gpus).remote(make)
        try:
            yield ray.get(actor.process.remote(picture))
        except RayActorError as error:
            if error.actor_init_failed:
                raise
            actor = None
            yield {**picture, **failure(_KILLED_TWICE), "ended": datetime.now(UTC)}


class _Alone:
    """A worker as an actor."""

    def __init__(self, make: Callable[[], Worker]) -> None:
        self._worker = make()

    def process(self, picture: dict[str, Any]) -> dict[str, Any]:
        return self._worker.process(picture)
