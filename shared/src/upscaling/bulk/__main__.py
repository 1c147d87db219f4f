"""Runs a model over all pictures in a folder or bucket: python -m upscaling.bulk IN OUT [-i NAME=VALUE …].

In the folder of a model, or with --model. On a Ray cluster: `ray job submit --working-dir models/NAME -- python -m …`.
Exit codes: 0 if every picture has its result, 1 if some have not, 2 if the job failed, 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from upscaling.bulk.job import run
from upscaling.errors import Code, UpscalingError

_INTERRUPTED = 130  # as shells have it: 128 and SIGINT


def main(arguments: Sequence[str]) -> int:
    """Runs the job; 0 says that every picture has its result, 1 that some have not, 2 that the job failed."""
    try:
        return 0 if run(_options(arguments)) else 1
    except UpscalingError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception:
        # Python would end with 1, which stands for pictures without a result.
        traceback.print_exc()
        return 2


def _options(arguments: Sequence[str]) -> Namespace:
    parser = ArgumentParser(
        prog="python -m upscaling.bulk", description="Runs a model over all pictures in a folder or bucket."
    )
    parser.add_argument("source", metavar="IN", help="a folder, or a URI such as s3://bucket/photos")
    parser.add_argument("target", metavar="OUT", help="where the results go, and the table results.parquet")
    parser.add_argument("-i", "--input", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--model", default=".", metavar="FOLDER", help="the folder of the model, with run.py")
    parser.add_argument("--workers", type=int, metavar="N", help="at most this many; as many as fit if left out")
    parser.add_argument("--cpus", type=int, default=1, metavar="N", help="CPUs of a worker, and threads of its network")
    parser.add_argument("--gpus", type=float, metavar="N", help="GPUs of a worker; 1 if there are GPUs, else 0")
    parser.add_argument("--dry-run", action="store_true", help="only reads headers, and estimates the work")
    parser.add_argument("--only-failed", action="store_true", help="only what failed in an earlier run")
    options = parser.parse_args(arguments)
    _check(options)
    return options


def _check(options: Namespace) -> None:
    for name, count in (("workers", options.workers), ("cpus", options.cpus)):
        if count is not None and count < 1:
            raise UpscalingError(Code.INPUT, f"--{name} is {count}: take a whole number, 1 or more.")
    gpus = options.gpus
    if gpus is not None and not (0 <= gpus <= 1 or (gpus > 1 and gpus.is_integer())):
        raise UpscalingError(Code.INPUT, f"--gpus is {gpus:g}: take 0, a part of one such as 0.5, or a whole number.")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # what Ray does when Python ends may take another code: bulk/job.py says why
