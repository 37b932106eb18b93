"""Counting: the bytes of each layer in each cell, and in chunks of each size."""

import numpy as np

from phyr.cli.picture.curve import Array, Frame
from phyr.cli.picture.pieces import Pieces
from phyr.errors import RangeError

__all__ = ["LARGEST_LG2", "SMALLEST_LG2", "Owners", "Tally", "spread"]

SMALLEST_LG2, LARGEST_LG2 = 12, 34
"""log2 of the bytes of the smallest and the largest chunks that are told apart."""

_OVERLAP = 64  # how many times lists may cover all cells
_WAITING = 1 << 23  # sums that are kept apart at most


def spread(frame: Frame, paddr: Array, length: Array) -> tuple[Array | slice, Array, Array]:
    """Cut pieces at the borders of cells.

    Returns:
        For each part: number of the piece, to be used as an index, number of the cell, bytes.

    Raises:
        RangeError: They cover the cells too many times.
    """
    offset: Array = paddr - np.uint64(frame.start)
    lg2 = np.uint64(frame.cell_lg2)
    first = (offset >> lg2).astype(np.int64)
    last = ((offset + (length - np.uint64(1))) >> lg2).astype(np.int64)
    if (first == last).all():
        return slice(None), first, length
    counts = last - first + 1
    parts = int(counts.sum(dtype=np.float64))
    if parts > len(paddr) + _OVERLAP * frame.nr_cells:
        raise RangeError(
            f"the lists cover {frame.start:#x}+{frame.end - frame.start:#x} more than {_OVERLAP}"
            " times: too often for a picture",
            start=frame.start,
            length=frame.end - frame.start,
            times=_OVERLAP,
        )
    number = np.repeat(np.arange(len(paddr)), counts)
    cell = np.arange(parts) - np.repeat(np.cumsum(counts) - counts, counts) + first[number]
    low = np.maximum(offset[number], cell.astype(np.uint64) << lg2)
    # Inclusive, since an end may be 2^64.
    ends = (offset + (length - np.uint64(1)))[number]
    high = np.minimum(ends, (cell.astype(np.uint64) << lg2) + np.uint64((1 << frame.cell_lg2) - 1))
    return number, cell, high - low + np.uint64(1)


def _summed(keys: Array, lengths: Array) -> tuple[Array, Array]:
    """Add up the bytes of each key."""
    found, place = np.unique(keys, return_inverse=True)
    return found, np.bincount(place, weights=lengths, minlength=len(found))


def _count(table: Array, rows: Array, columns: Array, lengths: Array) -> None:
    """Add lengths to a table, each at its row and column."""
    if len(rows) and (rows == rows[0]).all():
        table[rows[0]] += np.bincount(columns, weights=lengths, minlength=table.shape[1])
        return
    key = rows.astype(np.int64) * table.shape[1] + columns
    found = np.bincount(key, weights=lengths, minlength=table.size)
    table += found.reshape(table.shape)


class Tally:
    """Bytes by cell and layer, and by size of chunk and layer."""

    def __init__(self, frame: Frame, nr_layers: int) -> None:
        """Start with nothing."""
        self.frame = frame
        self.cells: Array = np.zeros((nr_layers, frame.nr_cells))
        """Bytes of each layer in each cell."""
        self.sizes: Array = np.zeros((nr_layers, LARGEST_LG2 - SMALLEST_LG2 + 1))
        """Bytes of each layer in chunks of each size."""

    def add(self, pieces: Pieces) -> None:
        """Count pieces that lie in the frame."""
        number, cell, length = spread(self.frame, pieces.paddr, pieces.length)
        _count(self.cells, pieces.layer[number], cell, length)
        size = np.clip(pieces.chunk_lg2, SMALLEST_LG2, LARGEST_LG2).astype(np.int64) - SMALLEST_LG2
        _count(self.sizes, pieces.layer, size, pieces.length)

    def shown(self, quiet: int | None = None) -> tuple[Array, Array]:
        """Give, for each cell, the layer with the most bytes, and the share of it that is covered.

        Args:
            quiet: A layer that shows only where there is no other.

        Returns:
            Layers, -1 where there is none; shares from 0 to 1.
        """
        weights = self.cells
        if quiet is not None:
            weights = weights.copy()
            weights[quiet] = np.minimum(weights[quiet], 0.5)
        covered = self.cells.sum(axis=0)
        layer = np.where(covered > 0, np.argmax(weights, axis=0), -1)
        return layer, np.minimum(covered / (1 << self.frame.cell_lg2), 1)


class Owners:
    """The VMA with the most bytes in each cell, and the order of the largest block there."""

    def __init__(self, frame: Frame, nr_vmas: int) -> None:
        """Start with nothing."""
        self._frame = frame
        self._nr_vmas = max(nr_vmas, 1)
        self._parts: list[tuple[Array, Array]] = []
        self._waiting = 0
        self._present: tuple[int, Array] = (0, np.zeros(frame.nr_cells))
        self.orders: Array = np.zeros(frame.nr_cells, dtype=np.uint8)
        """Order of the largest aligned block that is in each cell, or that a cell is in."""

    def add(self, pieces: Pieces) -> None:
        """Count pieces that lie in the frame."""
        if not len(pieces.vma):
            return
        number, cell, length = spread(self._frame, pieces.paddr, pieces.length)
        first = int(pieces.vma[0])
        if (pieces.vma == first).all():
            # Most memory is in a few large VMAs, whose pieces come one after the other.
            if first != self._present[0]:
                self._leave()
                self._present = first, np.zeros(self._frame.nr_cells)
            self._present[1][:] += np.bincount(cell, length, minlength=self._frame.nr_cells)
        else:
            self._keep(*_summed(cell * self._nr_vmas + pieces.vma[number], length))
        self._rank(pieces)

    def _leave(self) -> None:
        vma, found = self._present
        cells = np.flatnonzero(found)
        self._keep(cells * self._nr_vmas + vma, found[cells])
        found[:] = 0

    def _keep(self, keys: Array, lengths: Array) -> None:
        self._parts.append((keys, lengths))
        self._waiting += len(keys)
        if self._waiting > _WAITING:
            self._parts = [self._all()]
            self._waiting = len(self._parts[0][0]) // 2

    def _all(self) -> tuple[Array, Array]:
        keys, lengths = zip(*self._parts, strict=True)
        return _summed(np.concatenate(keys), np.concatenate(lengths))

    def _rank(self, pieces: Pieces) -> None:
        start = pieces.paddr >> np.uint64(12)
        last = (pieces.paddr + (pieces.length - np.uint64(1))) >> np.uint64(12)
        shift = self._frame.cell_lg2 - 12
        base = self._frame.start >> self._frame.cell_lg2
        for order in range(1, 19):
            size, order_lg2 = np.uint64((1 << order) - 1), np.uint64(order)
            # The blocks of this order inside, first and last; `last + 1` stays below 2^53.
            low = (start + size) >> order_lg2
            high = (last + np.uint64(1)) >> order_lg2
            fits = low < high
            start, last = start[fits], last[fits]
            if not len(start):
                return
            first_page = low[fits] << order_lg2
            last_page = (high[fits] << order_lg2) - np.uint64(1)
            edges = np.zeros(self._frame.nr_cells + 1, dtype=np.int64)
            np.add.at(edges, (first_page >> np.uint64(shift)).astype(np.int64) - base, 1)
            np.add.at(edges, (last_page >> np.uint64(shift)).astype(np.int64) - base + 1, -1)
            touched = np.cumsum(edges[:-1]) > 0
            self.orders[touched] = np.maximum(self.orders[touched], order)

    def vmas(self) -> Array:
        """Give the number of the VMA of each cell, -1 where there is none."""
        self._leave()
        keys, lengths = self._all()
        cell, vma = keys // self._nr_vmas, keys % self._nr_vmas
        ranked = np.lexsort((lengths, cell))
        found = np.full(self._frame.nr_cells, -1, dtype=np.int64)
        # The last one of a cell stays: the one with the most bytes.
        found[cell[ranked]] = vma[ranked]
        return found
