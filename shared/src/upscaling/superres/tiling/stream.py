"""Runs the stages of a network over bands of rows: memory grows with the width of the picture, but not its height.

Each stage receives consecutive bands, keeps the rows that its halo needs, computes the rows that are ready in tiles,
and yields consecutive bands. Tiles include the true neighbouring values, and the zero padding of the network applies
only at the border of the picture. So the tile size never changes the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import torch

from upscaling.errors import Code, UpscalingError
from upscaling.runtime.memory import is_out_of_memory, release
from upscaling.runtime.progress import Progress
from upscaling.superres.networks import Network, Stage
from upscaling.superres.tiling.buffer import Band, Patch, RowBuffer, joined
from upscaling.superres.tiling.geometry import SMALLEST_TILE, Span, Window, pieces, side_for, windows
from upscaling.superres.tiling.plan import Plan, StagePlan


@dataclass
class _Budget:
    """The tile size of one run, which shrinks when memory runs out."""

    width: int
    height: int

    def halve(self) -> None:
        if max(self.width, self.height) <= SMALLEST_TILE // 2:
            raise UpscalingError(
                Code.MEMORY,
                f"memory ran out even with tiles of {self.width}×{self.height} pixels."
                " Send a narrower picture, or free memory on the device.",
            )
        if self.width >= self.height:
            self.width //= 2
        else:
            self.height //= 2


def stream(network: Network, bands: Iterator[torch.Tensor], plan: Plan, progress: Progress) -> Iterator[torch.Tensor]:
    """Yields the network's output as consecutive row bands, (1, channels, rows, width × scale).

    bands are the input rows of the plan, in the same form and of any heights. The result has its computed rows. A tile
    that runs out of memory is computed again in halves. Raises E_MEMORY if that does not help, and E_NONFINITE. The
    progress counts tiles, which are successful calls of stages, and retries.
    """
    budget = _Budget(plan.tile.width, plan.tile.height)
    saved: dict[str, RowBuffer] = {}
    for name in ("tiles", "retries"):
        progress.count(name, 0)
    done = 0

    def finished(pixels: int) -> None:
        nonlocal done
        done += pixels
        progress.count("tiles")
        progress.reach(done / plan.work)

    patched = _whole(bands, plan)
    for index, (stage, part) in enumerate(zip(network.stages, plan.stages, strict=True)):
        saved.update({name: RowBuffer(part.width, part.input_rows.start) for name in stage.saves})
        runner = _Runner(
            network=network,
            index=index,
            rows=RowBuffer(part.width, part.input_rows.start),
            saves=[saved[name] for name in stage.saves],
            skip=saved[stage.skip] if stage.skip is not None else None,
            plan=part,
            rows_at_once=plan.tile.rows,
            budget=budget,
            progress=progress,
            finished=finished,
        )
        patched = runner.bands(patched)
    return map(_result, patched)


def _whole(bands: Iterator[torch.Tensor], plan: Plan) -> Iterator[Band]:
    """The input of the network as bands of one patch each."""
    row, columns = plan.input_rows.start, Span(0, plan.input_width)
    for band in bands:
        rows = Span(row, row + band.shape[2])
        yield Band(rows, columns, iter([Patch(rows, columns, band)]))
        del band  # this frame stays alive while the stages work
        row = rows.end


@dataclass
class _Runner:
    """Runs one stage on one picture."""

    network: Network
    index: int
    rows: RowBuffer
    saves: list[RowBuffer]
    skip: RowBuffer | None
    plan: StagePlan
    rows_at_once: int
    budget: _Budget
    progress: Progress
    finished: Callable[[int], None]
    """Called with the number of pixels of the stage's input that a finished tile kept."""

    @property
    def stage(self) -> Stage:
        return self.network.stages[self.index]

    def bands(self, entering: Iterator[Band]) -> Iterator[Band]:
        done = self.plan.output_rows.start
        columns = Span(0, self.plan.width).scaled(self.stage.scale)
        for band in entering:
            for patch in band.patches:
                for rows in (self.rows, *self.saves):
                    rows.append(patch)
                del patch  # frees its memory while the next stage works
            del band
            ready = self._ready()
            # Fewer rows than the halo would mostly repeat work, so they wait for the next band.
            if ready - done < self.stage.halo and ready < self.plan.output_rows.end:
                continue
            while done < ready:
                span = pieces(Span(done, ready), self.rows_at_once, self.stage.align)[0]
                done = span.end
                yield Band(span.scaled(self.stage.scale), columns, self._band(span))

    def _ready(self) -> int:
        if self.rows.end == self.plan.input_rows.end:
            return self.plan.output_rows.end
        aligned = (self.rows.end - self.stage.halo) // self.stage.align * self.stage.align
        return min(aligned, self.plan.output_rows.end)

    def _band(self, rows: Span) -> Iterator[Patch]:
        yield from self._area(rows, Span(0, self.plan.width))
        # Before the later stages work on the band, while this one waits.
        self.rows.drop_before(rows.end - self.stage.halo)
        if self.skip is not None:
            self.skip.drop_before(rows.end)

    def _area(self, rows: Span, columns: Span) -> Iterator[Patch]:
        """Yields any part of the output, in tiles within the budget."""
        stage, budget = self.stage, replace(self.budget)
        height, width = side_for(stage.inner_scale, budget.height), side_for(stage.inner_scale, budget.width)
        down = windows(rows, stage.halo, self.plan.input_rows, height, stage.align)
        across = windows(columns, stage.halo, self.plan.columns, width, stage.align)
        for above, left in product(down, across):
            fits = self.budget == budget  # the tile before may have reduced it
            yield from self._tile(above, left) if fits else self._area(above.kept, left.kept)

    def _tile(self, rows: Window, columns: Window) -> Iterator[Patch]:
        """Yields the result of one tile. If memory runs out, this tile and all later ones are cut smaller."""
        try:
            out = self._compute(rows, columns)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            self.finished(len(rows.kept) * len(columns.kept))
            yield Patch(rows.kept.scaled(self.stage.scale), columns.kept.scaled(self.stage.scale), out)
            return
        # Outside the except clause, which would keep the tensors of the failed tile in memory.
        self.progress.count("retries")
        release(self.network.device)
        self.budget.halve()
        yield from self._area(rows.kept, columns.kept)

    @torch.inference_mode()
    def _compute(self, rows: Window, columns: Window) -> torch.Tensor:
        stage = self.stage
        out = stage.run(self.rows.window(rows.taken, columns.taken))
        kept_rows = rows.kept.scaled(stage.scale).within(rows.taken.scaled(stage.scale))
        kept_columns = columns.kept.scaled(stage.scale).within(columns.taken.scaled(stage.scale))
        out = out[:, :, kept_rows, kept_columns]
        if stage.merge is not None and self.skip is not None:
            out = stage.merge(out, self.skip.view(rows.kept, columns.kept))
        return out


def _result(band: Band) -> torch.Tensor:
    """Joins a band of the last stage, after checking that all values are finite.

    Earlier stages need no check: residuals and convolutions never turn NaN or infinity into a finite number.
    """
    values = joined(band)
    # A sum is finite only if all values are, and it is faster than a mask. Only in fp16 can a sum of finite values
    # exceed the range, so it is computed in fp32; for the other types torch would make a copy for that.
    if not values.sum(dtype=torch.float32 if values.dtype is torch.float16 else None).isfinite():
        raise UpscalingError(
            Code.NONFINITE,
            "the network gave NaN or infinity, in fp32 too. The weights may be damaged: remove them and download them"
            " again.",
        )
    return values
