"""The changes between two looks at a process: which bytes moved, appeared, vanished."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from phyr.cli.escape import escaped
from phyr.cli.saved import segments
from phyr.cli.scan import Scanned

__all__ = ["Change", "compare"]


class Change(NamedTuple):
    """Bytes of one VMA, by the kind of change."""

    start: int
    name: str
    same: int = 0
    moved: int = 0
    """On another physical page than before."""
    appeared: int = 0
    vanished: int = 0
    merged: int = 0
    """In a chunk that is made of the memory of several chunks of before."""
    split: int = 0
    """Of a chunk whose memory is in several chunks now."""
    chunks_before: int = 0
    chunks_after: int = 0


class _Piece(NamedTuple):
    """Memory that is in RAM in one of the two looks, or in both."""

    uaddr: int
    length: int
    shifts: tuple[int | None, int | None]
    """Physical less virtual address, before and after; None where it is not in RAM."""
    chunks: tuple[int, int]
    """Numbers of the chunks it is in."""

    @property
    def fate(self) -> str:
        before, after = self.shifts
        if before is None:
            return "appeared"
        if after is None:
            return "vanished"
        return "same" if before == after else "moved"


def _pieces(before: Scanned, after: Scanned) -> Iterator[_Piece]:
    """Return the pieces in the order of their addresses."""
    ends: list[tuple[int, int, int, int, int]] = []
    for side, process in enumerate((before, after)):
        for number, (uaddr, paddr, length) in enumerate(segments(process)):
            ends.append((uaddr, 1, side, paddr - uaddr, number))
            ends.append((uaddr + length, 0, side, 0, number))
    ends.sort()
    at = 0
    shifts: list[int | None] = [None, None]
    chunks = [0, 0]
    for uaddr, starts, side, shift, number in ends:
        if uaddr > at and shifts != [None, None]:
            yield _Piece(at, uaddr - at, (shifts[0], shifts[1]), (chunks[0], chunks[1]))
        at = uaddr
        shifts[side] = shift if starts else None
        chunks[side] = number


def compare(before: Scanned, after: Scanned) -> list[Change]:
    """Compare two readings, VMA by VMA: those of `after`, and those that no longer exist."""
    areas = {row.vma.start: row.vma for row in (*before.rows, *after.rows)}
    starts = sorted(areas)
    counts: dict[int, dict[str, int]] = {start: {} for start in starts}
    # Two chunks share one piece at most. So the pieces of a chunk tell with how many it shares.
    kept: list[tuple[dict[str, int], _Piece]] = []
    shared: tuple[Counter[int], Counter[int]] = Counter(), Counter()
    for piece in _pieces(before, after):
        found = counts[starts[bisect_right(starts, piece.uaddr) - 1]]
        found[piece.fate] = found.get(piece.fate, 0) + piece.length
        if None not in piece.shifts:
            kept.append((found, piece))
            for side in (0, 1):
                shared[side][piece.chunks[side]] += 1
    for found, piece in kept:
        for side, name in ((0, "split"), (1, "merged")):
            if shared[side][piece.chunks[side]] > 1:
                found[name] = found.get(name, 0) + piece.length
    for process, name in ((before, "chunks_before"), (after, "chunks_after")):
        for row in process.rows:
            counts[row.vma.start][name] = row.chunks
    return [
        Change(start, escaped(areas[start].name or "(anonymous)"), **counts[start])
        for start in starts
    ]
