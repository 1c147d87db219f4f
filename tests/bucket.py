"""An S3 bucket on loopback by moto, which can be made to fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        pass


@dataclass
class Bucket:
    port: int = 0
    failing: set[str] = field(default_factory=set[str])
    """Ends of keys whose PUTs are refused, by an answer after which clients do not try again for seconds."""
    stored: set[str] = field(default_factory=set[str])
    """The keys of all objects that were put."""

    def uri(self, folder: str) -> str:
        options = f"scheme=http&endpoint_override=127.0.0.1:{self.port}&region=us-east-1&allow_delayed_open=true"
        return f"s3://bucket/{folder}?{options}&allow_bucket_creation=true"

    def refuses(self, key: str) -> bool:
        return any(key.endswith(end) for end in self.failing)


@contextmanager
def bucket() -> Iterator[Bucket]:
    made = Bucket()
    moto = DomainDispatcherApplication(create_backend_app)

    def answer(environment: dict[str, Any], start: Any) -> Any:
        key: str = environment["PATH_INFO"]
        if environment["REQUEST_METHOD"] != "PUT":
            return moto(environment, start)
        if not made.refuses(key):
            made.stored.add(key)
            return moto(environment, start)
        environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        start("403 Forbidden", [("Content-Length", "0")])
        return [b""]

    server = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=_Quiet)
    made.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
