"""Plans the rows of every stage and pass, for a picture with borders or for one that repeats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

from upscaling.errors import Code, UpscalingError
from upscaling.superres.networks import Network, Stage
from upscaling.superres.tiling.geometry import SMALLEST_TILE, Span, TileSize


@dataclass(frozen=True)
class StagePlan:
    """What one stage works on, in pixels of its input; rows before 0 are those of the repetition above."""

    width: int
    input_rows: Span
    """The rows that come in; a halo ends at their border."""
    output_rows: Span
    """The rows that are computed, counted in the input."""
    columns: Span
    """The columns that a halo may lie in; beyond the width the picture begins again."""


@dataclass(frozen=True)
class Plan:
    """One pass: a network run once over a picture, or over the result of the pass before."""

    stages: tuple[StagePlan, ...]
    """One for each stage of the network."""
    tile: TileSize
    computed_rows: Span
    """The rows of the output that are computed."""
    output_rows: Span
    """Those of them that belong to the result; the others are of padding."""
    output_width: int
    """The columns that belong to the result."""

    @property
    def input_rows(self) -> Span:
        """The rows of the picture that are needed."""
        return self.stages[0].input_rows

    @property
    def input_width(self) -> int:
        """The columns of the picture that are needed, those of its padding included."""
        return self.stages[0].width

    @property
    def work(self) -> int:
        """Pixels that go into stages, of all stages together, halos not counted."""
        return sum(len(stage.output_rows) * stage.width for stage in self.stages)


def padded(network: Network, size: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) that a picture with borders has once it is padded as the network needs it."""
    multiple, least = network.multiple, network.least_padding
    height, width = (-(-(side + least) // multiple) * multiple for side in size)
    return height, width


def bounded(
    network: Network, input_size: tuple[int, int], size: tuple[int, int], tile: TileSize, passes: int = 1
) -> tuple[Plan, ...]:
    """Plans for a picture with borders, at which the network's own zero padding applies.

    input_size is the (height, width) with padding, size without. More than one pass is for networks whose
    `multiple` divides their factor: only the first is padded.
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
    """Plans for a picture that continues with itself on all sides, as if every convolution padded circularly.

    The last pass gives `margin` rows more than the picture on either side. Columns are taken modulo the width.
    Raises E_INPUT for a size, (height, width), that the network would pad.
    """
    height, width = size
    if height % network.multiple or width % network.multiple:
        raise UpscalingError(
            Code.INPUT,
            f"the picture has {width}×{height} pixels, and this network takes a seamless one only where both are"
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
    """One pass whose output has at least `margin` rows more than the picture on either side.

    Rows come as a stream, so each stage begins as many rows above the picture, and ends as many below, as the
    stages after it take for their halos.
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
    """How many rows above the picture each stage computes, in pixels of its input."""
    margins: list[int] = []
    for stage in reversed(network.stages):
        margin = _aligned(ceil(margin / stage.scale), stage)
        margins.insert(0, margin)
        margin += stage.halo
    return margins


def _aligned(rows: int, stage: Stage) -> int:
    return -(-rows // stage.align) * stage.align


def _lower(tile: TileSize, factor: int) -> TileSize:
    """Bands are as wide as the picture: on one that is wider by a factor they are lower by it."""
    rows = max(tile.rows // factor, min(tile.rows, SMALLEST_TILE))
    return replace(tile, height=min(tile.height, rows), band=rows)


def _sizes(network: Network, height: int, width: int) -> Iterator[tuple[int, int]]:
    """The (height, width) of each stage's input."""
    for stage in network.stages:
        yield height, width
        height, width = int(height * stage.scale), int(width * stage.scale)
