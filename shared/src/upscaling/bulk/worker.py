"""One loaded model, which processes the pictures of a job through the `run()` that its container calls."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from time import perf_counter
from typing import Any

from upscaling.bulk.inputs import Inputs
from upscaling.bulk.places import Place
from upscaling.errors import Code, UpscalingError
from upscaling.serving.incoming import Incoming, Stored

logger = logging.getLogger(__name__)


class Worker:
    """A model on one device. Ray makes it an actor."""

    def __init__(self, folder: str, inputs: Inputs, source: Place, target: Place, threads: int) -> None:
        """Loads run.py of the model in `folder`, relative to the folder that Ray has put this process into."""
        import torch  # only here: the job itself works without

        torch.set_num_threads(threads)
        self._inputs, self._arguments = inputs, inputs.arguments
        self._source, self._target = source, target
        self._runner = _runner(Path(folder))
        self._runner.setup()

    def process(self, picture: dict[str, Any]) -> dict[str, Any]:
        """Processes a row of `plan.work`, puts the result in its place, and returns a row of `results.SCHEMA`."""
        row = {**picture, "model": self._runner.server.model, "arguments": self._arguments}
        started = perf_counter()
        self._runner.record_metric = row.__setitem__
        try:
            row["output_bytes"] = self._target.put_file(picture["output"], Path(self._run(picture["input"])))
            row["outcome"] = "done"
        except UpscalingError as error:
            row |= failure(error)
        except Exception as error:  # one picture never ends the job; the table says what it was
            logger.exception("%s failed without a code", picture["input"])
            if _is_the_devices(error):
                os._exit(1)  # no later picture would succeed: Ray starts another process
            row |= {"outcome": "failed", "error": f"{type(error).__name__}: {error}"}
        row["seconds"] = round(perf_counter() - started, 4)
        return {**row, "ended": datetime.now(UTC)}

    def _run(self, path: str) -> str:
        values = {
            name: Incoming(value) if name in self._inputs.files and value else value
            for name, value in self._inputs.values.items()
        }
        return self._runner.run(**{self._inputs.picture: Stored(partial(self._source.read, path)), **values})


def _is_the_devices(error: Exception) -> bool:
    """Whether CUDA has failed for this process, as after an illegal access or a fault of the GPU."""
    import torch  # only here: the job itself works without

    return isinstance(error, torch.AcceleratorError)


def failure(error: UpscalingError) -> dict[str, Any]:
    """The fields of a row about a failed picture."""
    return {"outcome": "failed", "code": str(error.code), "error": error.message}


def _runner(folder: Path) -> Any:
    """The `Runner` of a model; cog.yaml of every model names it."""
    spec = spec_from_file_location("run", folder / "run.py")
    if spec is None or spec.loader is None or not (folder / "run.py").exists():
        raise UpscalingError(Code.INPUT, f"{folder.resolve()} has no run.py; name the folder of a model with --model.")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Runner()
