"""A bulk job from its arguments to its summary."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from upscaling.bulk import headers, pool, results
from upscaling.bulk.arrow import compute
from upscaling.bulk.inputs import parse
from upscaling.bulk.pauses import with_pauses
from upscaling.bulk.places import Place
from upscaling.bulk.plan import plan
from upscaling.bulk.report import Report, intention
from upscaling.bulk.worker import Worker

_PAUSE = 1.0  # seconds without a picture, after which the table and the line of progress are looked after


def run(options: Namespace) -> bool:
    """Runs a job with the options of the command line; returns whether every picture has its result.

    Raises UpscalingError if the options are not valid, or if no worker can load.
    """
    folder = Path(options.model)
    inputs = parse(folder, options.input)
    source, target = Place.of(options.source), Place.of(options.target)
    planned = plan(source, target, inputs, options.only_failed)
    _say(intention(planned))
    if options.dry_run:
        _say(headers.text(headers.estimate(source, planned.work), target, inputs.arguments))
        return True
    done = planned.done
    if planned.work.num_rows:
        results.drop(target, planned.outdated)
        for path in planned.leftovers:
            target.remove(path)
        make = partial(Worker, str(folder), inputs, source, target, options.cpus)
        done += _done(planned.work, make, target, options)
    _say(f"Table: {target.address}/{results.FOLDER}")
    return done == planned.pictures


def _done(work: Any, make: Callable[[], Worker], target: Place, options: Namespace) -> int:
    """Processes the pictures, and returns how many were done. The table and the summary are written however it ends."""
    report = Report(work.num_rows, compute.sum(work["input_bytes"]).as_py())
    parts = results.Parts(target)
    pool.connect()
    with ExitStack() as ending:
        ending.callback(pool.disconnect)
        ending.callback(lambda: _say(report.summary()))
        ending.callback(parts.write)
        rows = pool.process(work, make, pool.choose(options.workers, options.cpus, options.gpus))
        for row in with_pauses(rows, _PAUSE):
            if row is not None:
                parts.add(row)
                report.add(row)
            parts.write_if_due()
            report.show()
    return report.done


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
