"""The contenders of ``phyr bench``: a list of chunks, a list of tuples, and arrays of NumPy."""

import sys
from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import accumulate
from random import Random
from time import perf_counter_ns
from typing import Any, NamedTuple

from phyr import pagemap
from phyr._phyr import Phyr
from phyr.errors import PhyrError
from phyr.iommu import BusOffset, Direction, dma_map

__all__ = ["Row", "rows", "scattered"]

_PAGE = 4 << 10
_SEEKS = 1000
_OFFSET = 1 << 40
_OWN = 16 << 20  # bytes whose page map is read


class Row(NamedTuple):
    """One operation: the figure of each contender, None for one that has no way to do it."""

    what: str
    phyr: float
    tuples: float | None
    numpy: float | None

    def ratio(self, other: float) -> str:
        """Spell how many times phyr's figure another one is.

        Examples:
            >>> Row("", 2.0, 30.0, 1.0).ratio(30.0), Row("", 2.0, 30.0, 1.0).ratio(1.0)
            ('15x', '0.5x')
        """
        ratio = other / self.phyr
        return f"{ratio:.0f}x" if ratio >= 10 else f"{ratio:.2g}x"  # noqa: PLR2004 - two digits


def scattered(pages: int, seed: int) -> "array[int]":
    """Make page numbers: runs of 8 on average, anywhere in a terabyte.

    Examples:
        >>> len(scattered(1000, 1)), scattered(1000, 1) == scattered(1000, 1)
        (1000, True)
    """
    random = Random(seed)  # noqa: S311 - nothing secret
    found = array("Q")
    while len(found) < pages:
        start = random.randrange(1 << 28)
        found.extend(range(start, start + random.randint(1, 15)))
    return found[:pages]


def _joined(pfns: Sequence[int]) -> list[tuple[int, int]]:
    """Build a list of (paddr, length), page by page."""
    found: list[tuple[int, int]] = []
    start = last = -2
    for pfn in pfns:
        if pfn != last + 1:
            if start >= 0:
                found.append((start * _PAGE, (last + 1 - start) * _PAGE))
            start = pfn
        last = pfn
    found.append((start * _PAGE, (last + 1 - start) * _PAGE))
    return found


def _visit(chunks: Any) -> int:  # noqa: ANN401 - anything that gives pairs
    total = 0
    for _, length in chunks:
        total += length
    return total


def _timed(work: Callable[[], object], rounds: int) -> float:
    """Give the nanoseconds of the fastest turn: others may be at work on this machine."""
    times = []
    for _ in range(rounds):
        start = perf_counter_ns()
        work()
        times.append(perf_counter_ns() - start)
    return min(times)


class _Arrays:
    """The same with NumPy."""

    def __init__(self, numpy: Any, pfns: "array[int]") -> None:  # noqa: ANN401 - a module
        self.numpy = numpy
        self.pfns = numpy.frombuffer(pfns, dtype=numpy.uint64)
        self.paddrs, self.lengths = self.build()
        self.ends = numpy.cumsum(self.lengths)

    def build(self) -> tuple[Any, Any]:
        breaks = self.numpy.flatnonzero(self.numpy.diff(self.pfns) != 1) + 1
        starts = self.numpy.concatenate([[0], breaks])
        ends = self.numpy.concatenate([breaks, [len(self.pfns)]])
        return self.pfns[starts] * _PAGE, (ends - starts) * _PAGE

    def seek(self, position: int) -> int:
        number = self.numpy.searchsorted(self.ends, position, side="right")
        rest = self.ends[number] - position
        return int(self.paddrs[number]) + int(self.lengths[number]) - int(rest)


def _numpy() -> Any:  # noqa: ANN401 - a module, or None
    with suppress(ModuleNotFoundError):
        import numpy  # noqa: ICN001, PLC0415 - not everybody has it

        return numpy
    return None


def rows(pages: int, rounds: int, seed: int) -> list[Row]:
    """Time each operation.

    Args:
        pages: Length of the list.
        rounds: Turns of each contender, of which the fastest counts.
        seed: Any number. The same number gives the same pages.
    """
    pfns = scattered(pages, seed)
    phyr, tuples = Phyr.from_pfns(pfns), _joined(pfns)
    numpy = _numpy()
    arrays = None if numpy is None else _Arrays(numpy, pfns)
    chunks = len(tuples)
    ends = list(accumulate(length for _, length in tuples))
    random = Random(seed)  # noqa: S311
    positions = [random.randrange(phyr.length) for _ in range(_SEEKS)]

    def find(position: int) -> int:
        number = bisect_right(ends, position)
        paddr, length = tuples[number]
        return paddr + length - (ends[number] - position)

    assert [phyr[position] for position in positions] == [*map(find, positions)]  # noqa: S101
    backend = BusOffset(_OFFSET)
    each = phyr.chunks

    def map_it() -> None:
        with dma_map(phyr, backend, Direction.TO_DEVICE):
            pass

    def timed(work: Callable[[], object], count: int) -> float:
        return _timed(work, rounds) / count

    def array_timed(name: str, count: int) -> float | None:
        works: dict[str, Callable[[_Arrays], object]] = {
            "build": _Arrays.build,
            "visit": lambda each: _visit(zip(each.paddrs, each.lengths, strict=True)),
            "seek": lambda each: [each.seek(position) for position in positions],
            "map": lambda each: each.paddrs + _OFFSET,
        }
        return None if arrays is None else timed(lambda: works[name](arrays), count)

    size = sys.getsizeof(tuples) + sum(
        sys.getsizeof(one) + sum(map(sys.getsizeof, one)) for one in tuples
    )
    found = [
        Row(
            "build from page numbers, ns a page",
            timed(lambda: Phyr.from_pfns(pfns), pages),
            timed(lambda: _joined(pfns), pages),
            array_timed("build", pages),
        ),
        Row(
            "visit in a loop, ns a chunk",
            timed(lambda: _visit(zip(each.paddrs, each.lengths, strict=True)), chunks),
            timed(lambda: _visit(tuples), chunks),
            array_timed("visit", chunks),
        ),
        Row(
            "find the address of a byte, ns",
            timed(lambda: [phyr[position] for position in positions], _SEEKS),
            timed(lambda: [*map(find, positions)], _SEEKS),
            array_timed("seek", _SEEKS),
        ),
        Row(
            "map behind a bus offset, ns a chunk",
            timed(map_it, chunks),
            timed(lambda: [(paddr + _OFFSET, length) for paddr, length in tuples], chunks),
            array_timed("map", chunks),
        ),
        Row(
            "memory, bytes a chunk",
            phyr.stats().storage / chunks,
            size / chunks,
            None if arrays is None else 16.0,
        ),
    ]
    with suppress(PhyrError):
        area = bytearray(_OWN)
        read = timed(lambda: pagemap.of(area), _OWN // _PAGE)
        found.append(Row("read of /proc/self/pagemap, ns a page", read, None, None))
    return found
