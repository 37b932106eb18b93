"""Folios without a question for each of their pages, and memory that others map, too."""

import random
import struct
from pathlib import Path

import pytest

from phyr import pagemap
from phyr._phyr import FolioScan
from phyr.pagemap import Folio, Folios
from support.live import PAGE, PRESENT, record_of, shown
from support.processes import running

HEAD, TAIL, HUGE, THP = 1 << 15, 1 << 16, 1 << 17, 1 << 22
ANON, KSM, ZERO = 1 << 12, 1 << 21, 1 << 24
EXCLUSIVE = 1 << 56
SINGLES = (0, ANON, ANON | KSM, ZERO)


def memory(seed: int, pages: int = 4096) -> list[int]:
    """Make flags of physical memory: folios of all orders, each at a multiple of its size."""
    rng = random.Random(seed)  # noqa: S311 - nothing secret
    flags: list[int] = []
    while len(flags) < pages:
        at = len(flags)
        order = rng.choice([0, 0, 0, 1, 2, 4, 9, 9, 10])
        while at % (1 << order):
            order -= 1
        if not order:
            flags += [rng.choice(SINGLES)] * rng.choice([1, 1, 3])
            continue
        kind = rng.choice([THP, THP, HUGE, 0]) | rng.choice([0, ANON])
        flags += [kind | HEAD] + [kind | TAIL] * ((1 << order) - 1)
    return flags[:pages]


def expected(flags: list[int], mapped: list[tuple[int, int]]) -> tuple[dict[object, int], int]:
    """Count page by page: the pages of folios, by kind, and those of single pages."""
    large: dict[object, int] = {}
    singles = 0
    at = 0
    while at < len(mapped):
        vfn, pfn = mapped[at]
        origin = "hugetlb" if flags[pfn] & HUGE else "thp"
        if not flags[pfn] & (HUGE | THP):
            singles += 1
            at += 1
            continue
        length = 1
        while at + length < len(mapped) and (
            mapped[at + length] == (vfn + length, pfn + length) and flags[pfn + length] & TAIL
        ):
            length += 1
        after = flags[pfn + length] if pfn + length < len(flags) else 0
        whole = flags[pfn] & HEAD and not after & TAIL
        shape = ("unaligned" if vfn % length else "aligned") if whole else "part"
        order = length.bit_length() - 1 if whole else 0
        key = (origin, "anon" if flags[pfn] & ANON else "file", shape, order)
        large[key] = large.get(key, 0) + length
        at += length
    return large, singles


@pytest.mark.parametrize("seed", range(60))
def test_folios_are_those_page_by_page(tmp_path: Path, seed: int) -> None:
    flags = memory(seed)
    file = tmp_path / "kpageflags"
    file.write_bytes(struct.pack(f"={len(flags)}Q", *flags))
    rng = random.Random(seed)  # noqa: S311
    mapped: list[tuple[int, int]] = []
    free = set(range(len(flags)))
    vfn = rng.choice([0, 512, 1000])
    while vfn < 5000:
        start, length = rng.randrange(len(flags)), rng.choice([1, 2, 40, 512, 2000])
        start = start & ~511 if rng.random() < 0.5 else start
        for pfn in range(start, min(start + length, len(flags))):
            if pfn in free:
                free.discard(pfn)
                mapped.append((vfn, pfn))
            vfn += 1
    records = [0] * (mapped[-1][0] + 1)
    for place, pfn in mapped:
        records[place] = PRESENT | pfn | rng.choice([0, EXCLUSIVE])
    scan = FolioScan(str(file), PAGE, [])
    scan.feed(0, struct.pack(f"={len(records)}Q", *records))
    large, singles, _ = scan.finish()
    counted = {(origin, sort, shape, order): pages for origin, sort, shape, order, pages in large}
    wanted, alone = expected(flags, mapped)
    assert counted == wanted
    assert sum(singles[:5]) == alone
    shared = sum(1 for record in records if record & PRESENT and not record & EXCLUSIVE)
    assert singles[5] == max(shared - singles[3] - singles[4], 0)


def test_a_file_that_ends_inside_a_folio_ends_it(tmp_path: Path) -> None:
    file = tmp_path / "kpageflags"
    flags = [THP | HEAD] + [THP | TAIL] * 99
    file.write_bytes(struct.pack("=100Q", *flags))
    scan = FolioScan(str(file), PAGE, [])
    scan.feed(0, struct.pack("=200Q", *(PRESENT | pfn for pfn in range(200))))
    large, singles, _ = scan.finish()
    assert sum(pages for *_, pages in large) + sum(singles[:5]) == 200


SHARING = """
import mmap, os, sys
area = mmap.mmap(-1, 3 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
area.madvise(mmap.MADV_NOHUGEPAGE)
for at in range(0, 3 << 20, 4096):
    area[at] = 1
if not os.fork():
    sys.stdin.read()
    os._exit(0)
for at in range(0, 1 << 20, 4096):
    area[at] = 2
print("ready", flush=True)
sys.stdin.read()
"""


@shown
def test_memory_that_a_child_maps_too_is_shared() -> None:
    with running(SHARING) as pid:
        (vma,) = [vma for vma in pagemap.vmas(pid) if vma.length == 3 << 20 and not vma.name]
        found = pagemap.folios(pid, vma.start, vma.length)
        pages = range(vma.start // PAGE, vma.end // PAGE)
        records = [record_of(pid, page) for page in pages]
    assert found.shared == sum(PAGE for record in records if not record & EXCLUSIVE) == 2 << 20
    assert Folios.total([found, found]).shared == 4 << 20
    assert all(isinstance(folio, Folio) for folio in found.large)
