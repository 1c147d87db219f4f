"""Plans the rows of each stage and pass, for pictures with borders and for repeating ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

from upscaling.errors import Code, UpscalingError
from upscaling.superres.networks import Network, Stage
from upscaling.superres.tiling.geometry import SMALLEST_TILE, Span, TileSize


@dataclass(frozen=True)
class StagePlan:
    """The rows and columns of one stage, in pixels of its input. Rows below 0 belong to the repetition above."""

    width: int
    input_rows: Span
    """The rows that the stage receives; halos end there."""
    output_rows: Span
    """The rows that are computed, in pixels of the input."""
    columns: Span
    """The columns that halos may reach to; beyond the width, the picture repeats."""


@dataclass(frozen=True)
class Plan:
    """One pass of a network, over a picture or over the result of the pass before."""

    stages: tuple[StagePlan, ...]
    """One for each stage of the network."""
    tile: TileSize
    computed_rows: Span
    """The rows of the output that are computed."""
    output_rows: Span
    """The computed rows that belong to the result; the others come from padding."""
    output_width: int
    """The columns that belong to the result."""

    @property
    def input_rows(self) -> Span:
        """The rows of the picture that are needed."""
        return self.stages[0].input_rows

    @property
    def input_width(self) -> int:
        """The columns of the picture that are needed, including its padding."""
        return self.stages[0].width

    @property
    def work(self) -> int:
        """The total of input pixels of all stages, without halos."""
        return sum(len(stage.output_rows) * stage.width for stage in self.stages)


def padded(network: Network, size: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) of a picture with borders after the padding that the network needs."""
    multiple, least = network.multiple, network.least_padding
    height, width = (-(-(side + least) // multiple) * multiple for side in size)
    return height, width


def bounded(
    network: Network, input_size: tuple[int, int], size: tuple[int, int], tile: TileSize, passes: int = 1
) -> tuple[Plan, ...]:
    """Plans for a picture with borders, where the zero padding of the network applies.

    input_size is the (height, width) with padding, size is without it. Only the first pass is padded, so more than one
    pass is possible only if `multiple` divides the factor of the network.
    """
    plans: list[Plan] = []
    for _ in range(passes):
        sizes = list(_sizes(network, *input_size))
        stages = tuple(StagePlan(width, Span(0, height), Span(0, height), Span(0, width)) for height, width in sizes)
        height, width = size[0] * network.scale, size[1] * network.scale
        computed = Span(0, input_size[0] * network.scale)
        plans.append(Plan(stages, tile, computed, Span(0, height), width))
        input_size = size = height, width
        tile = _lower(tile, network.scale)
    return tuple(plans)


def repeating(
    network: Network, size: tuple[int, int], tile: TileSize, passes: int = 1, margin: int = 0
) -> tuple[Plan, ...]:
    """Plans for a picture that repeats on all sides, as if every convolution used circular padding.

    The last pass computes `margin` more rows than the picture on each side. Columns are taken modulo the width.
    Raises E_INPUT for a size, (height, width), that the network would pad.
    """
    height, width = size
    if height % network.multiple or width % network.multiple:
        raise UpscalingError(
            Code.INPUT,
            f"the picture has {width}×{height} pixels, but for seamless results of this network both must be"
            f" multiples of {network.multiple}. Crop it, or choose another network.",
        )
    plans: list[Plan] = []
    for done in reversed(range(passes)):
        factor = network.scale**done
        plan = _repeating(network, (height * factor, width * factor), _lower(tile, factor), margin)
        plans.insert(0, plan)
        margin = -plan.input_rows.start
    return tuple(plans)


def _repeating(network: Network, size: tuple[int, int], tile: TileSize, margin: int) -> Plan:
    """One pass with an output of at least `margin` more rows than the picture on each side.

    Rows are streamed, so each stage also computes the rows above and below the picture that the halos of the later
    stages need.
    """
    margins = _margins(network, margin)
    stages: list[StagePlan] = []
    taken = margins[0] + network.stages[0].halo
    for stage, given, (height, width) in zip(network.stages, margins, _sizes(network, *size), strict=True):
        columns = Span(-stage.halo, width + stage.halo)
        stages.append(StagePlan(width, Span(-taken, height + taken), Span(-given, height + given), columns))
        taken = int(given * stage.scale)
    height, width = size[0] * network.scale, size[1] * network.scale
    return Plan(tuple(stages), tile, Span(-taken, height + taken), Span(-margin, height + margin), width)


def _margins(network: Network, margin: int) -> list[int]:
    """The number of rows above the picture that each stage computes, in pixels of its input."""
    margins: list[int] = []
    for stage in reversed(network.stages):
        margin = _aligned(ceil(margin / stage.scale), stage)
        margins.insert(0, margin)
        margin += stage.halo
    return margins


def _aligned(rows: int, stage: Stage) -> int:
    return -(-rows // stage.align) * stage.align


def _lower(tile: TileSize, factor: int) -> TileSize:
    """Lower bands for a picture that is wider by a factor, because bands have the width of the picture."""
    rows = max(tile.rows // factor, min(tile.rows, SMALLEST_TILE))
    return replace(tile, height=min(tile.height, rows), band=rows)


def _sizes(network: Network, height: int, width: int) -> Iterator[tuple[int, int]]:
    """The (height, width) of each stage's input."""
    for stage in network.stages:
        yield height, width
        height, width = int(height * stage.scale), int(width * stage.scale)
