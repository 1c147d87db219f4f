"""A port on loopback that leads to the server in a container without a network."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER_WITHIN = 600  # seconds
_POLL = 0.05  # seconds
_PORT = 5000  # where Cog's server listens in a container
# Runs in the container, on its own Python: one request from standard input, its answer to standard output.
_CLIENT = """
import base64, json, sys, urllib.error, urllib.request
asked = json.load(sys.stdin)
body = asked["body"] and base64.b64decode(asked["body"])
address = f"http://127.0.0.1:{asked['port']}{asked['path']}"
request = urllib.request.Request(address, body, {"Content-Type": "application/json"}, method=asked["method"])
opened = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
try:
    answer = opened(request, timeout=asked["timeout"])
except urllib.error.HTTPError as error:
    answer = error
with answer:
    json.dump({"status": answer.status, "body": base64.b64encode(answer.read()).decode()}, sys.stdout)
"""


@contextmanager
def bridge(inside: list[str], port: int = _PORT) -> Iterator[str]:
    """An address on loopback that answers as the server on `port` does, where `inside` runs commands.

    inside is the begin of a command line, like docker exec. A server that does not answer is a 502.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._pass_on(None)

        def do_POST(self) -> None:
            self._pass_on(self.rfile.read(int(self.headers["Content-Length"])))

        def _pass_on(self, body: bytes | None) -> None:
            asked = {"method": self.command, "path": self.path, "port": port, "timeout": ANSWER_WITHIN,
                     "body": base64.b64encode(body).decode() if body else None}  # fmt: skip
            done = subprocess.run(
                [*inside, "python", "-c", _CLIENT], input=json.dumps(asked).encode(), capture_output=True, check=False
            )
            answer = json.loads(done.stdout) if done.returncode == 0 else {"status": 502, "body": ""}
            content = base64.b64decode(answer["body"])
            self.send_response(answer["status"])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": _POLL}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
