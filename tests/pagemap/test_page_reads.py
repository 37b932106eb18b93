"""Reads of page maps: only what is there where little is, by several threads where much is."""

import errno
import mmap
import os
import struct
from array import array
from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

import phyr
from phyr import pagemap
from phyr._phyr import Loan, PagemapDecoder, PagemapReads
from phyr.pagemap import reader
from support.live import PAGE, PFN, PRESENT, linux, python, shown
from support.page_map import SWAPPED, FakeMap

MAP_NORESERVE = 0x4000
GIB = 1 << 30


class Spy:
    """Reads as the real one does, and keeps what was asked for."""

    def __init__(self) -> None:
        self.real = PagemapReads()
        self.pages = 0
        self.calls = 0
        self.threads: list[int] = []

    def read(self, *arguments: Any) -> tuple[int, int]:  # noqa: ANN401 - whatever it takes
        """Read."""
        self.calls += 1
        self.threads += arguments[4:5]
        got, holes = self.real.read(*arguments)
        self.pages += got
        return got, holes

    def leap(self, *arguments: Any) -> tuple[int, int]:  # noqa: ANN401 - whatever it takes
        """Leap."""
        self.calls += 1
        reached, got = self.real.leap(*arguments)
        self.pages += got
        return reached, got


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    """Look at what is read from now on."""
    made = Spy()
    monkeypatch.setattr(reader, "PagemapReads", lambda: made)
    return made


def record_at(uaddr: int) -> int:
    """Read one record of this process."""
    file = os.open("/proc/self/pagemap", os.O_RDONLY)
    try:
        (record,) = struct.unpack("=Q", os.pread(file, 8, uaddr // PAGE * 8))
    finally:
        os.close(file)
    return int(record)


def records_of(uaddr: int, nr_pages: int) -> list[int]:
    """Read records of this process."""
    file = os.open("/proc/self/pagemap", os.O_RDONLY)
    try:
        data = os.pread(file, 8 * nr_pages, uaddr // PAGE * 8)
    finally:
        os.close(file)
    return list(struct.unpack(f"={nr_pages}Q", data))


# On the running kernel


@pytest.fixture
def islands() -> Iterator[tuple[int, int, list[int]]]:
    """Reserve 256 GiB with a page every 400 MiB: its address, length, and where the pages are."""
    length = 256 * GIB
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    with mmap.mmap(-1, length, flags) as area:
        area.madvise(mmap.MADV_NOHUGEPAGE)
        places = range(0, length, 400 << 20)
        for place in places:
            area[place] = 1
        with Loan(area) as (uaddr, _):
            yield uaddr, length, [uaddr + place for place in places]


def scan_is_known() -> bool:
    """Ask the kernel for nothing by PAGEMAP_SCAN."""
    with pagemap.Pagemap() as opened:
        return opened._reader._scan(0x10000, 0x20000) is not None  # noqa: SLF001


@shown
def test_of_a_sparse_range_only_what_is_there_is_read(
    islands: tuple[int, int, list[int]], spy: Spy
) -> None:
    if not scan_is_known():
        pytest.skip("this kernel has no PAGEMAP_SCAN")
    uaddr, length, places = islands
    found = pagemap.present("self", uaddr, length)
    assert [at for at, _ in found] == places
    for at, list_ in found:
        assert (list_.length, list_[0]) == (PAGE, (record_at(at) & PFN) * PAGE)
    assert spy.pages < 64 * len(places), "of 64 Mi"
    assert spy.calls < 8


@shown
def test_progress_and_order_are_those_of_a_whole_read(
    islands: tuple[int, int, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    uaddr, length, places = islands
    start, size = uaddr + 5, length // 4 - 77
    monkeypatch.setattr(reader, "_REGIONS", 8)
    seen: list[tuple[int, int]] = []
    resident = pagemap.resident("self", start, size, progress=lambda *both: seen.append(both))
    assert {total for _, total in seen} == {size}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(seen) > 1
    assert seen[-1][0] == size
    right = [place for place in places if place < start + size]
    assert resident.ram == len(right) * PAGE - 5
    assert resident.hole == size - resident.ram
    paddrs = [(record_at(place) & PFN) * PAGE for place in right]
    assert list(resident.phyr.pages(PAGE)) == paddrs


@pytest.mark.parametrize("nr_pages", [1, 16_383, 16_384, 16_385, 40_000, 49_152])
@pytest.mark.parametrize("missing", [0, 1, 20_000])
def test_one_thread_reads_to_the_end_however_long(nr_pages: int, missing: int) -> None:
    there = max(nr_pages - missing, 0)
    pfns = [place * 7 % 99_991 + 1 if place // 256 % 3 else 0 for place in range(there)]
    with TemporaryFile() as file:
        file.write(array("Q", [pfn and pfn | 1 << 63 for pfn in pfns]).tobytes())
        file.flush()
        decoder = PagemapDecoder(0, PAGE)
        got, holes = PagemapReads().read(file.fileno(), decoder, 0, nr_pages)
    assert got == there
    blocks = [pfns[first : first + 256] for first in range(0, there, 256)]
    assert holes == 256 * sum(not any(block) for block in blocks if len(block) == 256)
    pages: list[int] = []
    for _, length, _, list_ in decoder.finish():
        pages += [0] * (length // PAGE) if list_ is None else list_.pages(PAGE)
    assert pages == [pfn * PAGE for pfn in pfns]


@shown
@pytest.mark.parametrize("threads", [1, 2, 3, 8, 1000])
def test_threads_read_what_one_reads(threads: int) -> None:
    nr_pages = 5000
    area = mmap.mmap(-1, nr_pages * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.madvise(mmap.MADV_NOHUGEPAGE)
    for page in range(nr_pages):
        if page % 7 and page // 1000 != 3:
            area[page * PAGE] = 1
    file = os.open("/proc/self/pagemap", os.O_RDONLY)
    with Loan(area) as (uaddr, _):
        decoder = PagemapDecoder(uaddr, PAGE)
        got, holes = PagemapReads().read(file, decoder, uaddr, nr_pages, threads)
        assert got == nr_pages
        assert holes % 256 == 0
        assert (holes > 0) == (threads < 4), "parts of fewer pages than such a hole has"
        assert holes <= 1001
        records = records_of(uaddr, nr_pages)
        pages: list[int] = []
        for _, length, _, list_ in decoder.finish():
            pages += [0] * (length // PAGE) if list_ is None else list_.pages(PAGE)
        assert pages == [(record & PFN) * PAGE for record in records]
    os.close(file)


@shown
def test_a_large_range_is_read_by_the_processors_there_are(
    spy: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "SLOW", 0.0)
    monkeypatch.setattr(reader, "PIECE", 128)
    monkeypatch.setattr(reader, "FIRST", 64)
    monkeypatch.setattr(reader, "_REGIONS", 16)
    length = 1000 * PAGE
    area = mmap.mmap(-1, length, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area[:] = b"x" * length
    with Loan(area) as (uaddr, _):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(3)))
        found = pagemap.read("self", uaddr, length)
        assert [extent.state for extent in found] == ["ram"]
        assert found[0].phyr is not None
        right = [(record & PFN) * PAGE for record in records_of(uaddr, 1000)]
        assert list(found[0].phyr.pages(PAGE)) == right
        assert max(spy.threads) == 3
        spy.threads.clear()
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(96)))
        assert pagemap.read("self", uaddr, length) == found
        assert max(spy.threads) == 8, "however many there are"
        spy.threads.clear()
        pagemap.read("self", uaddr, 63 * PAGE)
        assert set(spy.threads) == {1}


@shown
def test_dense_memory_costs_one_small_scan(spy: Spy, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl  # noqa: PLC0415 - not every system has it

    scans = []
    real = fcntl.ioctl

    def ioctl(file: int, request: int, argument: bytearray) -> int:
        scans.append(struct.unpack("=12Q", argument)[7])
        return int(real(file, request, argument))

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    length = 96 << 20
    area = mmap.mmap(-1, length, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, length, PAGE):
        area[page] = 1
    with Loan(area) as (uaddr, _):
        assert pagemap.resident("self", uaddr, length).ram == length
    assert scans == [1024], "pages looked for"
    assert spy.pages == length // PAGE, "each once"


INTERRUPTED = """
import mmap, os, signal, threading, time
import phyr.pagemap
area = mmap.mmap(-1, 64 << 40, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
area.madvise(mmap.MADV_NOHUGEPAGE)
with phyr.pagemap.Pagemap() as pagemap, phyr._phyr.Loan(area) as (uaddr, length):
    pagemap._reader._can_scan = False
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    try:
        pagemap.resident(uaddr, length)
    except KeyboardInterrupt:
        print(time.monotonic() - began < 20, threading.active_count())
"""


@shown
def test_an_interrupt_ends_a_long_read() -> None:
    run = python("-c", INTERRUPTED)
    assert run.stdout.split() == ["True", "1"], run.stderr


# On a page map that is a plain file: with a scan that follows the documentation, and without one

START = 0x100_0000
ZERO_PFN = 77


def stretch(kind: str, count: int, pfn: int) -> list[int]:
    """Make records of neighbouring pages."""
    if kind == "run":
        return [PRESENT | pfn + number for number in range(count)]
    if kind == "scattered":
        return [PRESENT | 1 + pfn * (number + 1) % 9973 for number in range(count)]
    if kind == "swap":
        return [SWAPPED | pfn] * count
    if kind == "guard":
        return [SWAPPED | 1 << 58] * count
    return [1 << 55 if kind == "soft-dirty hole" else 0] * count


STRETCHES = st.lists(
    st.builds(
        stretch,
        st.sampled_from(["run", "scattered", "swap", "guard", "hole", "hole", "soft-dirty hole"]),
        st.integers(1, 40) | st.sampled_from([255, 256, 257, 300, 700, 1500]),
        st.integers(1, 9000),
    ),
    min_size=1,
    max_size=12,
)


def expected(records: list[int], start: int, end: int) -> list[tuple[str, int]]:
    """Say of each byte range's page what its record says: a state, and a page number."""
    pages = []
    for page in range(start // PAGE, -(-end // PAGE)):
        at = page - START // PAGE
        record = records[at] if 0 <= at < len(records) else 0
        if record & PRESENT:
            pages.append(("ram", record & PFN))
        else:
            is_swap = record & SWAPPED and not record & 1 << 58
            pages.append(("swap" if is_swap else "hole", 0))
    return pages


@linux
@given(
    stretches=STRETCHES,
    can_scan=st.booleans(),
    sizes=st.tuples(
        st.sampled_from([1, 4, 64, 1024]),
        st.sampled_from([4, 32, 512]),
        st.sampled_from([1, 2, 7, 64]),
    ),
    bounds=st.tuples(st.integers(0, 2000), st.integers(0, 6000)),
)
def test_every_page_is_what_its_record_says_however_it_is_read(
    stretches: list[list[int]],
    sizes: tuple[int, int, int],
    bounds: tuple[int, int],
    *,
    can_scan: bool,
) -> None:
    records = [record for stretch in stretches for record in stretch]
    first, piece, regions = sizes
    start = START + bounds[0] * PAGE
    end = start + bounds[1] * PAGE
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("FIRST", first), ("PIECE", piece), ("SLOW", 0.0)):
            patch.setattr(reader, name, value)
        patch.setattr(reader, "_REGIONS", regions)
        patch.setattr(reader, "ram_ranges", lambda: None)
        patch.setattr(reader, "probe", lambda _: ([], []))
        fake = FakeMap(patch, START, records, can_scan=can_scan)
        seen: list[int] = []
        with pagemap.Pagemap() as opened:
            extents = opened.read(start, end - start, progress=lambda done, _: seen.append(done))
            resident = opened.resident(start, end - start)
        fake.close()
    assert seen == sorted(seen)
    pages: list[tuple[str, int]] = []
    at = start
    for before, extent in zip([None, *extents], extents, strict=False):
        assert extent.uaddr == at
        assert before is None or before.state != extent.state
        at += extent.length
        if extent.phyr is None:
            pages += [(extent.state, 0)] * (extent.length // PAGE)
        else:
            pages += [(extent.state, paddr // PAGE) for paddr in extent.phyr.pages(PAGE)]
    right = expected(records, start, end)
    assert pages == right
    ram = [pfn for state, pfn in right if state == "ram"]
    assert [paddr // PAGE for paddr in resident.phyr.pages(PAGE)] == ram
    assert resident.swap == sum(state == "swap" for state, _ in right) * PAGE


def opened_on(
    monkeypatch: pytest.MonkeyPatch, records: list[int], *, can_scan: bool
) -> tuple[FakeMap, pagemap.Pagemap]:
    """Open a page map of these records."""
    monkeypatch.setattr(reader, "ram_ranges", lambda: None)
    monkeypatch.setattr(reader, "probe", lambda _: ([], []))
    fake = FakeMap(monkeypatch, START, records, can_scan=can_scan)
    return fake, pagemap.Pagemap()


@linux
def test_a_kernel_without_the_scan_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [0] * 40_000
    records[30_000] = PRESENT | 5
    fake, opened = opened_on(monkeypatch, records, can_scan=False)
    for _ in range(3):
        (_, found, _) = opened.read(START, 40_000 * PAGE)
        assert found == (START + 30_000 * PAGE, PAGE, "ram", phyr.Phyr.from_pfns([5]))
    assert fake.scans == 1
    opened.close()


@linux
@pytest.mark.parametrize("where", ["before", "behind"])
def test_a_scan_that_gets_nowhere_is_not_asked_again_and_again(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    import fcntl  # noqa: PLC0415 - not every system has it

    fake, opened = opened_on(monkeypatch, [PRESENT | 5, *[0] * 40_000], can_scan=True)

    def ioctl(_file: int, _request: int, argument: bytearray) -> int:
        fields = list(struct.unpack("=12Q", argument))
        fields[4] = fields[2] if where == "before" else fields[3] + PAGE
        argument[:] = struct.pack("=12Q", *fields)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    found = opened.read(START, 40_001 * PAGE)
    assert [(extent.state, extent.length) for extent in found] == [
        ("ram", PAGE),
        ("hole", 40_000 * PAGE),
    ]
    opened.close()
    fake.close()


@linux
def test_regions_out_of_place_do_no_harm() -> None:
    file = os.memfd_create("pagemap")
    os.pwrite(file, struct.pack("=8Q", *(PRESENT | 100 + page for page in range(8))), 0)
    far = (1 << 64) - PAGE
    for regions in (
        [0, far, 8],
        [far, 0, 8, 0, PAGE, 8],
        [3 * PAGE, PAGE, 8, 0, 2 * PAGE, 8],
        [far, far, 8],
        [0, 8 * PAGE, 8, 0],
    ):
        decoder = PagemapDecoder(0, PAGE)
        packed = struct.pack(f"={len(regions)}Q", *regions)
        reached, got = PagemapReads().leap(file, decoder, 0, 8 * PAGE, packed)
        assert reached == 8 * PAGE
        assert got <= 8
        assert sum(length for _, length, _, _ in decoder.finish()) == 8 * PAGE
    decoder = PagemapDecoder(0, PAGE)
    packed = struct.pack("=3Q", 6 * PAGE, 12 * PAGE, 8)
    assert PagemapReads().leap(file, decoder, 0, 12 * PAGE, packed) == (8 * PAGE, 2)
    assert PagemapReads().leap(file, decoder, 8 * PAGE, PAGE, packed)[0] == 8 * PAGE
    with pytest.raises(phyr.ArrayError, match="8 bytes"):
        PagemapReads().leap(file, decoder, 0, PAGE, b"1234567")
    assert PagemapReads().read(file, PagemapDecoder(0, PAGE), 0, 0, 0) == (0, 0)
    assert PagemapReads().read(file, PagemapDecoder(0, PAGE), 0, 1 << 60, 8)[0] == 8
    os.close(file)


@linux
def test_a_file_that_cannot_be_read_is_the_kernels_error() -> None:
    reads, decoder = PagemapReads(), PagemapDecoder(0, PAGE)
    for file in ((1 << 31) - 1, 1 << 40):
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            reads.read(file, decoder, 0, 1)
        assert caught.value.errno == 9
    with pytest.raises(phyr.RangeError):
        reads.read(-1, decoder, 0, 1)


@linux
def test_a_process_that_ends_while_its_regions_are_named_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader, "_REGIONS", 1)
    records = [*[0] * 9_000, PRESENT | 5, *[0] * 30_000, PRESENT | 6]
    fake, opened = opened_on(monkeypatch, records, can_scan=True)
    with pytest.raises(phyr.ProcessGoneError):
        opened.read(
            START, len(records) * PAGE, progress=lambda _done, _length: os.ftruncate(fake.file, 0)
        )
    assert fake.scans == 2
    opened.close()
    fake.close()


@linux
def test_other_errors_of_the_kernel_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, opened = opened_on(monkeypatch, [PRESENT | 5], can_scan=True)
    failures: list[tuple[int, type[Exception]]] = [
        (errno.EIO, OSError),
        (errno.ESRCH, phyr.ProcessGoneError),
        (errno.EPERM, phyr.HiddenPagesError),
    ]
    for number, kind in failures:
        reads = Mock()
        reads.read.side_effect = OSError(number, os.strerror(number))
        monkeypatch.setattr(opened._reader, "_reads", reads)  # noqa: SLF001
        with pytest.raises(kind) as caught:
            opened.read(START, PAGE)
        assert isinstance(caught.value, OSError)
        assert caught.value.errno == number
    opened.close()
    fake.close()
