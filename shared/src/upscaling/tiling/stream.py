"""Stages chained over row bands: memory grows with the picture's width, never its height.

Every stage takes consecutive row bands, keeps the rows that its halo needs, cuts what is ready to
tiles and hands consecutive row bands on. Since a tile gets the true neighbouring values, and the
network's zero padding only at the picture's true border, no tile size changes the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from upscaling.errors import Code, UpscalingError
from upscaling.networks import Network, Stage
from upscaling.tiling.geometry import SMALLEST_TILE, Span, TileSize, pieces
from upscaling.tiling.memory import is_out_of_memory, release
from upscaling.tiling.plan import Extent, Plan
from upscaling.tiling.rows import Rows

# Up to this many fp32 values torch takes its own convolution on a CPU, which sums in another order than
# oneDNN: a small tile would differ from a large one. A batch of two goes to oneDNN always
# (use_mkldnn in aten/src/ATen/native/Convolution.cpp).
_LEFT_BY_ONEDNN = 20480


@dataclass
class Tally:
    """What one run has done so far; each run has its own."""

    tiles: int = 0
    """Stage calls that succeeded."""
    retries: int = 0
    """Tiles redone: smaller, because memory ran out, or in fp32, because a value was not finite."""
    work: int = 0
    """Pixels that went into stages, of all stages together."""
    total_work: int = 0
    """What `work` will be at the end."""
    on_progress: Callable[[float], object] | None = None
    """Called after every tile with the share of the work that is done, 0–1."""

    def add_tile(self, pixels: int) -> None:
        """Counts a finished tile that `pixels` of a stage's input went into."""
        self.tiles += 1
        self.work += pixels
        if self.on_progress is not None:
            self.on_progress(self.work / self.total_work)


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


def stream(
    network: Network,
    bands: Iterator[torch.Tensor],
    plan: Plan,
    tile: TileSize,
    tally: Tally,
    in_fp32: Callable[[], Network],
) -> Iterator[torch.Tensor]:
    """Yields the network's output as consecutive row bands, (1, channels, rows, width × scale).

    bands are the rows that the plan takes, in the same form and of any heights; what comes are the rows
    that it gives. A tile that runs out of memory is redone in halves; one with a value that is not finite
    is redone by the network that `in_fp32` gives. Raises E_MEMORY and E_NONFINITE where that did not help.
    """
    budget = _Budget(tile.width, tile.height)
    saved: dict[str, Rows] = {}
    for index, (stage, extent) in enumerate(zip(network.stages, plan.extents, strict=True)):
        saved.update({name: Rows(extent.taken_rows.start) for name in stage.saves})
        runner = _Runner(
            network=network,
            index=index,
            in_fp32=in_fp32,
            rows=Rows(extent.taken_rows.start),
            saves=[saved[name] for name in stage.saves],
            skip=saved[stage.skip] if stage.skip is not None else None,
            extent=extent,
            budget=budget,
            tally=tally,
        )
        bands = runner.bands(bands)
    return bands


@dataclass
class _Runner:
    """One stage at work on one picture."""

    network: Network
    index: int
    in_fp32: Callable[[], Network]
    rows: Rows
    saves: list[Rows]
    skip: Rows | None
    extent: Extent
    budget: _Budget
    tally: Tally

    @property
    def stage(self) -> Stage:
        return self.network.stages[self.index]

    def bands(self, entering: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        done = self.extent.given_rows.start
        for band in entering:
            for rows in (self.rows, *self.saves):
                rows.append(band)
            del band  # this frame stays alive while the next stage works
            ready = self._ready()
            # A sliver of fewer rows than its halo would mostly repeat work, and waiting for more holds memory.
            if ready - done < self.stage.halo and ready < self.extent.given_rows.end:
                continue
            while done < ready:
                # Cut anew each time: the budget may have shrunk.
                span = pieces(Span(done, ready), self.budget.height, self.stage.align)[0]
                done = span.end
                yield self._band(span)

    def _ready(self) -> int:
        if self.rows.end == self.extent.taken_rows.end:
            return self.extent.given_rows.end
        aligned = (self.rows.end - self.stage.halo) // self.stage.align * self.stage.align
        return min(aligned, self.extent.given_rows.end)

    def _band(self, rows: Span) -> torch.Tensor:
        with torch.inference_mode():
            band = self._area(rows, Span(0, self.extent.width))
        # Before it is handed on: all later stages work on it while this one waits.
        self.rows.drop_before(rows.end - self.stage.halo)
        if self.skip is not None:
            self.skip.drop_before(rows.end)
        return band

    def _area(self, rows: Span, columns: Span) -> torch.Tensor:
        """Any part of the output, from as many tiles as the budget takes, which shrinks until they fit."""
        while True:
            down = pieces(rows, self.budget.height, self.stage.align)
            across = pieces(columns, self.budget.width, self.stage.align)
            if len(down) > 1 or len(across) > 1:
                return _joined([_joined([self._area(part, span) for span in across], dim=3) for part in down], dim=2)
            try:
                return self._tile(rows, columns)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Out of the except clause, which would keep the failed tile's tensors alive.
            self.tally.retries += 1
            release(self.network.device)
            self.budget.halve()

    def _tile(self, rows: Span, columns: Span) -> torch.Tensor:
        out = self._compute(self.stage, rows, columns, self.network.dtype)
        if not _is_finite(out):
            self.tally.retries += 1
            out = self._compute(self.in_fp32().stages[self.index], rows, columns, torch.float32)
            if not _is_finite(out):
                raise UpscalingError(
                    Code.NONFINITE,
                    f"the network gave NaN or infinity in its stage {self.index}, in fp32 too."
                    " The weights may be damaged: remove and fetch them.",
                )
            # Values beyond the range of a smaller type stay in fp32, also for the stages to come.
            narrowed = out.to(self.network.dtype)
            out = narrowed if _is_finite(narrowed) else out
        self.tally.add_tile(len(rows) * len(columns))
        return out

    def _compute(self, stage: Stage, rows: Span, columns: Span, dtype: torch.dtype) -> torch.Tensor:
        taken_rows = rows.widened(stage.halo, self.extent.taken_rows)
        taken_columns = columns.widened(stage.halo, self.extent.reach)
        out = _run(stage, self.rows.window(taken_rows, taken_columns).to(dtype))
        kept_rows = _scaled(rows.within(taken_rows), stage)
        kept_columns = _scaled(columns.within(taken_columns), stage)
        out = out[:, :, kept_rows, kept_columns]
        if stage.merge is not None and self.skip is not None:
            out = stage.merge(out, self.skip.window(rows, columns).to(dtype))
        return out


def _run(stage: Stage, tile: torch.Tensor) -> torch.Tensor:
    if tile.device.type == "cpu" and tile.dtype == torch.float32 and tile.numel() <= _LEFT_BY_ONEDNN:
        return stage.run(tile.expand(2, -1, -1, -1))[:1]
    return stage.run(tile)


def _joined(parts: list[torch.Tensor], dim: int) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _scaled(kept: slice, stage: Stage) -> slice:
    return slice(int(kept.start * stage.scale), int(kept.stop * stage.scale))


def _is_finite(values: torch.Tensor) -> bool:
    # A sum is finite only if every value is, and reads them once without writing a mask.
    return bool(values.sum(dtype=torch.float32).isfinite())
