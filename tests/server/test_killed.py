"""A server or its worker is killed, and a new one starts in the same folders."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import requests
from checkpoints import saved
from loopback import Answer, Site, until
from processes import linux_only, members, worker
from servers import BUSY, LONG, MODEL, STATES, Client, data_url, picture, serving, serving_again

PICTURE = data_url(picture(10, 7))
TOLD_WITHIN = 10  # seconds
FETCHED = "RealESRGAN_x2plus"
# The official file's checksum gives way to that of a tiny one.
KNOWN_AS = f"""
from dataclasses import replace
from upscaling.weights import catalogue
entries = catalogue.catalogue().entries
file = catalogue.File("{FETCHED}.pth", sha256="%s")
entries["{FETCHED}"] = replace(entries["{FETCHED}"], sources=(), files=(file,), wheel_member=None)
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
def test_worker_killed_while_it_fetches_weights_leaves_a_part_that_the_next_one_continues(
    server: Client, tmp_path: Path, inside: Site
) -> None:
    cache = tmp_path / "cache"
    content = saved(STATES[FETCHED])
    half, etag = len(content) // 2, {"ETag": '"1"'}
    part = cache / f"{FETCHED}.part" / f"{FETCHED}.pth"
    path = f"/{FETCHED}/{FETCHED}.pth"
    mirror = {"UPSCALING_WEIGHTS_MIRROR": inside.url}
    inside.answer(path, Answer(content, headers=etag, stalls_after=half), Answer(content, headers=etag))
    with serving(MODEL, tmp_path, cache, before=KNOWN_AS % sha256(content).hexdigest(), **mirror) as client:
        with ThreadPoolExecutor(1) as caller:
            asked = caller.submit(client.post_once, {"image": PICTURE, "model": FETCHED})
            until(lambda: part.exists() and part.stat().st_size > 1000)
            kill_worker(client)
            assert asked.result(timeout=TOLD_WITHIN).json()["error"] == "Worker crashed"
        assert_lost(client)
        assert [path.name for path in cache.iterdir()] == [f"{FETCHED}.part"]
        (left,) = client.temporary.iterdir()
        received = part.stat().st_size
    with serving_again(MODEL, tmp_path, cache, **mirror) as client:
        assert not left.exists()
        expected = server.output(image=PICTURE, model=FETCHED)
        assert client.output(image=PICTURE, model=FETCHED) == expected
        assert client.output(image=PICTURE, model=FETCHED) == expected
        assert [path.name for path in cache.iterdir()] == [FETCHED]
        assert inside.paths == [path] * 2
        assert inside.ranges == [None, f"bytes={received}-"]
