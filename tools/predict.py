"""Runs one prediction on the Cog server of a model, with the flags of `cog run`.

Usage: python tools/predict.py MODEL -i image=@photo.jpg [-i NAME=VALUE …] [-o out.png] [--url URL]
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import mimetypes
import re
import signal
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from local_server import ROOT, ServerError, open_url, running

BUSY_FOR = 600  # seconds to retry while the server answers 409
_BUSY_PAUSE = 0.5  # seconds
_FETCHED_WITHIN = 60  # seconds without a byte
_CODED = re.compile(r"E_[A-Z_]+: .*", re.DOTALL)


class PredictionError(Exception):
    """The prediction failed; the message is the one of the model."""


def predict(url: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Runs a prediction, with retries while the server is busy, and returns its response.

    Raises PredictionError if it failed or was refused.
    """
    body = json.dumps({"input": inputs}).encode()
    deadline = time.monotonic() + BUSY_FOR
    while True:
        request = urllib.request.Request(
            f"{url}/predictions", body, {"Content-Type": "application/json"}, method="POST"
        )
        try:
            with open_url(request) as answer:
                prediction = json.load(answer)
            break
        except urllib.error.HTTPError as error:
            if error.code != 409 or time.monotonic() > deadline:
                raise PredictionError(_refusal(error)) from error
            time.sleep(_BUSY_PAUSE)
        except urllib.error.URLError as error:
            raise PredictionError(f"{url} does not answer ({error.reason}).") from error
    if prediction["status"] != "succeeded":
        message = prediction.get("error") or f"the prediction {prediction['status']}"
        coded = _CODED.search(message)
        raise PredictionError(coded.group() if coded else message)
    return prediction


def parse_inputs(pairs: list[str], model: str) -> dict[str, Any]:
    """Converts NAME=VALUE pairs to the types in the schema of the model; @PATH becomes the file as a data URL."""
    contract = ROOT / "models" / model / "openapi.json"
    if not contract.exists():
        models = ", ".join(sorted(path.name for path in (ROOT / "models").iterdir()))
        raise PredictionError(f"there is no model {model!r}. The models are {models}.")
    schemas = json.loads(contract.read_text())["components"]["schemas"]
    known = schemas["Input"]["properties"]
    inputs: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in known:
            raise PredictionError(
                f"{pair!r} is not an input of {model}. The inputs are {', '.join(known)}, given as NAME=VALUE."
            )
        inputs[name] = (
            _data_url(Path(value[1:])) if value.startswith("@") else _typed(_type(known[name], schemas), value)
        )
    return inputs


def _type(declared: dict[str, Any], schemas: dict[str, Any]) -> str | None:
    # The type of an input with choices is in a separate schema.
    referred = [schemas[part["$ref"].rpartition("/")[2]] for part in declared.get("allOf", [])]
    return next((one["type"] for one in [declared, *referred] if "type" in one), None)


def _typed(kind: str | None, value: str) -> Any:
    if kind in ("integer", "number", "boolean"):
        try:
            return json.loads(value)
        except ValueError:
            return value  # the server explains the error
    return value


def _data_url(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PredictionError(f"{path} cannot be read ({error.strerror}).") from error
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _refusal(error: urllib.error.HTTPError) -> str:
    text = error.read().decode(errors="replace")
    try:
        details = json.loads(text)["detail"]
        return "; ".join(f"{'.'.join(detail['loc'][2:])}: {detail['msg']}" for detail in details)
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}: {text}"


@contextlib.contextmanager
def receiver(folder: Path) -> Iterator[str]:
    """A loopback URL to which the server can upload files, because large results do not fit into a JSON response."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            left = int(self.headers["Content-Length"])
            with (folder / Path(self.path).name).open("wb") as file:
                while left and (part := self.rfile.read(min(left, 1 << 20))):
                    file.write(part)
                    left -= len(part)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


def save(output: str, received: Path, wanted: Path | None) -> Path:
    """Saves the output of a prediction to the wanted path, or under its own name in the current folder.

    A server that was not started here may upload to another place; the file is then downloaded from there.
    Raises PredictionError if that is not possible.
    """
    if output.startswith("data:"):
        head, _, content = output.partition(",")
        extension = mimetypes.guess_extension(head[5:].partition(";")[0]) or ""
        target = wanted or Path(f"output{extension}")
        target.write_bytes(base64.b64decode(content))
        return target
    name = Path(urllib.parse.urlsplit(output).path).name
    target = wanted or Path(name)
    uploaded = received / name
    target.write_bytes(uploaded.read_bytes() if uploaded.is_file() else _fetched(output))
    return target


def _fetched(url: str) -> bytes:
    try:
        with open_url(url, timeout=_FETCHED_WITHIN) as answer:
            return answer.read()
    except (OSError, ValueError) as error:
        raise PredictionError(f"the result is at {url}, which cannot be read ({error}).") from error


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="make predict", description="Runs one prediction, with the flags of `cog run`."
    )
    parser.add_argument("model")
    parser.add_argument("-i", "--input", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--url", help="a running server, for example from `make serve`")
    options = parser.parse_args(arguments)
    try:
        if options.output and not options.output.resolve().parent.is_dir():
            raise PredictionError(f"there is no folder {options.output.parent} for the result.")
        inputs = parse_inputs(options.input, options.model)
        path = run(options.model, inputs, options.output, options.url)
    except (PredictionError, ServerError) as error:
        print(error, file=sys.stderr)
        return 1
    print(path)
    return 0


def run(model: str, inputs: dict[str, Any], output: Path | None, url: str | None = None) -> Path:
    """Runs a prediction on the server at `url`, or on a new one, and saves the output file."""
    with contextlib.ExitStack() as stack:
        received = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if url is None:
            url = stack.enter_context(running(model, upload_url=stack.enter_context(receiver(received)))).url
        prediction = predict(url.rstrip("/"), inputs)
        figures = ", ".join(f"{name} {value}" for name, value in prediction.get("metrics", {}).items())
        print(figures, file=sys.stderr)
        return save(prediction["output"], received, output)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # also stops the server
    sys.exit(main(sys.argv[1:]))
