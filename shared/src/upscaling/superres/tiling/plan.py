"""Which rows every stage takes and gives: of a picture with borders, or of one that repeats for ever."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from upscaling.superres.networks import Network, Stage
from upscaling.superres.tiling.geometry import Span


@dataclass(frozen=True)
class Extent:
    """What one stage works on, in pixels of its input; rows before 0 are those of the repetition above."""

    width: int
    taken_rows: Span
    """The rows that come in; a halo ends at their border."""
    given_rows: Span
    """The rows that are computed."""
    reach: Span
    """The columns that a halo may lie in; beyond the width the picture begins again."""


@dataclass(frozen=True)
class Plan:
    """One run of a network over one size of picture."""

    extents: tuple[Extent, ...]
    """One for each stage."""
    given_rows: Span
    """The rows of the output that come."""

    @property
    def taken_rows(self) -> Span:
        """The rows of the picture that are needed."""
        return self.extents[0].taken_rows

    @property
    def work(self) -> int:
        """Pixels that go into stages, of all stages together, halos not counted."""
        return sum(len(extent.given_rows) * extent.width for extent in self.extents)


def bounded(network: Network, height: int, width: int) -> Plan:
    """A picture with borders, at which the network's own zero padding applies.

    height and width are multiples of `network.multiple`.
    """
    sizes = list(_sizes(network, height, width))
    return Plan(
        tuple(Extent(width, Span(0, height), Span(0, height), Span(0, width)) for height, width in sizes[:-1]),
        Span(0, sizes[-1][0]),
    )


def repeating(network: Network, height: int, width: int, beyond: int) -> Plan:
    """A picture that continues with itself on all sides, as if every convolution padded circularly.

    Columns are taken modulo the width. Rows come as a stream, so each stage begins as many rows above the
    picture, and ends as many below, as the stages after it take for their halos; the last one gives at
    least `beyond` rows more than the picture on either side.
    """
    above = _rows_above(network, beyond)
    extents: list[Extent] = []
    taken = above[0] + network.stages[0].halo
    sizes = list(_sizes(network, height, width))
    for stage, given, (rows, columns) in zip(network.stages, above, sizes, strict=False):
        reach = Span(-stage.halo, columns + stage.halo)
        extents.append(Extent(columns, Span(-taken, rows + taken), Span(-given, rows + given), reach))
        taken = int(given * stage.scale)
    return Plan(tuple(extents), Span(-taken, sizes[-1][0] + taken))


def _rows_above(network: Network, beyond: int) -> list[int]:
    """How many rows above the picture each stage computes, in pixels of its input."""
    above: list[int] = []
    for stage in reversed(network.stages):
        beyond = _aligned(ceil(beyond / stage.scale), stage)
        above.insert(0, beyond)
        beyond += stage.halo
    return above


def _aligned(rows: int, stage: Stage) -> int:
    return -(-rows // stage.align) * stage.align


def _sizes(network: Network, height: int, width: int) -> Iterator[tuple[int, int]]:
    """The size of each stage's input, and at the end of the output."""
    yield height, width
    for stage in network.stages:
        height, width = int(height * stage.scale), int(width * stage.scale)
        yield height, width
