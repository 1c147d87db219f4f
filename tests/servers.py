"""A model's true Cog server with tiny weights, and a client that speaks to it."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import local_server as cog_server
import numpy as np
import PIL.Image
import requests
from loopback import until

import tiny
from upscaling import weights
from upscaling.weights.store import write

MODEL = "real-esrgan"
STATES = {
    "RealESRGAN_x4plus": tiny.rrdb(),
    "RealESRGAN_x2plus": tiny.rrdb(channels=12, seed=1),
    "RealESRGAN_x4plus_anime_6B": tiny.rrdb(blocks=6, seed=2),
    "realesr-general-x4v3": tiny.srvgg(seed=3),
    "realesr-general-wdn-x4v3": tiny.srvgg(seed=5),
    "realesr-animevideov3": tiny.srvgg(convolutions=3, seed=4),
}
FASTEST = "realesr-animevideov3"
_ANSWER_WITHIN = 60  # seconds
BUSY = 409  # HTTP's Conflict


def write_weights(states: Mapping[str, tiny.StateDict], folder: Path) -> None:
    """Puts state dicts, by the names of their networks, where a server looks for weights."""
    for name, state in states.items():
        write(state, weights.entry(name), "tiny", folder)


def picture(width: int, height: int, kind: str = "PNG", alpha: bool = False, seed: int = 0) -> bytes:
    """A file of a picture with some structure in every channel."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [(x * 7 + seed) % 256, (y * 11 + seed) % 256, (x * y + seed) % 256, (x + y) * 5 % 256]
    pixels = np.stack(channels[: 4 if alpha else 3], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def data_url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def content_of(output: str) -> bytes:
    return base64.b64decode(output.partition(",")[2], validate=True)


def opened(content: bytes) -> PIL.Image.Image:
    image = PIL.Image.open(io.BytesIO(content))
    image.load()
    return image


def message_of(answer: dict[str, Any]) -> str:
    """The coded error of a failed prediction, which is all that it says."""
    assert answer["status"] == "failed", answer
    assert not answer.get("output")
    said = re.fullmatch(
        r"(?:(?:Prediction failed: )+UpscalingError|Input validation error): (E_[A-Z_]+: .+)", answer["error"]
    )
    assert said, answer["error"]
    return said[1]


def plain(width: int, height: int) -> bytes:
    """A file of one colour, which is small however large the picture."""
    file = io.BytesIO()
    PIL.Image.new("RGB", (width, height), "teal").save(file, "PNG")
    return file.getvalue()


# Most of a minute on a small machine.
LONG = {"image": data_url(plain(1024, 1024)), "tile_size": 32}


@dataclass(frozen=True)
class Client:
    """A server that is READY, and the folder that its temporary files are in."""

    url: str
    temporary: Path
    process: subprocess.Popen[str]
    long: Mapping[str, Any]
    """The inputs of a prediction that takes long."""

    def post(self, inputs: dict[str, Any], **fields: Any) -> requests.Response:
        """One request, repeated while the one before still holds its slot: its answer comes a moment earlier."""

        def unless_busy() -> list[requests.Response]:
            answer = self.post_once(inputs, **fields)
            return [] if answer.status_code == BUSY else [answer]

        return until(unless_busy)[0]

    def post_once(self, inputs: dict[str, Any], **fields: Any) -> requests.Response:
        return requests.post(f"{self.url}/predictions", json={"input": inputs, **fields}, timeout=_ANSWER_WITHIN)

    def predict(self, **inputs: Any) -> dict[str, Any]:
        answer = self.post(inputs)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def output(self, **inputs: Any) -> bytes:
        """The output file of a prediction that must succeed."""
        answer = self.predict(**inputs)
        assert answer["status"] == "succeeded", answer
        return content_of(answer["output"])

    def failure(self, **inputs: Any) -> str:
        """The coded error of a prediction that must fail."""
        return message_of(self.predict(**inputs))

    def health(self) -> str:
        return cog_server.health(self.url)["status"]

    def put(self, name: str, inputs: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
        """Begins a prediction, or says how far the one of this name has come."""
        answer = requests.put(
            f"{self.url}/predictions/{name}",
            json={"input": inputs, **fields},
            headers={"Prefer": "respond-async"},
            timeout=_ANSWER_WITHIN,
        )
        return answer.json() if answer.status_code == 202 else {}

    def cancel(self, name: str) -> int:
        return requests.post(f"{self.url}/predictions/{name}/cancel", timeout=_ANSWER_WITHIN).status_code

    def await_computing(self, name: str) -> None:
        """Waits until the network of the long prediction of this name is at work.

        A cancel before that can be lost, or can stop the server for good: Cog 0.23.1 then has its worker start
        threads for the inputs, and Python 3.11 may give such a thread the exception that was meant for the worker.
        """
        until(lambda: self.health() == "BUSY")
        until(lambda: "seconds_decoding" in self.put(name, self.long).get("metrics", {}))

    @contextmanager
    def computing(self, name: str, **fields: Any) -> Iterator[None]:
        """A long prediction computes while the block runs, then it is cancelled."""
        until(lambda: self.put(name, self.long, **fields))
        self.await_computing(name)
        try:
            yield
        finally:
            self.cancel(name)
            until(lambda: self.health() == "READY")

    def files(self) -> list[Path]:
        """All that is in the server's private folder."""
        (workspace,) = self.temporary.glob("upscaling-*")
        return [path for path in workspace.rglob("*") if path.is_file()]


def copy_model(model: str, root: Path, schema: bool, before: str = "") -> None:
    """Puts the model below another root, without weights that happen to lie in its folder.

    before is code that its worker runs first.
    """
    folder = root / "models" / model
    folder.mkdir(parents=True)
    for name in ("cog.yaml", "run.py", *(["openapi.json"] if schema else [])):
        shutil.copy(cog_server.ROOT / "models" / model / name, folder)
    (folder / "run.py").write_text(before + (folder / "run.py").read_text())


@contextmanager
def serving(
    model: str,
    root: Path,
    cache: Path,
    schema: bool = True,
    before: str = "",
    long: Mapping[str, Any] = LONG,
    **environment: str,
) -> Iterator[Client]:
    copy_model(model, root, schema, before)
    (root / "temporary").mkdir()
    with serving_again(model, root, cache, long, **environment) as client:
        yield client


@contextmanager
def serving_again(
    model: str, root: Path, cache: Path, long: Mapping[str, Any] = LONG, **environment: str
) -> Iterator[Client]:
    """A new server in the folders of one that has ended, however that came."""
    temporary = root / "temporary"
    surroundings = {"UPSCALING_CACHE": str(cache), "UPSCALING_DEVICE": "cpu", "TMPDIR": str(temporary), **environment}
    with cog_server.running(model, environment=surroundings, root=root) as server:
        yield Client(server.url, temporary, server.process, long)
