"""Ray, on this machine or as a cluster, and the room it has for workers."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from upscaling.errors import Code, UpscalingError

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # or it writes to the terminal too, beside its log files
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # or what still runs after Ctrl-C starts Ray once more

# Ray has types for little of what it offers, and none for actors.
ray: Any = import_module("ray")
errors: Any = import_module("ray.exceptions")

_OBJECT_STORE_BYTES = 256 << 20  # it holds paths and sizes only; Ray's default is 30 % of the memory


@dataclass(frozen=True)
class Pool:
    """The actors of a job."""

    first: int
    """How many there are at the beginning."""
    most: int
    cpus: int
    """Of each actor, as are the GPUs; also the threads that it computes with."""
    gpus: float

    def at_most(self, actors: int) -> Pool:
        """With no more than so many actors."""
        return replace(self, first=min(self.first, actors), most=min(self.most, actors))


def connect() -> None:
    """Joins the cluster that this process was submitted to, or starts Ray on this machine.

    From then on, SIGTERM raises KeyboardInterrupt, as Ctrl-C does.
    """
    try:
        if _is_on_cluster():
            ray.init(logging_level=logging.ERROR, log_to_driver=False)
        else:
            ray.init(
                address="local", include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES,
                logging_level=logging.ERROR, log_to_driver=False,
            )  # fmt: skip
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    except SystemExit as end:  # what Ray makes of SIGTERM
        raise KeyboardInterrupt from end


def disconnect() -> None:
    """Ends all workers, and Ray too if it was started here."""
    ray.shutdown()


def choose(most: int | None, cpus: int, gpus: float | None) -> Pool:
    """Actors with a GPU each, if there are any and gpus is None: up to `most`, or as many as there is room for.

    Raises E_DEVICE if there is no room for one, unless most is given on a cluster: it may grow to make room.
    """
    resources: dict[str, float] = ray.cluster_resources()
    gpus = float("GPU" in resources) if gpus is None else gpus
    room = sum(_rooms(cpus, gpus))
    if room == 0 and (most is None or not _is_on_cluster()):
        raise UpscalingError(
            Code.DEVICE,
            f"no worker with {cpus} CPUs and {gpus:g} GPUs fits on a machine: Ray has {resources.get('CPU', 0.0):g} and"
            f" {resources.get('GPU', 0.0):g} in all. Take smaller --cpus and --gpus.",
        )
    if most is None or not _is_on_cluster():  # which may grow
        most = min(room, most or room)
    return Pool(max(1, min(room, most)), most, cpus, gpus)


def machines(pool: Pool) -> int:
    """How many machines have room for an actor now, at least 1."""
    return max(1, sum(room > 0 for room in _rooms(pool.cpus, pool.gpus)))


def _is_on_cluster() -> bool:
    return "RAY_ADDRESS" in os.environ  # which Ray gives to submitted jobs


def _rooms(cpus: int, gpus: float) -> list[int]:
    """How many actors fit on each machine."""
    return [_room(node["Resources"], cpus, gpus) for node in ray.nodes() if node["Alive"]]


def _room(resources: dict[str, float], cpus: int, gpus: float) -> int:
    room = int(resources.get("CPU", 0.0) // cpus)
    if not gpus:
        return room
    there = int(resources.get("GPU", 0.0))
    # A part of a GPU, such as 0.1, is no exact binary fraction; an actor has no parts of two.
    return min(room, there * int(1 / gpus + 1e-9) if gpus < 1 else int(there / gpus))
