"""Checks a model's image: its size, its files, its schema, that it starts locked down, and its smoke cases.

Usage: python tools/check_image.py MODEL [IMAGE] [--gpu]

The container has no network, a read-only root, no capabilities and a user without a name. Cases that are marked
`gpu: true` run with --gpu only, which gives the container all GPUs. Needs Docker.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import smoke
from bridge import bridge
from image_files import holds_secret, problems
from local_server import ROOT, health

LOCKED_DOWN = ["--network", "none", "--read-only", "--tmpfs", "/tmp", "--user", "1000", "--cap-drop", "ALL"]
_COMMAND_WITHIN = 120  # seconds, of a docker command that hands over no files
_EXPORT_WITHIN = 1200  # seconds
_POLL = 0.2  # seconds
_GIGABYTE = 1e9


class ImageError(Exception):
    """The image cannot be checked; the message is Docker's own."""


def docker(*arguments: str) -> str:
    """What a docker command prints; raises ImageError where it fails."""
    try:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, timeout=_COMMAND_WITHIN, check=False
        )
    except FileNotFoundError as error:
        raise ImageError("Docker is not on PATH; it is needed to check an image.") from error
    except subprocess.TimeoutExpired as error:
        raise ImageError(f"docker {arguments[0]} took longer than {_COMMAND_WITHIN} s.") from error
    if done.returncode != 0:
        raise ImageError(done.stderr.strip())
    return done.stdout.strip()


def described(inspected: dict[str, Any], history: list[str], contract: str, image_gb: float) -> Iterator[str]:
    """Problems in the description of an image: its size, its schema, secrets in variables and build steps."""
    size = inspected["Size"] / _GIGABYTE
    if size > image_gb:
        yield f"The image has {size:.1f} GB; its smoke.yaml and its weights allow {image_gb:g} GB."
    label = (inspected["Config"]["Labels"] or {}).get("run.cog.openapi_schema")
    if label is None or _comparable(label) != _comparable(contract):
        yield "The image's schema is not the committed openapi.json: run `make schema`."
    names = [word.partition("=")[0] for word in inspected["Config"]["Env"] or [] if holds_secret(word)]
    steps = ["A step of its build"] if any(map(holds_secret, history)) else []
    for holder in [*names, *steps]:
        yield f"{holder} holds a key or a token, which everyone who has the image can read."


def weights_gb(folder: Path) -> float:
    """The size of the weights in a model's folder, which its image holds, in 10⁹ bytes."""
    return sum(path.stat().st_size for path in (folder / "weights").rglob("*") if path.is_file()) / _GIGABYTE


def _comparable(schema: str) -> Any:
    read = json.loads(schema)
    read["info"]["version"] = "dev"  # Cog's own
    return read


def exported(image: str) -> Iterator[str]:
    """Problems in the files of an image."""
    container = docker("create", image)
    try:
        with subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as export:
            assert export.stdout is not None
            yield from problems(export.stdout)
            if export.wait(_EXPORT_WITHIN) != 0:
                yield "Not all of its files could be read."
    finally:
        docker("rm", "--force", "--volumes", container)


@contextmanager
def started(image: str, gpu: bool) -> Iterator[str]:
    """A locked-down container of the image, by its id."""
    container = docker("run", "--detach", *LOCKED_DOWN, *(["--gpus", "all"] if gpu else []), image)
    try:
        yield container
    finally:
        docker("rm", "--force", "--volumes", container)


def ready_after(url: str, container: str, within: float) -> float:
    """Seconds until the container is READY; raises ImageError with its log where that is not within so many."""
    begun = time.monotonic()
    while (waited := time.monotonic() - begun) < within:
        if health(url).get("status") == "READY":
            return waited
        if docker("inspect", "--format", "{{.State.Running}}", container) != "true":
            raise ImageError(f"The container ended:\n{docker('logs', '--tail', '50', container)}")
        time.sleep(_POLL)
    raise ImageError(f"The container was not READY within {within:g} s:\n{docker('logs', '--tail', '50', container)}")


def check(model: str, image: str, gpu: bool) -> int:
    """Prints the problems of an image and the results of its smoke cases; returns how many problems there are."""
    folder = ROOT / "models" / model
    wanted = smoke.read(folder / "smoke.yaml")
    inspected: dict[str, Any] = json.loads(docker("image", "inspect", image))[0]
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image).splitlines()
    allowed_gb = round(wanted.image_gb + weights_gb(folder), 1)
    wrong = [
        *described(inspected, history, (folder / "openapi.json").read_text(), allowed_gb),
        *exported(image),
    ]
    for said in wrong:
        print(f"{model}: {said}", flush=True)
    print(f"{model}: {inspected['Size'] / _GIGABYTE:.2f} GB", flush=True)
    with started(image, gpu) as container, bridge(["docker", "exec", "--interactive", container]) as url:
        print(f"{model}: READY after {ready_after(url, container, wanted.ready_seconds):.1f} s", flush=True)
        failed = smoke.run(model, url, [case for case in wanted.cases if gpu or not case.gpu])
    return len(wrong) + failed


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make check-image", description="Checks a model's image.")
    parser.add_argument("model")
    parser.add_argument("image", nargs="?", help="by default the one that `make build` made")
    parser.add_argument("--gpu", action="store_true", help="also the cases that take a GPU")
    options = parser.parse_args(arguments)
    try:
        return 1 if check(options.model, options.image or options.model, options.gpu) else 0
    except ImageError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # removes the container too
    sys.exit(main(sys.argv[1:]))
