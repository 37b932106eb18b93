"""Memory as arrays: chunks by the million, each with the VMA that it belongs to."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from phyr._phyr import Phyr
from phyr.cli.picture.curve import Array
from phyr.cli.scan import Scanned

__all__ = ["FATES", "Pieces", "changes", "clipped", "present"]

_MOST = 1 << 21  # chunks at once: some hundred MB of arrays at work

FATES = ("same", "moved here", "moved away", "appeared", "vanished")


class Pieces(NamedTuple):
    """Stretches of physical memory, columns of one length."""

    paddr: Array
    """Physical address of the first byte."""
    length: Array
    """Bytes, above 0."""
    chunk_lg2: Array
    """log2, rounded down, of the bytes of the chunk that a piece belongs to."""
    layer: Array
    """Number of the layer, of which it has the colour."""
    vma: Array
    """Number of its VMA."""

    def pick(self, which: Array) -> "Pieces":
        """Keep some."""
        return Pieces(*(column[which] for column in self))


def floor_lg2(numbers: Array) -> Array:
    """Give log2, rounded down, of positive numbers.

    Examples:
        >>> floor_lg2(np.array([1, 4095, 4096, (1 << 53) + 1], dtype=np.uint64)).tolist()
        [0, 11, 12, 53]
    """
    # Without its second bit, no number is rounded up to the next power of two.
    exact: Array = numbers & ~(numbers >> np.uint64(1))
    bits: Array = exact.astype(np.float64).view(np.uint64) >> np.uint64(52)
    return (bits - np.uint64(1023)).astype(np.uint8)


def _columns(phyrs: Iterable[tuple[int, Phyr]]) -> Iterator[tuple[Array, Array, Array]]:
    """Give number of VMA, addresses and lengths of lists, some millions of chunks at a time."""
    waiting: list[tuple[Array, Array, Array]] = []
    count = 0
    for number, phyr in phyrs:
        for first in range(0, len(phyr.chunks), _MOST):
            chunks = phyr.chunks[first : first + _MOST]
            paddrs, lengths = np.asarray(chunks.paddrs), np.asarray(chunks.lengths)
            waiting.append((np.full(len(paddrs), number, dtype=np.int32), paddrs, lengths))
            count += len(paddrs)
            if count >= _MOST:
                yield _joined(waiting)
                waiting, count = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(parts: Sequence[tuple[Array, Array, Array]]) -> tuple[Array, Array, Array]:
    first, second, third = zip(*parts, strict=True)
    return np.concatenate(first), np.concatenate(second), np.concatenate(third)


def present(process: Scanned) -> Iterator[Pieces]:
    """Give all RAM of a process; the layer is the VMA."""
    lists = ((number, row.resident.phyr) for number, row in enumerate(process.rows))
    for vma, paddr, length in _columns(lists):
        yield Pieces(paddr, length, floor_lg2(length), vma, vma)


def clipped(pieces: Pieces, start: int, end: int) -> Pieces:
    """Cut pieces to a range of physical addresses, `end` excluded."""
    last = pieces.paddr + (pieces.length - np.uint64(1))
    first, final = np.uint64(start), np.uint64(end - 1)
    if not len(last) or (pieces.paddr.min() >= first and last.max() <= final):
        return pieces
    low, high = np.maximum(pieces.paddr, first), np.minimum(last, final)
    inside = low <= high
    length = high - low + np.uint64(1)
    return pieces._replace(paddr=low, length=length).pick(inside)


class _Side(NamedTuple):
    """All RAM of one look, in the order of virtual addresses."""

    uaddr: Array
    paddr: Array
    length: Array

    @classmethod
    def of(cls, process: Scanned) -> "_Side":
        parts = []
        for row in process.rows:
            for uaddr, phyr in row.stretches:
                paddrs, lengths = np.asarray(phyr.chunks.paddrs), np.asarray(phyr.chunks.lengths)
                starts = np.cumsum(lengths, dtype=np.uint64) - lengths + np.uint64(uaddr)
                parts.append((starts, paddrs, lengths))
        return cls(*_joined(parts)) if parts else cls(*[np.zeros(0, dtype=np.uint64)] * 3)

    def at(self, uaddrs: Array) -> tuple[Array, Array, Array]:
        """Give, for each virtual address: is there RAM, where, and in a chunk of which size."""
        if not len(self.uaddr):
            nothing = np.zeros(len(uaddrs), dtype=np.uint64)
            return nothing.astype(bool), nothing, nothing
        number = np.searchsorted(self.uaddr, uaddrs, side="right").astype(np.int64) - 1
        inside = number >= 0
        number = np.maximum(number, 0)
        distance = uaddrs - self.uaddr[number]
        inside &= distance < self.length[number]
        return inside, self.paddr[number] + distance, self.length[number]


def changes(before: Scanned, after: Scanned) -> Iterator[Pieces]:
    """Give the memory of two looks; the layer is its fate, a place in `FATES`.

    Memory that moved is there twice: where it was, and where it is. VMAs are those of `after`;
    memory in none of them belongs to the VMA before it.
    """
    sides = _Side.of(before), _Side.of(after)
    edges = np.unique(
        np.concatenate([column for s in sides for column in (s.uaddr, s.uaddr + s.length)])
    )
    starts, lengths = edges[:-1], np.diff(edges)
    (was, old, old_chunk), (now, new, new_chunk) = (side.at(starts) for side in sides)
    areas = np.array([row.vma.start for row in after.rows] or [0], dtype=np.uint64)
    vmas = np.maximum(np.searchsorted(areas, starts, side="right").astype(np.int32) - 1, 0)
    still = old == new
    for fate, which, paddr, chunk in (
        (0, was & now & still, new, new_chunk),
        (1, was & now & ~still, new, new_chunk),
        (2, was & now & ~still, old, old_chunk),
        (3, now & ~was, new, new_chunk),
        (4, was & ~now, old, old_chunk),
    ):
        count = int(which.sum())
        if count:
            yield Pieces(
                paddr[which],
                lengths[which],
                floor_lg2(chunk[which]),
                np.full(count, fate, dtype=np.int32),
                vmas[which],
            )
