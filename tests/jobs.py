"""Bulk jobs as people run them: another process, with true Ray and tiny weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from local_server import ROOT
from servers import FASTEST, MODEL, STATES, copy_model, write_weights

from upscaling.bulk.inputs import parse

_ENDED_WITHIN = 200  # seconds
_PROC = Path("/proc")

# A file of this many bytes kills the worker that works on it, as the system does when memory runs out.
DEADLY = 20  # bytes, so that its turn comes late
_KILLS = f"""
import os
from upscaling.serving import server
_process = server.process
def process(source, *rest):
    if source.stat().st_size == {DEADLY}:
        os.kill(os.getpid(), 9)
    return _process(source, *rest)
server.process = process
"""

# What Cog does with a prediction, without a server: pictures as data URLs in, files out.
_CONTAINER = """
import base64, json, sys
from pathlib import Path
from run import Runner
from upscaling.serving.incoming import Incoming
runner = Runner()
runner.setup()
runner.record_metric = lambda name, value: None
inputs, source, target, *names = sys.argv[1:]
for name in names:
    url = "data:image/png;base64," + base64.b64encode((Path(source) / name).read_bytes()).decode()
    made = Path(target) / name
    made.parent.mkdir(parents=True, exist_ok=True)
    made.write_bytes(Path(runner.run(image=Incoming(url), **json.loads(inputs))).read_bytes())
"""


@dataclass(frozen=True)
class Jobs:
    """Starts jobs of the fastest network."""

    model: Path
    environment: dict[str, str]
    inputs: tuple[str, ...] = (f"model={FASTEST}", "scale=2")

    def start(self, source: str, target: str, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "upscaling.bulk", "--model", str(self.model), source, target]
        command += [word for pair in self.inputs for word in ("-i", pair)]
        command += options
        return subprocess.Popen(
            command, env=self.environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def run(self, source: str, target: str, *options: str) -> tuple[int, str]:
        """The exit code of a job, and what it said."""
        with self.start(source, target, *options) as job:
            _, said = job.communicate(timeout=_ENDED_WITHIN)
            return job.returncode, said

    def predict(self, source: Path, names: list[str], target: Path) -> dict[str, bytes]:
        """What the `run()` of the container makes of some pictures, with the inputs of the jobs."""
        inputs = json.dumps(parse(self.model, self.inputs).values)
        command = [sys.executable, "-c", _CONTAINER, inputs, str(source), str(target), *names]
        subprocess.run(command, env=self.environment, cwd=ROOT / "models" / MODEL, check=True, timeout=_ENDED_WITHIN)
        return {name: (target / name).read_bytes() for name in names}


def workers(job: int) -> list[int]:
    """The processes of a job's actors."""
    return [pid for pid, command in below(job).items() if command.startswith(b"ray::MapWorker")]


def below(process: int) -> dict[int, bytes]:
    """All processes that a process has started, and those that they have: their command lines, by their ids."""
    parents = dict(_processes())
    return {pid: _title(pid) for pid in parents if process in _above(pid, parents)}


def are_alive(pids: list[int]) -> bool:
    return not set(pids).isdisjoint(pid for pid, _ in _processes())


def _processes() -> Iterator[tuple[int, int]]:
    """The ids of all processes that run, with those of their parents."""
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError):  # it may have ended since
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                yield int(folder.name), int(parent)


def _above(pid: int, parents: dict[int, int]) -> Iterator[int]:
    while pid := parents.get(pid, 0):
        yield pid


def _title(pid: int) -> bytes:
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:  # it has ended since
        return b""


def jobs_in(root: Path) -> Jobs:
    """Jobs with a model and weights of their own in a folder."""
    write_weights({FASTEST: STATES[FASTEST]}, root / "cache")
    copy_model(MODEL, root, schema=True, before=_KILLS)
    environment = {
        **os.environ,
        "UPSCALING_CACHE": str(root / "cache"),
        "UPSCALING_DEVICE": "cpu",
        "OMP_NUM_THREADS": "1",
        "RAY_worker_niceness": "0",  # with Ray's 15, workers get no CPU beside other tests
    }
    return Jobs(root / "models" / MODEL, environment)
