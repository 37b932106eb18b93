"""The folding of the physical address space into a picture, cell by cell."""

from typing import Any, NamedTuple, TypeAlias

import numpy as np

__all__ = ["Array", "Frame", "hilbert"]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_PAGE_LG2 = 12


def hilbert(side: int) -> tuple[Array, Array]:
    """Give x and y of each step of the Hilbert curve through a square.

    It starts in the upper left corner and ends in the upper right one. Steps go from a cell to its
    neighbour, so addresses that lie close together stay close in the picture.

    Args:
        side: Cells along one side, a power of two.

    Examples:
        >>> [column.tolist() for column in hilbert(2)]
        [[0, 0, 1, 1], [0, 1, 1, 0]]
    """
    x = y = np.zeros(1, dtype=np.int32)
    half = 1
    while half < side:
        x, y = (
            np.concatenate([y, x, x + half, 2 * half - 1 - y]),
            np.concatenate([x, y + half, y + half, half - 1 - x]),
        )
        half *= 2
    return x, y


class Frame(NamedTuple):
    """The part of the address space that is shown, and its cells."""

    start: int
    """Physical address of the first byte, a multiple of a cell."""
    end: int
    """Physical address after the last byte, a multiple of a cell."""
    cell_lg2: int
    """log2 of the bytes of a cell."""
    side: int
    """Cells of a row; with a Hilbert curve, of the side of a square."""
    layout: str = "hilbert"
    """``hilbert`` or ``rows``."""

    @classmethod
    def fit(cls, start: int, end: int, most: int, layout: str = "hilbert") -> "Frame":
        """Choose the smallest cells, powers of two from a page up, of which enough fit.

        Args:
            start: Physical address of the first byte.
            end: Physical address after the last byte, above `start`.
            most: Cells along one side, at most; a power of two.
            layout: ``hilbert`` or ``rows``.

        Examples:
            >>> Frame.fit(0, 6 << 30, 512)
            Frame(start=0, end=6442450944, cell_lg2=15, side=512, layout='hilbert')
            >>> Frame.fit(0, 5 * 4096, 512, "rows")
            Frame(start=0, end=20480, cell_lg2=12, side=4, layout='rows')
        """
        lg2 = _PAGE_LG2
        while ((end - 1) >> lg2) - (start >> lg2) >= most * most:
            lg2 += 1
        first, last = start >> lg2, ((end - 1) >> lg2) + 1
        side = 1
        while side * side < last - first:
            side *= 2
        return cls(first << lg2, last << lg2, lg2, side, layout)

    @property
    def nr_cells(self) -> int:
        """Number of cells that stand for memory."""
        return (self.end - self.start) >> self.cell_lg2

    def places(self) -> tuple[Array, Array]:
        """Give column and row of each cell, in the order of addresses."""
        if self.layout == "rows":
            numbers = np.arange(self.nr_cells)
            return numbers % self.side, numbers // self.side
        x, y = hilbert(self.side)
        return x[: self.nr_cells], y[: self.nr_cells]
