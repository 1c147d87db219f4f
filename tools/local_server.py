"""Starts the Cog server of a model without Docker.

Usage: python tools/local_server.py MODEL PORT
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
READY_WITHIN = 120  # seconds, mostly to import torch if it is not in the disk cache
_STOPPED_WITHIN = 10  # seconds
_POLL = 0.1  # seconds
_LINES_KEPT = 100  # of the server's output, to be shown if it fails

# Ignores a proxy in the environment, which is not for loopback addresses.
open_url = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
_PREDICTION_LOG = ("coglet::prediction", "coglet::user")  # targets of log records with the output of the model


class ServerError(Exception):
    """The server did not become ready; the message contains its output."""


@dataclass(frozen=True)
class Server:
    """A server that is READY."""

    url: str
    process: subprocess.Popen[str]


@contextlib.contextmanager
def running(
    model: str,
    port: int | None = None,
    upload_url: str | None = None,
    environment: dict[str, str] | None = None,
    root: Path = ROOT,
) -> Iterator[Server]:
    """Runs the server of a model on loopback until the block ends, and copies the logs of the model to standard error.

    environment is added to the environment of this process. Raises ServerError if the server does not become ready.
    """
    folder = root / "models" / model
    _place_schema(folder)
    if port is not None and not _is_free(port):
        raise ServerError(f"port {port} is in use; choose another one with PORT=…")
    port = port or _free_port()
    command = [sys.executable, "-m", "cog.server.http", "--host", "127.0.0.1"]
    if upload_url is not None:
        command += ["--upload-url", upload_url]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        # The last result stays in the temporary folder of the server, which is removed when the server ends.
        surroundings = _environment(folder, port, {"TMPDIR": temporary, **(environment or {})})
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # to stop it with its worker, and to keep Ctrl-C from it
        )
        said: deque[str] = deque(maxlen=_LINES_KEPT)
        relay = threading.Thread(target=_relay, args=(process, said), daemon=True)
        relay.start()
        server = Server(f"http://127.0.0.1:{port}", process)
        try:
            _wait_until_ready(server, folder, surroundings, said)
            yield server
        finally:
            _stop(process)
            relay.join(timeout=_STOPPED_WITHIN)


def health(url: str) -> dict[str, Any]:
    """The response of /health-check, or {} if there is no server at the address."""
    try:
        with open_url(f"{url}/health-check", timeout=10) as answer:
            return json.load(answer)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return {}


def _place_schema(folder: Path) -> None:
    # Without a schema the server does not check inputs. A new model has none yet.
    source = folder / "openapi.json"
    if not source.exists():
        return
    target = folder / ".cog" / "openapi_schema.json"
    target.parent.mkdir(exist_ok=True)
    unfinished = target.with_suffix(f".{os.getpid()}")
    shutil.copyfile(source, unfinished)
    unfinished.replace(target)


def _environment(folder: Path, port: int, added: dict[str, str]) -> dict[str, str]:
    # The server starts `python` from PATH as its worker.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, **added, "PORT": str(port), "COG_PREDICT_TYPE_STUB": _runner(folder)}


def _runner(folder: Path) -> str:
    for line in (folder / "cog.yaml").read_text().splitlines():
        if line.startswith("run:"):
            return line.removeprefix("run:").strip().strip('"')
    raise ServerError(f"{folder / 'cog.yaml'} has no line `run:`.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _relay(process: subprocess.Popen[str], said: deque[str]) -> None:
    """Prints the logs of the model, and keeps the messages of the server for the case that it fails."""
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                said.append(line.rstrip())
                continue
            if not isinstance(entry, dict):
                said.append(line.rstrip())
                continue
            fields = entry.get("fields", {})
            if entry.get("target") in _PREDICTION_LOG and ("source" in fields or entry["target"] == "coglet::user"):
                print(fields.get("message", ""), file=sys.stderr, flush=True)
            elif entry.get("level") in ("ERROR", "WARN"):
                said.append(f"{fields.get('message', '')} {fields.get('error', '')}".strip())


def _wait_until_ready(server: Server, folder: Path, environment: dict[str, str], said: deque[str]) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise ServerError("\n".join(["the server has stopped:", *said]))
        status = health(server.url).get("status")
        if status == "READY":
            return
        if status == "SETUP_FAILED":
            raise ServerError("\n".join([*said, _traceback(folder, environment)]))
        time.sleep(_POLL)
    raise ServerError("\n".join([f"the server was not ready after {READY_WITHIN} s:", *said]))


def _traceback(folder: Path, environment: dict[str, str]) -> str:
    """The full traceback of an error in setup: the server logs only its last line."""
    module, _, name = _runner(folder).partition(".py:")
    setup = subprocess.run(
        [sys.executable, "-c", f"import {module}; {module}.{name}().setup()"],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=READY_WITHIN, check=False,
    )  # fmt: skip
    return setup.stderr


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(timeout=_STOPPED_WITHIN)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=_STOPPED_WITHIN)


def main(model: str, port: str) -> int:
    try:
        with running(model, int(port)) as server:
            print(f"{model} is ready at {server.url} (POST /predictions). Press Ctrl-C to stop it.", flush=True)
            return server.process.wait()
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(*sys.argv[1:]))
