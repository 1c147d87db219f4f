"""Requests beside and after each other: busy, cancelled, called back, swept."""

from __future__ import annotations

import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from loopback import Answer, Site, until
from processes import allocated, linux_only, worker
from servers import BUSY, FASTEST, LONG, Client, content_of, data_url, opened, picture

PICTURE = data_url(picture(10, 7))
CANCELLED_WITHIN = 2  # seconds
MEBIBYTE = 1 << 20  # bytes


def test_second_request_is_refused_while_one_computes(server: Client) -> None:
    with server.computing("first"):
        assert server.post_once({"image": PICTURE}).status_code == BUSY
    assert opened(server.output(image=PICTURE)).size == (40, 28)


def test_health_is_told_at_once_while_a_prediction_computes(server: Client) -> None:
    until(lambda: server.health() == "READY")
    with server.computing("watched"):
        for _ in range(5):
            asked = time.monotonic()
            assert server.health() == "BUSY"
            assert time.monotonic() - asked < 1
    until(lambda: server.health() == "READY")


def test_cancelling_takes_effect_and_the_next_result_is_right(server: Client, inside: Site) -> None:
    expected = server.output(image=PICTURE)
    hook = inside.answer("/hook", Answer())
    with server.computing("unwanted", webhook=hook, webhook_events_filter=["completed"]):
        asked = time.monotonic()
        assert server.cancel("unwanted") == 200
        until(lambda: inside.asked, within=CANCELLED_WITHIN)
        assert server.output(image=PICTURE) == expected
        assert time.monotonic() - asked < CANCELLED_WITHIN + 2
    assert json.loads(inside.asked[0][1])["status"] == "canceled"


def test_caller_who_waits_learns_of_the_cancel(server: Client) -> None:
    until(lambda: server.health() == "READY")
    with ThreadPoolExecutor(1) as caller:
        answer = caller.submit(requests.put, f"{server.url}/predictions/awaited", json={"input": LONG}, timeout=60)
        server.await_computing("awaited")
        assert server.cancel("awaited") == 200
        assert answer.result(timeout=CANCELLED_WITHIN).json()["status"] == "canceled"


def test_caller_who_hangs_up_frees_the_server(server: Client) -> None:
    until(lambda: server.health() == "READY")
    caller = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    body = json.dumps({"input": LONG})
    caller.request("PUT", "/predictions/forsaken", body, {"Content-Type": "application/json"})
    server.await_computing("forsaken")
    caller.close()
    until(lambda: server.health() == "READY", within=CANCELLED_WITHIN)
    assert opened(server.output(image=PICTURE)).size == (40, 28)


def test_cancelling_what_is_not_there_is_an_error(server: Client) -> None:
    assert server.cancel("nonesuch") == 404


def _events(site: Site) -> list[dict[str, Any]]:
    return [json.loads(body) for _, body in site.asked]


def test_completion_is_called_back_once(server: Client, inside: Site) -> None:
    hook = inside.answer("/hook", Answer())
    server.put("called back", {"image": PICTURE}, webhook=hook, webhook_events_filter=["completed"])
    until(lambda: inside.asked)
    server.output(image=PICTURE)  # time enough for a second call
    (event,) = _events(inside)
    assert event["status"] == "succeeded"
    assert opened(content_of(event["output"])).size == (40, 28)


def test_failure_is_called_back_with_its_code(server: Client, inside: Site) -> None:
    server.put("failing", {"image": data_url(b"")}, webhook=inside.answer("/hook", Answer()))
    event = until(lambda: [event for event in _events(inside) if event["status"] == "failed"])[0]
    assert "E_DECODE: " in event["error"]
    assert event.get("output") is None


def test_fifty_requests_leave_only_the_files_of_the_last(server: Client, inside: Site) -> None:
    failing = {
        5: {"image": data_url(b"")},
        15: {"image": "/etc/passwd"},
        25: {"image": f"{inside.url}/x"},
        35: {"image": data_url(picture(30, 30)[:-200])},
        45: {"image": PICTURE, "scale": 0},
    }
    for number in range(50):
        inputs = failing.get(number, {"image": data_url(picture(10, 7, seed=number)), "model": FASTEST})
        answer = server.predict(**inputs)
        assert answer["status"] == ("failed" if number in failing else "succeeded")
        assert len(server.files()) <= 3
    (left,) = server.files()
    assert left.read_bytes() == content_of(answer["output"])


@linux_only
def test_memory_after_a_request_does_not_depend_on_what_was_sent(server: Client) -> None:
    inputs: dict[str, Any] = {"model": FASTEST, "scale": 1}

    def after_a_small_request() -> int:
        server.output(image=PICTURE, **inputs)
        return allocated(worker(server.process.pid))

    after_a_small_request()
    before = after_a_small_request()
    for number in range(8):
        # Padded behind its end to the size of a large photo.
        server.output(image=data_url(picture(10, 7, seed=number) + bytes(10 * MEBIBYTE)), **inputs)
    assert after_a_small_request() < before + 24 * MEBIBYTE


def test_requests_at_once_all_end_well_or_busy(server: Client) -> None:
    expected = server.output(image=PICTURE, model=FASTEST)
    together = threading.Barrier(6)

    def ask() -> requests.Response:
        together.wait(timeout=20)
        return server.post_once({"image": PICTURE, "model": FASTEST})

    with ThreadPoolExecutor(6) as callers:
        answers = [asked.result(timeout=60) for asked in [callers.submit(ask) for _ in range(6)]]
    succeeded = [answer.json() for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} <= {200, BUSY}
    assert succeeded
    assert all(content_of(answer["output"]) == expected for answer in succeeded)


def test_server_without_its_folder_is_unhealthy(server: Client) -> None:
    until(lambda: server.health() == "READY")
    (workspace,) = server.temporary.glob("upscaling-*")
    aside = workspace.rename(workspace.with_name("aside"))
    try:
        assert server.health() == "UNHEALTHY"
    finally:
        aside.rename(workspace)
    assert server.health() == "READY"
