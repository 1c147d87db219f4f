"""Contenders side by side: each in a process of its own, round after round, compared within a round."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from contenders.contender import Job

_WORKER = Path(__file__).parent / "worker.py"
_FEWEST_ROUNDS = 2  # one alone has no spread

Say = Callable[[str], None]


class ContenderError(Exception):
    """The contender cannot run here, or ended; the message is its own."""


@dataclass
class Timing:
    """All that one contender was seen to do."""

    name: str
    precision: str = ""
    target: Path = Path()
    """What its last run wrote."""
    failure: str | None = None
    path_to_path: dict[int, float] = field(default_factory=dict)
    """Seconds by round."""
    network: dict[int, float] = field(default_factory=dict)
    peak_memory: int = 0
    """Bytes, the most of all runs."""


@dataclass(frozen=True)
class Ratio:
    """How many times as long as another a contender took: the median over rounds, and how far they spread."""

    middle: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.least:.2f}–{self.most:.2f})"


def ratio(seconds: dict[int, float], base: dict[int, float]) -> Ratio | None:
    """Over the rounds that both took part in; None where there is none."""
    each = [seconds[index] / base[index] for index in seconds if index in base]
    return Ratio(median(each), min(each), max(each)) if each else None


class Worker:
    """The other end of `worker.py`."""

    def __init__(self, name: str, job: Job, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_WORKER), name, json.dumps(asdict(job), default=str)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def listen(self) -> dict[str, Any]:
        """The next answer; raises ContenderError where that is a failure."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ContenderError(f"its process ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "failure" in answer:
            raise ContenderError(answer["failure"])
        return answer

    def ask(self, command: str) -> dict[str, Any]:
        """Has a command done; raises ContenderError where that failed."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it ended: listening says how
            self._process.stdin.write(f"{command}\n")
            self._process.stdin.flush()
        return self.listen()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def measure(
    names: Iterable[str], job: Job, pairs: int, minutes: float, environment: dict[str, str], say: Say
) -> tuple[list[Timing], int]:
    """Times every contender `pairs` times, or as often as fits the minutes, though never less than twice.

    Every other round goes backwards, so that a machine that grows slower or faster favours nobody.
    Returns what was seen, and the number of rounds.
    """
    started = perf_counter()
    with ExitStack() as stack:
        timings: list[Timing] = []
        workers: dict[str, Worker] = {}
        for name in names:
            own = replace(job, target=job.target / name / "output.png")
            own.target.parent.mkdir(parents=True)
            timings.append(Timing(name, target=own.target))
            workers[name] = Worker(name, own, environment)
            stack.callback(workers[name].close)
        for timing in timings:
            _set_up(workers[timing.name], timing, say)
        for done in range(pairs):
            round_started = perf_counter()
            taking_part = [timing for timing in timings if timing.failure is None]
            for timing in reversed(taking_part) if done % 2 else taking_part:
                _run(workers[timing.name], timing, done, say)
            another = perf_counter() - round_started
            if done + 1 >= _FEWEST_ROUNDS and perf_counter() - started + another > minutes * 60:
                return timings, done + 1
        return timings, pairs


def _set_up(worker: Worker, timing: Timing, say: Say) -> None:
    try:
        timing.precision = worker.listen()["precision"]
        worker.ask("warm-up")
    except ContenderError as error:
        timing.failure = str(error)
    say(f"{timing.name}: {timing.failure or f'ready in {timing.precision}'}")


def _run(worker: Worker, timing: Timing, index: int, say: Say) -> None:
    try:
        seen = worker.ask("run")
    except ContenderError as error:
        timing.failure = str(error)
        say(f"{timing.name}: {error}")
        return
    timing.path_to_path[index] = seen["path_to_path"]
    timing.network[index] = seen["network"]
    timing.peak_memory = max(timing.peak_memory, seen["peak_memory"])
    say(
        f"round {index + 1}, {timing.name}: {seen['path_to_path']:.2f} s path to path, {seen['network']:.2f} s the"
        f" network, {seen['peak_memory'] / 2**20:.0f} MiB"
    )
