"""Processes made of given pages, as if they had been read; and what they are, page by page."""

import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import phyr
from phyr import pagemap
from phyr.cli import saved, scan
from phyr.cli.picture import drawing
from phyr.cli.report import Row

ORIGIN = saved.Origin("a\thost", "boot", "Linux 6", "2026-01-01T00:00:00+00:00")
PAGE = 4096
SPAN = 256
"""Pages of physical memory that `pages` draws from."""


def process(pages: dict[int, int], *starts: int, end: int = 64) -> scan.Scanned:
    """Make a process of pages, virtual to physical; a VMA from each start to the next."""
    rows = []
    for start, stop in zip(starts, [*starts[1:], end], strict=True):
        inside = [(vfn, pages[vfn]) for vfn in sorted(pages) if start <= vfn < stop]
        stretches: list[tuple[int, list[int]]] = []
        for number, (vfn, pfn) in enumerate(inside):
            if number and inside[number - 1][0] == vfn - 1:
                stretches[-1][1].append(pfn)
            else:
                stretches.append((vfn * PAGE, [pfn]))
        vma = pagemap.Vma(start * PAGE, stop * PAGE, "rw-p", 0, "00:00", 0, f"/a/\x1b{start}\udcff")
        whole = phyr.Phyr.from_pfns([pfn for _, pfn in inside])
        resident = pagemap.Resident(whole, whole.length, 0, 0, 0, vma.length - whole.length)
        made = [(uaddr, phyr.Phyr.from_pfns(pfns)) for uaddr, pfns in stretches]
        rows.append(Row.of(vma, resident, stretches=made))
    return scan.Scanned(7, "a command", PAGE, device_known=True, rows=rows, pmd_mapped={})


def pages(seed: int) -> dict[int, int]:
    """Make a process: runs of pages, virtual to physical, no page twice."""
    rng = random.Random(seed)  # noqa: S311 - nothing secret
    free = set(range(SPAN))
    made = {}
    vfn = 0
    while vfn < 60:
        start, length = rng.randrange(SPAN), rng.choice([1, 1, 2, 4, 16, 32])
        for pfn in range(start, start + length):
            if pfn in free and vfn < 64:
                free.discard(pfn)
                made[vfn] = pfn
                vfn += 1
        vfn += rng.randrange(2)
    return made


def subject(seed: int, before: int | None = None, **more: Any) -> drawing.Subject:  # noqa: ANN401 - any field
    earlier = None if before is None else saved.Saved(ORIGIN, process(pages(before), 0, 20, 40))
    look = saved.Saved(ORIGIN, process(pages(seed), 0, 20, 40))
    return drawing.Subject(look, earlier, **more)


def chunks_of(made: dict[int, int], *starts: int) -> Iterator[tuple[int, list[int]]]:
    """Give the VMA and the pages of each chunk: the lists of VMAs skip their holes."""
    for number, (start, stop) in enumerate(pairwise([*starts, 64])):
        run: list[int] = []
        for vfn in sorted(made):
            if start <= vfn < stop:
                if run and made[vfn] != run[-1] + 1:
                    yield number, run
                    run = []
                run.append(made[vfn])
        if run:
            yield number, run


def order_of(pfn: int, chunk: list[int]) -> int:
    """Give the order of the largest aligned block of a chunk that a page is in."""
    return max(
        order
        for order in range(19)
        if chunk[0] <= pfn >> order << order and (pfn >> order) + 1 << order <= chunk[-1] + 1
    )


CLASS = [0, 1, 1, 1, 2, 2, 2, 2, 2, *[3] * 9, 4]
