"""The probes of deploy/http/model.yaml, run against the true server."""

from __future__ import annotations

import socket

from manifests import probe_fails
from servers import Client


def port_of(server: Client) -> int:
    return int(server.url.rpartition(":")[2])


def test_a_server_that_is_ready_passes_all_probes(server: Client) -> None:
    assert not any(probe_fails(kind, port_of(server)) for kind in ("startup", "readiness", "liveness"))


def test_a_server_that_is_busy_is_alive_only_while_someone_waits_for_it(server: Client) -> None:
    port = port_of(server)
    with server.computing("probed"):
        assert not probe_fails("readiness", port)
        # Nobody waits for a prediction that responds asynchronously, so this one looks like one that is stuck.
        assert probe_fails("liveness", port)
        with socket.create_connection(("127.0.0.1", port)):
            assert not probe_fails("liveness", port)
