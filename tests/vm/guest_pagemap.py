"""Checks of the page map: where little is there, by PAGEMAP_SCAN or without it; by two threads."""

import mmap
import os
import time

from harness import KINDS, PAGE, PRIVATE, Checks, pages_of, scattered, uaddr_of

from phyr import pagemap
from phyr.pagemap import reader

checks = Checks()
_MAP_NORESERVE = 0x4000
EVERY = 400 << 20


@checks.on(*KINDS)
def sparse_memory_is_read_where_something_is() -> dict[str, object]:
    """Reserve 32 GiB with a page every 400 MiB."""
    length = 32 << 30
    area = mmap.mmap(-1, length, flags=PRIVATE | _MAP_NORESERVE)
    area.madvise(mmap.MADV_NOHUGEPAGE)
    places = range(0, length, EVERY)
    for place in places:
        area[place] = 1
    uaddr = uaddr_of(area)
    right = [(uaddr + place, pages_of(uaddr + place, PAGE)[0] * PAGE) for place in places]
    with pagemap.Pagemap() as opened:
        began = time.perf_counter()
        found = opened.present(uaddr, length)
        seconds = time.perf_counter() - began
        assert [(at, list_[0]) for at, list_ in found] == right
        assert all(list_.length == PAGE for _, list_ in found)
        resident = opened.resident(uaddr, length)
        assert resident.hole == length - len(right) * PAGE
        assert [*resident.phyr.pages(PAGE)] == [paddr for _, paddr in right]
        release = os.uname().release.split("-")[0].split(".")
        knows = opened._reader._can_scan  # noqa: SLF001 - found out by asking
        assert knows == ([int(number) for number in release[:2]] >= [6, 7]), release
    return {"linux": ".".join(release), "scan": knows, "ms": round(seconds * 1e3, 1)}


@checks.on(*KINDS)
def memory_of_small_pages_is_read_by_threads() -> None:
    """Read 8 MiB as if it were much."""
    area = scattered(8 << 20)
    uaddr = uaddr_of(area)
    kept = reader.FIRST, reader.PIECE, reader.SLOW
    reader.FIRST, reader.PIECE, reader.SLOW = 64, 128, 0.0
    try:
        (extent,) = pagemap.read("self", uaddr, len(area))
    finally:
        reader.FIRST, reader.PIECE, reader.SLOW = kept
    assert extent.phyr is not None
    assert [paddr // PAGE for paddr in extent.phyr.pages(PAGE)] == pages_of(uaddr, len(area))
