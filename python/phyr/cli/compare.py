"""The changes between two looks at a process: which bytes moved, appeared, vanished."""

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from phyr.cli.common import escaped
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
    chunks_before: int = 0
    chunks_after: int = 0


def _pieces(before: Scanned, after: Scanned) -> Iterator[tuple[int, int, str]]:
    """Return (uaddr, length, change) of all memory that is in RAM in one of the two."""
    ends: list[tuple[int, int, int, int]] = []
    for side, process in enumerate((before, after)):
        for uaddr, paddr, length in segments(process):
            ends += [(uaddr, 1, side, paddr - uaddr), (uaddr + length, 0, side, 0)]
    ends.sort()
    at = 0
    shifts: list[int | None] = [None, None]
    for uaddr, starts, side, shift in ends:
        if uaddr > at and shifts != [None, None]:
            yield at, uaddr - at, _fate(*shifts)
        at = uaddr
        shifts[side] = shift if starts else None


def _fate(before: int | None, after: int | None) -> str:
    if before is None:
        return "appeared"
    if after is None:
        return "vanished"
    return "same" if before == after else "moved"


def compare(before: Scanned, after: Scanned) -> list[Change]:
    """Compare two readings, VMA by VMA: those of `after`, and those that no longer exist."""
    areas = {row.vma.start: row.vma for row in (*before.rows, *after.rows)}
    starts = sorted(areas)
    counts: dict[int, dict[str, int]] = {start: {} for start in starts}
    for uaddr, length, fate in _pieces(before, after):
        found = counts[starts[bisect_right(starts, uaddr) - 1]]
        found[fate] = found.get(fate, 0) + length
    for process, name in ((before, "chunks_before"), (after, "chunks_after")):
        for row in process.rows:
            counts[row.vma.start][name] = row.chunks
    return [
        Change(start, escaped(areas[start].name or "(anonymous)"), **counts[start])
        for start in starts
    ]
