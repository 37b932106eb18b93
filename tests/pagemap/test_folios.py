"""Flags and counts of pages, and folios: against the kernel page by page, and against thpmaps."""

import ctypes
import mmap
import os
import re
import sys
from pathlib import Path

import pytest

import phyr
from phyr import pagemap
from phyr._phyr import Loan
from phyr.pagemap import Folio, Folios, PageFlag, Scan, page_flags
from support import thpmaps
from support.live import PAGE, PFN, PRESENT, record_of, shown
from support.processes import running

HUGE = 2 << 20

# Makes memory of several kinds, and waits. To madvise: 14 HUGEPAGE, 15 NOHUGEPAGE, 4 DONTNEED.
LAYOUTS = """
import ctypes, mmap, os, sys
libc = ctypes.CDLL(None)
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
P, N = ctypes.c_void_p, ctypes.c_size_t
libc.mremap.argtypes = [P, N, N, ctypes.c_int, P]
libc.mremap.restype = ctypes.c_void_p
H = 2 << 20
def area(size, advice):
    m = mmap.mmap(-1, size + H, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    base = ctypes.addressof(ctypes.c_char.from_buffer(m))
    libc.madvise(base, size + H, advice)
    return m, base, -base % H
def touch(m, start, size, step):
    for at in range(start, start + size, step):
        m[at] = 1
kept = []
whole = area(8 * H, 14); touch(whole[0], whole[2], 8 * H, H)
half = area(8 * H, 14); touch(half[0], half[2], 8 * H, H)
for number in range(8):  # a different part of each one
    at = half[1] + half[2] + number * H
    libc.madvise(at + number * 65536, H // 2 + number * 4096, 4)
teeth = area(4 * H, 14); touch(teeth[0], teeth[2], 4 * H, H)
for at in range(teeth[2], teeth[2] + 4 * H, 8192):
    libc.madvise(teeth[1] + at, 4096, 4)
small = area(4 * H, 15); touch(small[0], small[2], 4 * H, 4096)
moved = area(2 * H, 14); touch(moved[0], moved[2], 2 * H, H)
target = area(4 * H, 15)
# Moved by one page: whole huge pages at an address that is no multiple of their size.
libc.mremap(moved[1] + moved[2], 2 * H, 2 * H, 3, target[1] + target[2] + 4096)
print("ready", flush=True)
sys.stdin.read()
os._exit(0)
"""


def totals(pid: int, *sizes: int) -> tuple[Folios, dict[int, tuple[int, int]]]:
    with pagemap.Pagemap(pid) as opened:
        parts = [opened.folios(vma.start, vma.length, block_sizes=sizes) for vma in opened.vmas()]
        return Folios.total(parts), opened.pmd_mapped()


@shown
def test_flags_and_counts_are_those_of_each_page() -> None:
    buffer = bytearray(os.urandom(1 << 20))
    list_ = pagemap.of(buffer)
    for name, column in (
        ("kpageflags", pagemap.flags(list_)),
        ("kpagecount", pagemap.counts(list_)),
    ):
        expected = []
        with Path("/proc", name).open("rb", buffering=0) as file:
            for paddr, length in list_.chunks:
                for pfn in range(paddr // PAGE, (paddr + length - 1) // PAGE + 1):
                    file.seek(pfn * 8)
                    expected.append(int.from_bytes(file.read(8), sys.byteorder))
        stable = PageFlag.ANON | PageFlag.COMPOUND_HEAD | PageFlag.COMPOUND_TAIL | PageFlag.THP
        mask = int(stable) if name == "kpageflags" else -1
        assert [item & mask for item in column] == [item & mask for item in expected]
        assert all(expected)
    assert len(buffer) == 1 << 20  # it lives until here


@shown
def test_pages_far_apart_out_of_order_and_twice_have_their_flags() -> None:
    with Loan(bytes(1 << 20)) as (uaddr, length):
        pfns = [
            record & PFN
            for page in range(uaddr // PAGE, (uaddr + length) // PAGE)
            if (record := record_of("self", page)) & PRESENT
        ]
    pfns = [*pfns[::-1], *pfns[::7], 1 << 40, pfns[0]]
    expected = [pagemap.flags(phyr.Phyr.from_pfns([pfn]))[0] & PageFlag.ANON for pfn in pfns]
    assert [item & PageFlag.ANON for item in pagemap.flags(phyr.Phyr.from_pfns(pfns))] == expected


@shown
def test_beyond_memory_there_are_no_pages() -> None:
    list_ = phyr.Phyr.from_chunks([(1 << 60, 1 << 30)])
    assert set(pagemap.flags(list_)) == {PageFlag.NOPAGE}
    assert set(pagemap.counts(list_)) == {0}
    assert len(pagemap.flags(list_)) == (1 << 30) // PAGE
    assert list(pagemap.flags(phyr.Phyr.from_pfns([]))) == []


@shown
def test_a_list_of_less_than_pages_is_refused() -> None:
    with pytest.raises(phyr.AlignmentError, match="granule 512") as caught:
        pagemap.flags(phyr.Phyr.from_chunks([(4096, 512)], granule=512))
    assert vars(caught.value) == {"granule": 512, "align": PAGE}


@pytest.mark.parametrize("size", [0, 1, PAGE, 3 * PAGE, 2 * PAGE + 1, -1])
def test_a_block_is_a_power_of_two_of_pages(size: int) -> None:
    with pytest.raises(phyr.RangeError, match="is not a power of two of at least 2 pages"):
        Scan([size])


def test_hidden_and_missing_flags_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(page_flags, "PROC", tmp_path)
    list_ = phyr.Phyr.from_pfns([1])
    for ask in (lambda: pagemap.flags(list_), lambda: pagemap.counts(list_), Scan):
        with pytest.raises(phyr.PhyrError, match="CONFIG_PROC_PAGE_MONITOR"):
            ask()

    def refuse(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(page_flags, "page_records", refuse)
    with pytest.raises(phyr.HiddenPagesError, match="is for root") as caught:
        pagemap.flags(list_)
    assert caught.value.errno == 13


@shown
def test_hidden_page_numbers_are_not_told_as_hidden_flags() -> None:
    scan = Scan()
    with pytest.raises(phyr.ArrayError):
        scan.feed(0, memoryview(b"1234567"))
    assert scan.finish() == Folios()


@shown
def test_folios_by_layout() -> None:
    with running(LAYOUTS) as pid:
        found, pmd = totals(pid, 64 << 10)
    by_shape = {
        shape: found.large_bytes(origin="thp", sort="anon", shape=shape)
        for shape in ("aligned", "unaligned", "part")
    }
    # Other memory of the interpreter may be large by itself, but not on so many bytes.
    assert Folio("thp", "anon", "unaligned", HUGE, 2 * HUGE) in found.large
    assert by_shape["aligned"] >= 8 * HUGE
    gone = sum(HUGE // 2 + number * 4096 for number in range(8))
    assert by_shape["part"] >= 8 * HUGE - gone + 2 * HUGE
    assert found.anon >= 4 * HUGE
    assert sum(anon for anon, _ in pmd.values()) >= 8 * HUGE
    assert found.blocks[0][0] == 64 << 10


@shown
def test_folios_of_a_range() -> None:
    area = mmap.mmap(-1, 16 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    uaddr = ctypes.addressof(ctypes.c_char.from_buffer(area))
    ctypes.CDLL(None).madvise(ctypes.c_void_p(uaddr), 16 * PAGE, 15)
    area[: 8 * PAGE] = b"x" * (8 * PAGE)
    assert pagemap.folios("self", uaddr, 16 * PAGE) == Folios(anon=8 * PAGE)


# thpmaps


@shown
@pytest.mark.skipif(thpmaps.find() is None, reason=thpmaps.MISSING)
def test_the_figures_are_those_of_thpmaps() -> None:
    with running(LAYOUTS) as pid:
        text = thpmaps.run("--pid", str(pid), "--rollup", "--cont", "64K", "--cont", "2M")
        found, pmd = totals(pid, 64 << 10, 2 << 20)
    theirs = {name: int(kib) << 10 for name, kib in re.findall(r"(\S+): +(\d+) kB", text)}
    assert theirs
    assert thpmaps.named(found, pmd) == theirs
