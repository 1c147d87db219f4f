"""A bulk job from its arguments to its summary."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from upscaling.bulk import engine, headers, pool, results
from upscaling.bulk.arrow import compute
from upscaling.bulk.inputs import parse
from upscaling.bulk.pauses import awaited, with_pauses
from upscaling.bulk.places import Place
from upscaling.bulk.plan import plan
from upscaling.bulk.report import Report, intention, say
from upscaling.bulk.worker import Worker
from upscaling.errors import Code, UpscalingError

_PAUSE = 1.0  # seconds without a picture, after which the table and the line of progress are looked after
_HOPELESS = 20  # pictures for each worker, without weights


def run(options: Namespace) -> bool:
    """Runs a job with the options of the command line; returns whether every picture has its result.

    With dry_run, nothing is done, and what is returned is whether every picture can be read, by its header.
    Raises UpscalingError if the options are not valid, if no worker can load, if the first pictures all lack weights,
    or if the table cannot be written.
    """
    folder = Path(options.model)
    inputs = parse(folder, options.input)
    source, target = Place.of(options.source), Place.of(options.target)
    planned = awaited(lambda: plan(source, target, inputs, options.only_failed))
    say(intention(planned))
    if options.dry_run:
        found = headers.estimate(source, planned.work)
        say(headers.text(found, target, inputs.arguments))
        return not (found.failed or planned.refused or planned.unnamed)
    done = planned.done
    if planned.work.num_rows:
        for path in planned.leftovers:
            target.remove(path)
        make = partial(Worker, str(folder), inputs, source, target, options.cpus)
        done += work_off(planned.work, make, target, inputs.arguments, options)
    results.tidy(target)
    say(f"Table: {target.address}/{results.FOLDER}")
    return done == planned.pictures


def work_off(work: Any, make: Callable[[], Worker], target: Place, arguments: str, options: Namespace) -> int:
    """Processes a table of `Plan.work` with `Inputs.arguments`, and returns how many were done.

    The table of results and the summary are written however it ends.
    """
    report = Report(work.num_rows, compute.sum(work["input_bytes"]).as_py())
    parts = results.Parts(target)
    engine.connect()
    with ExitStack() as ending:
        ending.push(_disconnect)
        ending.callback(lambda: say(report.summary()))
        ending.push(partial(_close, parts))
        actors = engine.choose(options.workers, options.cpus, options.gpus).at_most(work.num_rows)
        rows = pool.process(work, make, actors)
        for row in with_pauses(rows, _PAUSE):
            if row is not None:
                parts.add({"arguments": arguments, **row})  # a killed worker says nothing
                report.add(row)
                _check_weights(report, actors.first)
            parts.write_if_due()
            report.show()
    return report.done


def _check_weights(report: Report, workers: int) -> None:
    """Raises E_WEIGHTS if the first pictures have all failed with it, some for each worker."""
    failed = report.failed[Code.WEIGHTS]
    if not report.done and failed == report.failed.total() == _HOPELESS * workers:
        raise UpscalingError(
            Code.WEIGHTS, f"the first {failed} pictures have all failed, for example {report.examples[Code.WEIGHTS]}"
        )


def _close(parts: results.Parts, kind: type[BaseException] | None, error: object, trace: object) -> None:
    """Writes the rows that wait; after Ctrl-C, an error is shown only, so that the job still ends as interrupted."""
    try:
        parts.close()
    except UpscalingError as failed:
        if kind is not KeyboardInterrupt:
            raise
        say(str(failed))


def _disconnect(kind: type[BaseException] | None, error: object, trace: object) -> None:
    """Ends Ray, but after Ctrl-C and errors: it does so itself when this process ends.

    Threads may still wait for rows then. If Ray is shut down under them, it may end the process with a code of its own.
    """
    if kind is None:
        engine.disconnect()
