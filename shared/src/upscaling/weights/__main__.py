"""python -m upscaling.weights MODEL FOLDER [NETWORK …]: puts a model's weights into a folder."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from upscaling.errors import UpscalingError
from upscaling.weights import entry, of_model, put
from upscaling.weights.store import file_name


def main(model: str, folder: str, *names: str) -> int:
    """Fetches all networks of the model, or those named; says which failed; 0 if none did."""
    wanted_names = names or [wanted.name for wanted in of_model(model)]
    failed = 0
    for name in wanted_names:
        try:
            wanted = entry(name)
            kept = Path(folder) / file_name(wanted)
            path = kept if kept.exists() else put(wanted, Path(folder))
            sys.stderr.write(f"{path}  ({wanted.licence}, {path.stat().st_size / 1e6:.1f} MB)\n")
        except UpscalingError as error:
            failed += 1
            sys.stderr.write(f"{error}\n")
    sys.stderr.write(f"{len(wanted_names) - failed} of {len(wanted_names)} networks are in {folder}.\n")
    return 1 if failed or not wanted_names else 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.exit(main(*sys.argv[1:]))
