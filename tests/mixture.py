"""A mixture of requests to a model: what it offers, and many ways to fail."""

from __future__ import annotations

import io
import random
import struct
import zlib
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np
import PIL.Image
from declared import schemas
from servers import LONG, data_url

SUCCEEDED, CANCELED, REFUSED = "succeeded", "canceled", "refused"
# What is drawn from, as far as the model has inputs of these names; None leaves one out.
_VALUES: dict[str, tuple[Any, ...]] = {
    "scale": (0.5, 1, 1.5, 2, 3.3, 4),
    "second_pass": (False, False, False, True),
    "width": (None, None, None, 33, 150),
    "height": (None, None, None, 50),
    "tile_size": (0, 0, 32, 40, 64),
    "output_format": ("png", "png", "jpg", "webp"),
    "output_quality": (50, 95, 100),
}
_SIDES = (1, 7, 10, 33, 48, 64, 90)  # pixels
_KINDS = ("PNG", "PNG", "JPEG", "WEBP", "TIFF", "GIF")
_MODES = ("RGB", "RGB", "RGBA", "L", "LA")


@dataclass(frozen=True)
class Ask:
    """One request, and how it must end."""

    inputs: dict[str, Any]
    end: str = SUCCEEDED
    """SUCCEEDED, an error's code, CANCELED, or REFUSED: by the schema."""

    @property
    def network(self) -> str | None:
        """The network asked for, None where the model has only one."""
        return self.inputs.get("model")


def networks(model: str) -> list[str]:
    """The networks that a model's callers choose from; none where there is no choice."""
    return schemas(model).get("model", {}).get("enum", [])


def mixture(model: str, of: list[str], count: int, failing: int, seed: int = 0) -> list[Ask]:
    """So many requests, the same for the same seed.

    Each network is first asked for 8 and for 16 bit, which may be computed in two types. The last
    request is the first one again.
    """
    draw, known = random.Random(seed), set(schemas(model)["Input"]["properties"])
    choices = [{"model": name} for name in of] or [{}]
    first = [_well(draw, known, choice, deep) for choice in choices for deep in (False, True)]
    succeeding = count - failing - len(first) - 1
    mixed = [_well(draw, known, draw.choice(choices), deep=draw.random() < 0.2) for _ in range(succeeding)]
    mixed += [_badly(ask, choices[0]) for ask in islice(cycle(_ways_to_fail(known)), failing)]
    draw.shuffle(mixed)
    return [*first, *mixed, first[0]]


def _well(draw: random.Random, known: set[str], choice: dict[str, Any], deep: bool) -> Ask:
    drawn = {name: draw.choice(values) for name, values in _VALUES.items() if name in known}
    inputs = {name: value for name, value in drawn.items() if value is not None}
    size = draw.choice(_SIDES), draw.choice(_SIDES)
    mode = "I;16" if deep else draw.choice(_MODES)
    kind = "PNG" if deep or mode == "LA" else draw.choice(_KINDS)
    return Ask({**choice, **inputs, "image": data_url(_picture(*size, mode, kind, draw.randrange(256)))})


def _badly(ask: Ask, choice: dict[str, Any]) -> Ask:
    return Ask({**choice, **ask.inputs}, ask.end)


def _ways_to_fail(known: set[str]) -> list[Ask]:
    small, cut = _picture(10, 7), _picture(60, 60, kind="JPEG")[:-400]
    ways = [
        Ask({"image": data_url(b"")}, "E_DECODE"),
        Ask({"image": data_url(small[:-40])}, "E_DECODE"),
        Ask({"image": data_url(cut)}, "E_DECODE"),
        Ask({"image": data_url(b"no picture")}, "E_FORMAT"),
        Ask({"image": data_url(_bomb(40_000, 40_000))}, "E_TOO_LARGE"),
        Ask({"image": "/etc/passwd"}, "E_INPUT"),
        Ask({"image": "http://127.0.0.1:1/picture.png"}, "E_INPUT"),
        Ask({"image": data_url(small), "tile_size": 5}, "E_INPUT"),
        Ask({"image": data_url(small), "width": 1_000_000}, "E_TOO_LARGE"),
        Ask({"image": data_url(small), "output_quality": 101}, REFUSED),
        Ask(LONG, CANCELED),
    ]
    return [way for way in ways if set(way.inputs) <= known]


def _picture(width: int, height: int, mode: str = "RGB", kind: str = "PNG", seed: int = 0) -> bytes:
    """A file of a picture with some structure in every channel."""
    y, x = np.mgrid[0:height, 0:width]
    if mode == "I;16":
        image = PIL.Image.fromarray(((x * 997 + y * 641 + seed) % 65_536).astype(np.uint16))
    else:
        channels = [(x * 7 + seed) % 256, (y * 11 + seed) % 256, (x * y + seed) % 256, (x + y) * 5 % 256]
        image = PIL.Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8)).convert(mode)
    if kind == "JPEG" and "A" in mode:
        image = image.convert("RGB")
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def _bomb(width: int, height: int) -> bytes:
    """A PNG that says it is this large; nobody should try its pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, (b"IHDR", b"IDAT", b"IEND"), (header, zlib.compress(b""), b"")))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
