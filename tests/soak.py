"""Many mixed requests to a model's true server, and what they must not change: memory, folders, weights, threads.

Usage: PYTHONPATH=tools python tests/soak.py MODEL [--requests 200] [--failing 20] [--weights FOLDER]
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from loopback import until
from mixture import CANCELED, REFUSED, SUCCEEDED, Ask, mixture, networks
from openings import Openings, watching
from processes import Usage, usage
from servers import MODEL, STATES, Client, content_of, serving, write_weights

SETTLED = 10  # requests, after which nothing may grow any more
_MEMORY_GROWTH = 0.05
_MORE_THREADS = _MORE_FILES = 4  # a connection that is just being closed, a thread of the server's pool
_READ_BY = 2  # requests for a network, after which its weights must have been read
_OUTPUTS = Path("/tmp/coglet/predictions")  # Cog's own place, whatever TMPDIR says


@dataclass
class Record:
    """What was seen while the requests went through, complaints in words."""

    usages: list[Usage] = field(default_factory=list)
    """One after each request."""
    wrong_ends: list[str] = field(default_factory=list)
    late_openings: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    changed_bytes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Finding:
    """One row of the report."""

    name: str
    seen: str
    passed: bool


def soak(client: Client, asks: list[Ask], weights: Path) -> Record:
    """Sends the requests one after the other and records what they leave behind."""
    record, asked_for, outputs = Record(), Counter[str | None](), dict[int, bytes]()
    with watching(*(path for path in weights.iterdir() if path.is_dir())) as openings:
        for number, ask in enumerate(asks, 1):
            end, answer = _sent(client, f"soak-{number}", ask)
            if end != ask.end:
                record.wrong_ends.append(f"request {number} ended with {end}, not with {ask.end}")
            _note_openings(record, openings, number, asked_for[ask.network])
            if end == SUCCEEDED:
                asked_for[ask.network] += 1
                outputs[number] = content_of(answer["output"])
                _note_leftovers(record, client, number, answer["id"], outputs[number])
            until(lambda: client.health() == "READY")
            record.usages.append(usage(client.process.pid))
    if outputs.get(1) != outputs.get(len(asks)):
        record.changed_bytes.append("the first request, sent again as the last, gave other bytes")
    return record


def _sent(client: Client, name: str, ask: Ask) -> tuple[str, dict[str, Any]]:
    """How a request ended, in the words of `Ask.end`, and its answer."""
    if ask.end == CANCELED:
        with ThreadPoolExecutor(1) as caller:
            url = f"{client.url}/predictions/{name}"
            waiting = caller.submit(requests.put, url, json={"input": ask.inputs}, timeout=60)
            client.await_computing(name)
            client.cancel(name)
            answer = waiting.result().json()
        return answer["status"], answer
    response = client.post(ask.inputs)
    if response.status_code == requests.codes.unprocessable:
        return REFUSED, {}
    answer = response.json()
    if answer["status"] != "failed":
        return answer["status"], answer
    code = re.search(r"\bE_[A-Z_]+(?=: )", answer["error"])
    return (code.group() if code else answer["error"]), answer


def _note_openings(record: Record, openings: Openings, number: int, asked_before: int) -> None:
    opened = openings.since()
    if opened and asked_before >= _READ_BY:
        record.late_openings.append(f"request {number} opened {', '.join(sorted(opened))}")


def _note_leftovers(record: Record, client: Client, number: int, prediction: str, output: bytes) -> None:
    """After a success there is its result and nothing else; the input goes a moment after the answer."""
    try:
        until(lambda: len(client.files()) <= 1, within=5)
    except AssertionError:
        record.leftovers.append(f"request {number} left {len(client.files())} files in the work folder")
        return
    if [path.read_bytes() for path in client.files()] != [output]:
        record.leftovers.append(f"request {number} left something else than its result")
    strays = [path for path in client.temporary.iterdir() if not path.name.startswith("upscaling-")]
    strays += [path for path in (_OUTPUTS / prediction).rglob("*") if path.is_file()]
    if strays:
        record.leftovers.append(f"request {number} left {', '.join(map(str, strays))}")


def findings(record: Record) -> list[Finding]:
    """What the record says, and whether that may be."""
    settled, later = record.usages[SETTLED - 1], record.usages[SETTLED:]
    return [
        _complaints("requests that ended as they should not", record.wrong_ends),
        _memory(settled, later),
        _count("threads", settled.threads, [each.threads for each in later], _MORE_THREADS),
        _count("open files", settled.files, [each.files for each in later], _MORE_FILES),
        _complaints("weight files opened after a network's second request", record.late_openings),
        _complaints("files left beside the last result", record.leftovers),
        _complaints("results that changed", record.changed_bytes),
    ]


def _complaints(name: str, said: list[str]) -> Finding:
    return Finding(name, "; ".join(said) or "none", not said)


def _memory(settled: Usage, later: list[Usage]) -> Finding:
    most = max(each.resident for each in later)
    seen = f"resident {_series(settled.resident, [each.resident for each in later])}"
    seen += f"; allocated {_series(settled.anonymous, [each.anonymous for each in later])}"
    return Finding("memory of all the server's processes, MiB", seen, most <= settled.resident * (1 + _MEMORY_GROWTH))


def _series(settled: int, later: list[int]) -> str:
    after, most, last = (f"{value / 2**20:.0f}" for value in (settled, max(later), later[-1]))
    return f"{after} after request {SETTLED}, then {most} at most, {last} at the end ({later[-1] / settled - 1:+.1%})"


def _count(name: str, settled: int, later: list[int], more: int) -> Finding:
    seen = f"{settled} after request {SETTLED}, then {max(later)} at most, {later[-1]} at the end"
    return Finding(name, seen, later[-1] <= settled + more)


def report(rows: Iterable[Finding]) -> str:
    """The findings as lines."""
    return "\n".join(f"{'ok  ' if row.passed else 'FAIL'}  {row.name}: {row.seen}" for row in rows)


def main(arguments: list[str]) -> int:
    options = _parsed(arguments)
    if options.model != MODEL:
        print(f"There are tiny weights of {MODEL} only, in tests/serving.py.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        weights = options.weights or Path(folder) / "weights"
        if options.weights is None:
            write_weights(STATES, weights)
        present = [name for name in networks(MODEL) if (weights / name).exists()]
        asks = mixture(MODEL, present, options.requests, options.failing)
        with serving(MODEL, Path(folder) / "server", weights) as client:
            rows = findings(soak(client, asks, weights))
    ends = Counter(ask.end for ask in asks)
    print(
        f"{len(asks)} requests to {MODEL}, {len(present)} networks: {', '.join(f'{ends[end]} {end}' for end in ends)}"
    )
    print(report(rows))
    return 0 if all(row.passed for row in rows) else 1


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--failing", type=int, default=20, help="how many of them fail, each in its way")
    parser.add_argument("--weights", type=Path, help="a folder of true weights; without it they are tiny and random")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
