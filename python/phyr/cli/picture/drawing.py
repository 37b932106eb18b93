"""A picture before it is drawn: what is where, in which colour, and how much of it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from phyr.cli.escape import escaped
from phyr.cli.picture.cells import SMALLEST_LG2, Owners, Tally
from phyr.cli.picture.curve import Array, Frame
from phyr.cli.picture.layers import Layer, Painter
from phyr.cli.picture.pieces import Pieces, changes, clipped, present
from phyr.cli.report import spell
from phyr.cli.saved import Origin, Saved
from phyr.errors import PhyrError

__all__ = [
    "OUTSIDE",
    "PALEST",
    "RAM",
    "Drawing",
    "Subject",
    "cells_of",
    "colours_of",
    "drawn",
    "explained",
    "owners_of",
]

RAM, OUTSIDE = "#E6E6E6", "#FFFFFF"
"""Memory that this process does not have, and addresses without memory."""

PALEST = 0.35
"""Share of a layer's colour in a cell of which only a little is covered."""

Range = tuple[int, int]


class Subject(NamedTuple):
    """The memory that a picture shows."""

    saved: Saved
    before: Saved | None = None
    """An earlier look, to show what changed."""
    ram: Sequence[Range] | None = None
    """Physical (first, last) of the machine's memory, if known."""
    span: Range | None = None
    """Physical (start, end) to show; all by default."""

    def pieces(self) -> Iterator[Pieces]:
        """Give the memory, all of it."""
        if self.before is not None:
            return changes(self.before.process, self.saved.process)
        return present(self.saved.process)

    def frame(self, most: int, layout: str) -> Frame:
        """Choose the cells.

        Raises:
            PhyrError: There is no memory to show.
        """
        if self.span is not None:
            return Frame.fit(*self.span, most, layout)
        tops = [int((one.paddr + (one.length - np.uint64(1))).max()) for one in self.pieces()]
        if not tops:
            raise PhyrError("nothing is resident: there is no picture of nothing")
        return Frame.fit(
            0, max(*tops, *(last for _, last in self.ram or [(0, 0)])) + 1, most, layout
        )

    def title(self) -> str:
        """Name the process."""
        process = self.saved.process
        return f"{escaped(process.command) or '-'} ({process.pid})"

    def caption(self) -> str:
        """Say how much it is, where and when."""
        rows = self.saved.process.rows
        chunks = sum(row.chunks for row in rows)
        size = spell(sum(row.resident.ram for row in rows))
        origin = self.saved.origin
        parts = [f"{size} resident in {chunks:,} chunks", origin.host, origin.kernel, _utc(origin)]
        if self.before is not None:
            parts.append(f"against {_utc(self.before.origin)}")
        return ", ".join(map(escaped, parts))


def _utc(origin: Origin) -> str:
    return f"{origin.time.partition('+')[0].replace('T', ' ')} UTC"


class Drawing(NamedTuple):
    """One picture."""

    subject: Subject
    frame: Frame
    painter: Painter
    tally: Tally

    def legend(self) -> list[tuple[Layer, int]]:
        """Give the layers that have memory, and their bytes."""
        sums = self.tally.sizes.sum(axis=1)
        return [
            (layer, int(size))
            for layer, size in zip(self.painter.layers, sums, strict=True)
            if size
        ]

    def bins(self) -> range:
        """Give log2 of the sizes of chunks from 4 KiB to the largest there is."""
        largest = int(np.flatnonzero(self.tally.sizes.sum(axis=0))[-1]) + SMALLEST_LG2
        return range(SMALLEST_LG2, max(largest, 21) + 1)

    def image(self) -> Array:
        """Make the map: rows, columns, and three bytes of colour."""
        layer, share = self.tally.shown(self.painter.quiet)
        colours = background(self.subject.ram, self.frame)
        there = layer >= 0
        inks = np.array([colours_of(one.colour) for one in self.painter.layers])
        strength = (PALEST + (1 - PALEST) * np.sqrt(share[there]))[:, None]
        colours[there] = inks[layer[there]] * strength + colours[there] * (1 - strength)
        x, y = self.frame.places()
        image = np.full((int(y.max()) + 1, int(x.max()) + 1, 3), 255, dtype=np.uint8)
        image[y, x] = np.rint(colours).astype(np.uint8)
        return image


def colours_of(text: str) -> tuple[int, ...]:
    """Read ``#RRGGBB``."""
    return tuple(bytes.fromhex(text[1:]))


def background(ram: Sequence[Range] | None, frame: Frame) -> Array:
    """Give the colour of each cell before anything is drawn on it."""
    colours = np.empty((frame.nr_cells, 3))
    colours[:] = colours_of(OUTSIDE if ram else RAM)
    for first, last in cells_of(ram or (), frame):
        colours[first : last + 1] = colours_of(RAM)
    return colours


def cells_of(ram: Sequence[Range], frame: Frame) -> list[Range]:
    """Give the first and the last cell of each stretch of memory in a frame."""
    return [
        (
            (max(first, frame.start) - frame.start) >> frame.cell_lg2,
            (min(last, frame.end - 1) - frame.start) >> frame.cell_lg2,
        )
        for first, last in ram
        if first < frame.end and last >= frame.start
    ]


def explained(frame: Frame) -> str:
    """Say in a line how to read the map."""
    fold = (
        f"a row is {spell(frame.side << frame.cell_lg2)}"
        if frame.layout == "rows"
        else "a Hilbert curve from the upper left: what is close in memory is close here"
    )
    return (
        f"Physical memory {frame.start:#x} to {frame.end:#x}, a cell is "
        f"{spell(1 << frame.cell_lg2)}; {fold}. Paler: only part of a cell."
    )


def drawn(subject: Subject, painter: Painter, frame: Frame) -> Drawing:
    """Count all memory.

    Raises:
        PhyrError: Nothing of it lies in the frame.
    """
    tally = Tally(frame, len(painter.layers))
    for pieces in subject.pieces():
        for part in painter.paint(clipped(pieces, frame.start, frame.end)):
            tally.add(part)
    if not tally.sizes.any():
        raise PhyrError(
            f"nothing is resident in {frame.start:#x}+{frame.end - frame.start:#x}:"
            " there is no picture of nothing",
            start=frame.start,
            length=frame.end - frame.start,
        )
    return Drawing(subject, frame, painter, tally)


def owners_of(subject: Subject, frame: Frame) -> Owners:
    """Find out whose each cell is."""
    owners = Owners(frame, len(subject.saved.process.rows))
    for pieces in subject.pieces():
        owners.add(clipped(pieces, frame.start, frame.end))
    return owners
