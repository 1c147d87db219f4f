"""A server or its worker is killed, and a new one starts in the same folders."""

from __future__ import annotations

import io
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import requests
import torch
from loopback import Answer, Site, until
from processes import linux_only, members, worker
from servers import BUSY, LONG, MODEL, STATES, Client, data_url, picture, serving, serving_again

from upscaling import weights
from upscaling.weights.store import file_name

PICTURE = data_url(picture(10, 7))
TOLD_WITHIN = 10  # seconds
FETCHED = "RealESRGAN_x2plus"
# The official file's checksum gives way to that of a tiny one.
KNOWN_AS = f"""
from dataclasses import replace
from upscaling.weights import catalogue
networks = catalogue._read()[0]
networks["{FETCHED}"] = replace(networks["{FETCHED}"], urls=(), wheel_member=None, sha256="%s")
"""


def kill_worker(client: Client) -> None:
    os.kill(worker(client.process.pid), signal.SIGKILL)


def assert_lost(client: Client) -> None:
    """The server says that it has no worker, and for good."""
    until(lambda: client.health() == "UNHEALTHY", within=TOLD_WITHIN)
    assert client.post_once({"image": PICTURE}).status_code in (BUSY, 503)


@linux_only
def test_worker_killed_while_it_computes_is_told_and_a_new_server_sweeps_up(
    server: Client, cache: Path, tmp_path: Path
) -> None:
    with serving(MODEL, tmp_path, cache) as client, ThreadPoolExecutor(1) as caller:
        asked = caller.submit(requests.put, f"{client.url}/predictions/doomed", json={"input": LONG}, timeout=60)
        client.await_computing("doomed")
        kill_worker(client)
        answer = asked.result(timeout=TOLD_WITHIN).json()
        assert (answer["status"], answer["error"], answer.get("output")) == ("failed", "Worker crashed", None)
        assert_lost(client)
        (left,) = client.temporary.iterdir()
        assert client.files()
    with serving_again(MODEL, tmp_path, cache) as client:
        assert not left.exists()
        assert client.output(image=PICTURE) == server.output(image=PICTURE)
        until(lambda: len(client.files()) == 1)


@linux_only
def test_killed_server_takes_its_computing_worker_along(cache: Path, tmp_path: Path) -> None:
    with serving(MODEL, tmp_path, cache) as client:
        until(lambda: client.put("doomed", LONG))
        client.await_computing("doomed")
        client.process.kill()
        try:
            until(lambda: not members(client.process.pid), within=TOLD_WITHIN)
        finally:
            for left in members(client.process.pid):
                os.kill(left, signal.SIGKILL)


@linux_only
def test_worker_killed_while_it_fetches_weights_leaves_nothing_that_is_read(
    server: Client, tmp_path: Path, inside: Site
) -> None:
    entry, cache = weights.entry(FETCHED), tmp_path / "cache"
    file = io.BytesIO()
    torch.save(STATES[FETCHED], file)
    content = file.getvalue()
    mirror = {"UPSCALING_WEIGHTS_MIRROR": inside.url}
    inside.answer(f"/{entry.file}", Answer(content, stalls_after=len(content) // 2), Answer(content))
    with serving(MODEL, tmp_path, cache, before=KNOWN_AS % sha256(content).hexdigest(), **mirror) as client:
        with ThreadPoolExecutor(1) as caller:
            asked = caller.submit(client.post_once, {"image": PICTURE, "model": FETCHED})
            until(lambda: any(path.stat().st_size > 1000 for path in client.files()))
            kill_worker(client)
            assert asked.result(timeout=TOLD_WITHIN).json()["error"] == "Worker crashed"
        assert_lost(client)
        assert not cache.exists() or not list(cache.iterdir())
        (left,) = client.temporary.iterdir()
    with serving_again(MODEL, tmp_path, cache, **mirror) as client:
        assert not left.exists()
        expected = server.output(image=PICTURE, model=FETCHED)
        assert client.output(image=PICTURE, model=FETCHED) == expected
        assert client.output(image=PICTURE, model=FETCHED) == expected
        assert [path.name for path in cache.iterdir()] == [file_name(entry)]
        assert inside.paths == [f"/{entry.file}"] * 2
