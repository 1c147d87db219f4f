"""One contender in a process of its own, told what to do line by line; started by `harness`.

Usage: python benchmarks/worker.py NAME JOB, where JOB is a `Job` as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from contenders import build
from contenders.contender import Contender, Job
from machine import peak_memory, reset_peak_memory


def main(name: str, job: str) -> int:
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)  # some libraries print, and must not print between the answers
        for said in _answers(name, _job(job)):
            print(json.dumps(said), file=answers)
            if "failure" in said:
                return 1
    return 0


def _answers(name: str, job: Job) -> Iterator[dict[str, Any]]:
    """One for being ready, then one for each line; after a failure there are no more."""
    try:
        contender = build(name, job)
        yield {"precision": contender.precision}
        for line in sys.stdin:
            yield _COMMANDS[line.strip()](contender)
    except Exception as error:  # whatever a library raises is what the table says of it
        yield {"failure": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}


def _job(text: str) -> Job:
    fields = json.loads(text)
    return Job(**{name: value if name == "network" else Path(value) for name, value in fields.items()})


def _warm_up(contender: Contender) -> dict[str, Any]:
    contender.warm_up()
    return {}


def _run(contender: Contender) -> dict[str, Any]:
    reset_peak_memory()
    run = contender.run()
    return {**asdict(run), "peak_memory": peak_memory()}


_COMMANDS = {"warm-up": _warm_up, "run": _run}

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
