"""Bulk jobs: pictures per second beside a loop over one container, the overhead of a picture, the driver's memory.

Usage: PYTHONPATH=tools python benchmarks/bulk.py MODEL [--part speed|overhead|memory] [--pictures 400] [--size 128]
       [--rows 1000000] [--no-write]
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from threading import Event
from time import perf_counter
from typing import Any

import pyarrow.fs
import pyarrow.parquet
from local_server import running
from machine import description, kind, load
from networks import ROOT
from pictures import write_photo
from report import README, put, table

from upscaling.bulk import job, results
from upscaling.bulk.inputs import parse
from upscaling.bulk.places import Place
from upscaling.bulk.plan import plan

_PACKAGES = ("torch", "ray", "pyarrow", "cog")
_SMALL = 16  # pixels
_MADE = 1_000_000  # bytes of a picture that is only listed, and of its result


def speed(options: argparse.Namespace, folder: Path) -> str:
    """Pictures per second of a loop of curl, and of jobs with one worker and more."""
    source = _photos(folder / "in", options.pictures, options.size)
    cpus = os.cpu_count() or 1
    rows = [["curl, one after the other, on one container", str(cpus), *_looped(options, source)]]
    for workers in (1, cpus):
        times = _job(options, source, folder / f"out-{workers}", workers, cpus // workers)
        name = f"bulk, {workers} worker{'s' if workers > 1 else ''}"
        rows.append([name, str(cpus // workers), f"{_rate(times):.2f}", f"{times['wall']:.0f}"])
    return "\n\n".join([
        f"{options.pictures} pictures of {options.size}×{options.size} with {options.network}, ×4; load before the run"
        f" {load()}. The rate is that of the second half, when all have started.",
        table(["", "threads each", "pictures per second", "seconds with the start"], rows),
    ])  # fmt: skip


def overhead(options: argparse.Namespace, folder: Path) -> str:
    """What a picture takes beside its processing, with one worker and pictures that take next to nothing."""
    source = _photos(folder / "in", options.pictures, _SMALL)
    times = _job(options, source, folder / "out", 1, os.cpu_count() or 1)
    each = 1 / _rate(times)
    inside = mean(times["seconds"])
    return "\n\n".join([
        f"{options.pictures} pictures of {_SMALL}×{_SMALL}, one worker; load before the run {load()}.",
        table(
            ["milliseconds from result to result", "of it processing", "of it Ray and the job"],
            [[f"{each * 1000:.1f}", f"{inside * 1000:.1f}", f"{(each - inside) * 1000:.1f}"]],
        ),
    ])  # fmt: skip


def memory(options: argparse.Namespace, folder: Path) -> str:
    """Resident memory of the driver over a whole job of made paths: listing, plan, workers that do nothing, table.

    Then that of a second run, which finds everything done.
    """
    job_options = argparse.Namespace(workers=None, cpus=1, gpus=0)
    source = Place(MadePaths("made", "jpg", options.rows), "made", "made")
    target = Place.of(str(folder / "out"))
    begun = perf_counter()
    seen = [_now("before the listing", begun)]
    inputs = parse(ROOT / "models" / options.model, [])
    planned = plan(source, target, inputs, only_failed=False)
    seen.append(_now("listed and planned", begun))
    with ThreadPoolExecutor(1) as thread:
        ending = Event()
        during = thread.submit(_sampled, ending, begun)
        try:
            done = job.work_off(planned.work, Echo, target, inputs.arguments, job_options)  # type: ignore[arg-type]
        finally:
            ending.set()
    assert done == options.rows
    samples = during.result()
    seen += [samples[len(samples) * quarter // 4] for quarter in (1, 2, 3)]
    seen.append(_now("worked off, and the table written", begun))
    results.tidy(target)
    seen.append(_now("tidied up", begun))
    again = Place(MadePaths(target.root, "png", options.rows), target.root, target.address)
    assert plan(source, again, inputs, only_failed=False).done == options.rows
    seen.append(_now("planned again, with nothing to do", begun))
    each = (int(seen[1][1].replace(",", "")) - int(seen[0][1].replace(",", ""))) * 2**20 / options.rows
    return "\n\n".join([
        f"{options.rows:,} rows, {os.cpu_count()} workers that do nothing; load before the run {load()}. Listing and"
        f" plan: {each:.0f} bytes a row stay. Peak: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10:,} MiB.",
        table(["", "resident memory of the driver, MiB", "seconds"], seen),
    ])  # fmt: skip


def _sampled(ending: Event, begun: float) -> list[list[str]]:
    """The memory of this process every half second, until it is told to end."""
    samples = [_now("in between", begun)]
    while not ending.wait(0.5):
        samples.append(_now("in between", begun))
    return samples


def _now(what: str, begun: float) -> list[str]:
    return [what, f"{_resident() / 2**20:,.0f}", f"{perf_counter() - begun:.0f}"]


class MadePaths(pyarrow.fs.LocalFileSystem):
    """A file system that lists as many pictures as wanted in one folder, and what there is in others."""

    def __init__(self, root: str, suffix: str, rows: int) -> None:
        super().__init__()
        self._root, self._suffix, self._rows = root, suffix, rows

    def get_file_info(self, selector: Any) -> Any:
        if getattr(selector, "base_dir", None) != self._root:
            return super().get_file_info(selector)
        kind = pyarrow.fs.FileType.File
        return [
            pyarrow.fs.FileInfo(
                f"{self._root}/folder-{i // 1000:04}/picture-{i:07}.{self._suffix}", kind, size=_MADE, mtime_ns=0
            )
            for i in range(self._rows)
        ]


class Echo:
    """A worker that has every picture done at once."""

    def process(self, picture: dict[str, Any]) -> dict[str, Any]:
        return {**picture, "outcome": "done", "output_bytes": _MADE, "seconds": 0.0, "ended": datetime.now(UTC)}


def _photos(folder: Path, count: int, side: int) -> Path:
    folder.mkdir()
    photo = write_photo(folder / "0000.png", side, side)
    for i in range(1, count):
        (folder / f"{i:04}.png").write_bytes(photo.read_bytes())
    return folder


def _looped(options: argparse.Namespace, source: Path) -> tuple[str, str]:
    """Pictures per second of curl, and seconds with the server's start."""
    bodies = list(_bodies(options, source))
    begun = perf_counter()
    with running(options.model) as server:
        for i, body in enumerate(bodies):
            if i == len(bodies) // 2:
                middle = perf_counter()
            command = ["curl", "-fsS", "-X", "POST", "-H", "Content-Type: application/json", "--data", f"@{body}"]
            target = body.with_suffix(".answer")
            # The server frees its slot a moment after its answer, so that it may say 409.
            retry = ["--retry", "9", "--retry-all-errors", "--retry-delay", "0"]
            subprocess.run([*command, *retry, "-o", str(target), f"{server.url}/predictions"], check=True)
            content = json.loads(target.read_text())["output"].partition(",")[2]
            body.with_suffix(".png").write_bytes(base64.b64decode(content))
        ended = perf_counter()
    return f"{(len(bodies) - len(bodies) // 2) / (ended - middle):.2f}", f"{ended - begun:.0f}"


def _bodies(options: argparse.Namespace, source: Path) -> Iterator[Path]:
    for path in sorted(source.iterdir()):
        image = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
        body = source.parent / f"{path.stem}.json"
        body.write_text(json.dumps({"input": {"image": image, "model": options.network}}))
        yield body


def _job(options: argparse.Namespace, source: Path, target: Path, workers: int, cpus: int) -> dict[str, Any]:
    """The times of a job's pictures, and its seconds with the start."""
    command = [sys.executable, "-m", "upscaling.bulk", "--model", str(ROOT / "models" / options.model)]
    command += [str(source), str(target), "-i", f"model={options.network}"]
    begun = perf_counter()
    subprocess.run([*command, "--workers", str(workers), "--cpus", str(cpus)], check=True)
    wall = perf_counter() - begun
    rows = pyarrow.parquet.read_table(target / "results.parquet", columns=["ended", "seconds"]).sort_by("ended")
    return {"wall": wall, **rows.to_pydict()}


def _rate(times: dict[str, Any]) -> float:
    """Pictures per second in the second half of a job, when all workers have started."""
    half = times["ended"][len(times["ended"]) // 2 :]
    return (len(half) - 1) / (half[-1] - half[0]).total_seconds()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(arguments: list[str]) -> int:
    options = _parsed(arguments)
    with tempfile.TemporaryDirectory() as folder:
        measured = {"speed": speed, "overhead": overhead, "memory": memory}[options.part](options, Path(folder))
    measured = f"{measured}\n\n{description(*_PACKAGES)}"
    print(measured)
    if options.write:
        put(README, f"bulk {options.part}", kind(), measured)
    return 0


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench PART=bulk", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--part", choices=("speed", "overhead", "memory"), default="speed")
    parser.add_argument("--network", default="realesr-animevideov3")
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--size", type=int, default=128, help="side of the pictures in pixels")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of --part memory")
    parser.add_argument("--no-write", dest="write", action="store_false", help="prints only")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
