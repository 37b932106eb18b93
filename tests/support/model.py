"""The oracle: a list as the plain pieces of memory that its buffer covers, usually a page each.

Slow and obvious on purpose. Pieces are (paddr, length) pairs in bytes, kept as they came: nothing
is packed, merged, shared or indexed, every answer is a walk from the front, and Python's integers
do not wrap. A list of pages is `Model.of_pages`; a run of 2^30 pages may be one piece.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

Piece = tuple[int, int]


@dataclass(frozen=True)
class Model:
    """A buffer as a list of pages; see the module."""

    pieces: tuple[Piece, ...] = ()
    granule: int = 4096
    kind: str = "ram"

    @classmethod
    def of_pages(cls, pfns: Iterable[int], granule: int = 4096, kind: str = "ram") -> Self:
        """Return the list of whole pages of `granule` bytes, by number."""
        return cls(tuple((pfn * granule, granule) for pfn in pfns), granule, kind)

    @property
    def length(self) -> int:
        """Bytes."""
        return sum(length for _, length in self.pieces)

    def translate(self, position: int) -> int:
        """Return the address of the byte at `position`."""
        for paddr, length in self.pieces:
            if position < length:
                return paddr + position
            position -= length
        raise IndexError(position)

    def slice(self, start: int, end: int) -> Self:
        """Return the bytes from `start` to before `end`; both lie within the list."""
        kept = []
        at = 0
        for paddr, length in self.pieces:
            first, stop = max(start - at, 0), min(end - at, length)
            if first < stop:
                kept.append((paddr + first, stop - first))
            at += length
        return replace(self, pieces=tuple(kept))

    def __add__(self, other: Self) -> Self:
        """Return this list and then the other."""
        return replace(self, pieces=self.pieces + other.pieces)

    def joins(self, other: Self) -> bool:
        """Say whether the other may follow: at the next byte, or both at a granule boundary."""
        if not self.pieces or not other.pieces:
            return True
        end, start = sum(self.pieces[-1]), other.pieces[0][0]
        return end == start or (end % self.granule == 0 and start % self.granule == 0)

    def chunks(self) -> list[Piece]:
        """Return the maximal runs."""
        runs: list[Piece] = []
        for paddr, length in self.pieces:
            if runs and sum(runs[-1]) == paddr:
                runs[-1] = (runs[-1][0], runs[-1][1] + length)
            else:
                runs.append((paddr, length))
        return runs

    def find(self, position: int) -> int:
        """Return the number of the chunk that holds the byte at `position`."""
        for number, (_, length) in enumerate(self.chunks()):
            if position < length:
                return number
            position -= length
        raise IndexError(position)

    def position(self, number: int) -> int:
        """Return the position of the first byte of a chunk."""
        return sum(length for _, length in self.chunks()[:number])

    def has_pages(self, size: int) -> bool:
        """Say whether every interior boundary is a multiple of `size`."""
        return all(
            sum(left) % size == 0 and right[0] % size == 0
            for left, right in pairwise(self.chunks())
        )

    def pages(self, size: int) -> list[int]:
        """Return the addresses of the aligned blocks of `size` bytes that hold the list."""
        return [
            block * size
            for paddr, length in self.chunks()
            for block in range(paddr // size, (paddr + length - 1) // size + 1)
        ]

    def granules(self) -> list[Piece]:
        """Return each chunk as (first granule number, count), partly covered ones included."""
        size = self.granule
        return [
            (paddr // size, (paddr + length - 1) // size + 1 - paddr // size)
            for paddr, length in self.chunks()
        ]

    def orders(self) -> dict[int, int]:
        """Count the largest aligned blocks, taken one by one from the front of each chunk."""
        found: Counter[int] = Counter()
        for first, count in self.granules():
            at, end = first, first + count
            while at < end:
                order = 0
                while at % (2 << order) == 0 and at + (2 << order) <= end:
                    order += 1
                found[order] += 1
                at += 1 << order
        return dict(sorted(found.items()))

    def words(self) -> int:
        """Count the packed words: two for a run of more than 2047 of its largest aligned units."""
        total = 0
        for first, count in self.granules():
            unit = 1
            while first % (2 * unit) == 0 and count % (2 * unit) == 0:
                unit *= 2
            total += 1 if count // unit <= 2047 else 2
        return total
