"""Enlarges the sample photo by four with the server of real-esrgan, and writes a comparison of both pictures.

Usage: python tools/demo.py FOLDER
"""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from local_server import ROOT, ServerError
from predict import PredictionError, parse_inputs, run

PHOTO = ROOT / "samples" / "cat.jpg"
_GAP = 8  # white pixels between the pictures

# pyvips creates its operations at run time, so type checkers cannot see them.
pyvips: Any = import_module("pyvips")


def before_and_after(before: Path, after: Path, target: Path) -> None:
    """Writes the original picture, enlarged as in a browser, and the upscaled one side by side."""
    large = pyvips.Image.new_from_file(str(after))
    small = pyvips.Image.new_from_file(str(before)).thumbnail_image(large.width, height=large.height, size="force")
    small.join(large, "horizontal", expand=True, shim=_GAP, background=[255]).write_to_file(str(target))


def main(folder: str) -> int:
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    enlarged, both = target / f"{PHOTO.stem}-x4.png", target / f"{PHOTO.stem}-before-after.png"
    try:
        run("real-esrgan", parse_inputs([f"image=@{PHOTO}"], "real-esrgan"), enlarged)
    except (PredictionError, ServerError) as error:
        print(error, file=sys.stderr)
        return 1
    before_and_after(PHOTO, enlarged, both)
    print(f"{PHOTO} enlarged by 4: {enlarged}\nBefore and after, side by side: {both}")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # also stops the server
    sys.exit(main(*sys.argv[1:]))
