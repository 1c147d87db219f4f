"""Starts a model's Cog server without Docker.

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
READY_WITHIN = 120  # seconds; importing torch from a cold disk takes most of it
_STOPPED_WITHIN = 10  # seconds
_POLL = 0.1  # seconds
_LINES_KEPT = 100  # of what the server says, for the case that it fails

# A proxy in the environment is for the world outside, not for loopback.
open_url = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
_PREDICTION_LOG = ("coglet::prediction", "coglet::user")  # coglet's names for what the model itself prints


class ServerError(Exception):
    """The server did not become ready; the message holds what the worker said."""


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
    """Runs the model's server on loopback until the block ends; what the model logs goes to standard error.

    environment is what to add to this process's own. Raises ServerError where it does not become ready.
    """
    folder = root / "models" / model
    _place_schema(folder)
    if port is not None and not _is_free(port):
        raise ServerError(f"port {port} is taken; name another with PORT=…")
    port = port or _free_port()
    command = [sys.executable, "-m", "cog.server.http", "--host", "127.0.0.1"]
    if upload_url is not None:
        command += ["--upload-url", upload_url]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        # The server keeps its last result; a folder of its own takes that along when it ends.
        surroundings = _environment(folder, port, {"TMPDIR": temporary, **(environment or {})})
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that the worker ends with it, and a Ctrl-C is ours to handle
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
    """The answer of /health-check, or {} while nobody listens."""
    try:
        with open_url(f"{url}/health-check", timeout=10) as answer:
            return json.load(answer)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return {}


def _place_schema(folder: Path) -> None:
    # Without it the server checks no input at all. A model that is being begun has none yet.
    source = folder / "openapi.json"
    if not source.exists():
        return
    target = folder / ".cog" / "openapi_schema.json"
    target.parent.mkdir(exist_ok=True)
    unfinished = target.with_suffix(f".{os.getpid()}")
    shutil.copyfile(source, unfinished)
    unfinished.replace(target)


def _environment(folder: Path, port: int, added: dict[str, str]) -> dict[str, str]:
    # The server starts its worker as `python` from PATH.
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
    """Passes on what the model logs, and keeps what the server itself says in case it fails."""
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
            raise ServerError("\n".join(["the server ended:", *said]))
        status = health(server.url).get("status")
        if status == "READY":
            return
        if status == "SETUP_FAILED":
            raise ServerError("\n".join([*said, _traceback(folder, environment)]))
        time.sleep(_POLL)
    raise ServerError("\n".join([f"the server was not ready within {READY_WITHIN} s:", *said]))


def _traceback(folder: Path, environment: dict[str, str]) -> str:
    """What setup raises, in full: the server itself keeps the last line only."""
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
            print(f"{model} is ready at {server.url} (POST /predictions). Ctrl-C ends it.", flush=True)
            return server.process.wait()
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(*sys.argv[1:]))
