"""How many actors a job has, with a stand-in for Ray that has what a test wants."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from upscaling.bulk import engine
from upscaling.bulk.engine import Pool
from upscaling.errors import UpscalingError

FOUR = {"CPU": 4.0}
TWO_GPUS = {"CPU": 16.0, "GPU": 2.0}


def has(monkeypatch: pytest.MonkeyPatch, *nodes: dict[str, float], dead: int = 0) -> None:
    """Gives Ray machines with these resources, the last of which are lost."""
    there = len(nodes) - dead
    stand_in = SimpleNamespace(
        cluster_resources=lambda: {
            name: sum(node.get(name, 0.0) for node in nodes[:there]) for node in nodes[:there] for name in node
        },
        nodes=lambda: [{"Alive": i < there, "Resources": node} for i, node in enumerate(nodes)],
    )
    monkeypatch.setattr(engine, "ray", stand_in)


@pytest.fixture
def on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def on_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")


@pytest.mark.usefixtures("on_this_machine")
@pytest.mark.parametrize(
    ("resources", "most", "cpus", "gpus", "chosen"),
    [
        (FOUR, None, 1, None, Pool(first=4, most=4, cpus=1, gpus=0.0)),
        (FOUR, None, 3, None, Pool(first=1, most=1, cpus=3, gpus=0.0)),
        (FOUR, 2, 1, None, Pool(first=2, most=2, cpus=1, gpus=0.0)),
        (FOUR, 9, 1, None, Pool(first=4, most=4, cpus=1, gpus=0.0)),
        (TWO_GPUS, None, 1, None, Pool(first=2, most=2, cpus=1, gpus=1.0)),
        (TWO_GPUS, None, 1, 0.5, Pool(first=4, most=4, cpus=1, gpus=0.5)),
        (TWO_GPUS, None, 1, 0.1, Pool(first=16, most=16, cpus=1, gpus=0.1)),
        (TWO_GPUS, None, 1, 0.2, Pool(first=10, most=10, cpus=1, gpus=0.2)),
        (TWO_GPUS, None, 1, 0.4, Pool(first=4, most=4, cpus=1, gpus=0.4)),  # two on each GPU
        (TWO_GPUS, None, 1, 0, Pool(first=16, most=16, cpus=1, gpus=0)),
    ],
)
def test_as_many_actors_as_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
    resources: dict[str, float],
    most: int | None,
    cpus: int,
    gpus: float | None,
    chosen: Pool,
) -> None:
    has(monkeypatch, resources)
    assert engine.choose(most, cpus, gpus) == chosen


@pytest.mark.usefixtures("on_a_cluster")
def test_a_cluster_may_grow_to_the_number_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, TWO_GPUS)
    assert engine.choose(16, 1, 1) == Pool(first=2, most=16, cpus=1, gpus=1)
    has(monkeypatch, {})
    assert engine.choose(16, 1, 1) == Pool(first=1, most=16, cpus=1, gpus=1)


@pytest.mark.usefixtures("on_a_cluster")
def test_an_actor_has_its_cpus_on_one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, {"CPU": 3.0}, {"CPU": 3.0}, {"CPU": 3.0}, dead=1)
    assert engine.choose(None, 2, 0) == Pool(first=2, most=2, cpus=2, gpus=0)
    with pytest.raises(UpscalingError, match=r"^E_DEVICE: no worker with 4 CPUs and 0 GPUs fits on a machine"):
        engine.choose(None, 4, 0)


def test_no_more_actors_than_pictures() -> None:
    assert Pool(first=4, most=8, cpus=1, gpus=0).at_most(2) == Pool(first=2, most=2, cpus=1, gpus=0)


@pytest.mark.usefixtures("on_a_cluster")
def test_a_cluster_without_room_needs_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, FOUR)
    with pytest.raises(
        UpscalingError, match=r"^E_DEVICE: no worker with 1 CPUs and 1 GPUs fits on a machine: Ray has 4"
    ):
        engine.choose(None, 1, 1)


def test_machines_are_those_that_live_and_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, TWO_GPUS, FOUR, TWO_GPUS, TWO_GPUS, dead=1)
    assert engine.machines(Pool(first=1, most=9, cpus=1, gpus=1)) == 2
    assert engine.machines(Pool(first=1, most=9, cpus=4, gpus=0)) == 3
    assert engine.machines(Pool(first=1, most=9, cpus=99, gpus=0)) == 1
