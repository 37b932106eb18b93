"""The pages of live processes, compared page by page with an independent reading."""

import array
import errno
import mmap
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import phyr
from phyr import pagemap
from phyr._phyr import Loan, PagemapDecoder
from phyr.pagemap import proc, reader, zero
from support.live import PAGE, PFN, PRESENT, end, linux, look, python, record_of, shown

HUGE = 2 << 20

MADV_GUARD_INSTALL = 102


def pages_of(extents: list[pagemap.Extent]) -> list[tuple[str, int]]:
    """Spread extents out to pages, in the form of `look`."""
    pages: list[tuple[str, int]] = []
    for _, length, state, list_ in extents:
        if list_ is None:
            pages += [(state, 0)] * (length // PAGE)
        else:
            pages += [(state, paddr // PAGE) for paddr in list_.pages(PAGE)]
    return pages


def private(length: int) -> mmap.mmap:
    """Map private memory that stays on small pages."""
    area = mmap.mmap(-1, length, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.madvise(mmap.MADV_NOHUGEPAGE)
    return area


CHILD = """
import mmap, sys
areas = []
for advice in (mmap.MADV_NOHUGEPAGE, mmap.MADV_HUGEPAGE):
    area = mmap.mmap(-1, 12 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.madvise(advice)
    for page in range(1 << 10):
        if page % 7 < 3:
            area[page * 4096] = 1
        elif page % 7 < 5:
            area[page * 4096]
    area[6 << 20]
    area[8 << 20] = 1
    areas.append(area)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """Run a process whose memory has all sorts of pages, and stop it so that they stay."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGSTOP)
        yield process
        process.kill()


# What it reads


@shown
def test_every_page_of_a_process_is_what_an_independent_reading_says(
    child: subprocess.Popen[bytes],
) -> None:
    seen = set()
    for vma in pagemap.vmas(child.pid):
        extents = pagemap.read(child.pid, vma.start, vma.length)
        pages = [look(child.pid, page) for page in range(vma.start // PAGE, vma.end // PAGE)]
        assert pages_of(extents) == pages, vma
        seen |= {state for state, _ in pages}

        uaddr = vma.start
        for extent, after in zip(extents, [*extents[1:], None], strict=True):
            assert extent.uaddr == uaddr
            assert after is None or extent.state != after.state
            assert (extent.phyr is None) == (extent.state not in {"ram", "device"})
            assert extent.phyr is None or extent.phyr.length == extent.length
            uaddr += extent.length
        assert uaddr == vma.end

        resident = pagemap.resident(child.pid, vma.start, vma.length)
        resident.phyr.validate()
        ram = [number for state, number in pages if state == "ram"]
        assert [paddr // PAGE for paddr in resident.phyr.pages(PAGE)] == ram
        for state in ("ram", "device", "zero", "swap", "hole"):
            count = sum(state == other for other, _ in pages)
            assert getattr(resident, state) == count * PAGE
    assert {"ram", "zero", "hole"} <= seen


@shown
def test_present_is_the_ram_of_read(child: subprocess.Popen[bytes]) -> None:
    with pagemap.Pagemap(child.pid) as opened:
        for vma in opened.vmas():
            extents = opened.read(vma.start, vma.length)
            ram = [(each.uaddr, each.phyr) for each in extents if each.state == "ram"]
            assert opened.present(vma.start, vma.length) == ram
    assert pagemap.present(child.pid, vma.start, vma.length) == ram


@shown
def test_a_range_need_not_be_page_aligned() -> None:
    area = private(8 * PAGE)
    for page in (0, 1, 3, 5, 6):
        area[page * PAGE] = 1
    _ = area[2 * PAGE]
    with Loan(area) as (base, whole), pagemap.Pagemap() as opened:
        bytewise: list[tuple[pagemap.State, object]] = []
        for uaddr, length, state, list_ in opened.read(base, whole):
            bytewise += [(state, list_ and list_[byte]) for byte in range(length)]
            assert uaddr + length == base + len(bytewise)
        cuts = [0, 1, 100, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE - 1, 3 * PAGE + 7, 7 * PAGE, whole]
        for a in cuts:
            for b in cuts:
                if a > b:
                    continue
                extents = opened.read(base + a, b - a)
                spread = [
                    (each.state, each.phyr and each.phyr[byte])
                    for each in extents
                    for byte in range(each.length)
                ]
                assert spread == bytewise[a:b]
                resident = opened.resident(base + a, b - a)
                ram = [address for state, address in bytewise[a:b] if state == "ram"]
                assert [resident.phyr[byte] for byte in range(resident.phyr.length)] == ram
                assert resident.ram == resident.phyr.length
                assert sum(resident[1:]) == b - a


@shown
def test_a_range_of_nothing_is_nothing() -> None:
    assert pagemap.read("self", 0x1234, 0) == []
    resident = pagemap.resident("self", 0x1234, 0)
    assert resident == (phyr.Phyr.from_chunks([], granule=PAGE), 0, 0, 0, 0, 0)


@shown
def test_memory_that_was_only_read_is_a_zero_page() -> None:
    area = private(4 * PAGE)
    area[0] = 1
    _ = area[PAGE], area[2 * PAGE]
    with Loan(area) as (uaddr, length):
        extents = pagemap.read("self", uaddr, length)
    assert [(each.state, each.length) for each in extents] == [
        ("ram", PAGE),
        ("zero", 2 * PAGE),
        ("hole", PAGE),
    ]


@shown
@pytest.mark.skipif(not zero._huge_size(), reason="this kernel has no huge zero page")  # noqa: SLF001
def test_huge_pages_are_one_chunk_and_the_huge_zero_page_is_told_apart() -> None:
    area = mmap.mmap(-1, 4 * HUGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.madvise(mmap.MADV_HUGEPAGE)
    with Loan(area) as (base, _):
        inside = -base % HUGE
        area[inside] = 1
        _ = area[inside + HUGE]
        written, zero, rest = pagemap.read("self", base + inside, 3 * HUGE)
        if record_of("self", (base + inside) // PAGE + 1) == 0:
            pytest.skip("the kernel had no huge page to give")
        assert (written.state, written.length) == ("ram", HUGE)
        assert written.phyr is not None
        assert len(written.phyr.chunks) == 1
        assert (zero.state, zero.length) == ("zero", HUGE)
        assert rest.state == "hole"


@shown
def test_guard_pages_are_holes() -> None:
    area = private(4 * PAGE)
    area[0] = area[3 * PAGE] = 1
    try:
        area.madvise(MADV_GUARD_INSTALL, PAGE, PAGE)
    except OSError:
        pytest.skip("this kernel has no guard pages")
    with Loan(area) as (uaddr, length):
        states = [(each.state, each.length) for each in pagemap.read("self", uaddr, length)]
    assert states == [("ram", PAGE), ("hole", 2 * PAGE), ("ram", PAGE)]


@shown
def test_a_region_that_went_away_is_a_hole() -> None:
    area = private(PAGE)
    area[0] = 1
    with Loan(area) as (uaddr, _):
        pass
    area.close()
    assert pagemap.read("self", uaddr, PAGE) == [(uaddr, PAGE, "hole", None)]


@shown
def test_what_lies_beyond_the_user_range_is_a_hole() -> None:
    top = 1 << 47
    (extent,) = pagemap.read("self", (1 << 64) - 5000, 5000)
    assert extent == ((1 << 64) - 5000, 5000, "hole", None)
    with pagemap.Pagemap() as opened:
        assert opened.resident(1 << 63, 1 << 63).hole == 1 << 63
        stack = opened.vmas()[-1] if opened.vmas()[-1].end <= top else opened.vmas()[-2]
        extents = opened.read(stack.start, top - stack.start)
        assert sum(each.length for each in extents) == top - stack.start
        assert extents[-1].uaddr + extents[-1].length == top


# Long ranges

SPARSE = 8 << 30


@pytest.fixture
def sparse() -> Iterator[tuple[mmap.mmap, int]]:
    """Map gigabytes with few pages in them: at both ends of a piece of page map, and later."""
    area = private(SPARSE)
    with Loan(area) as (base, _):
        for offset in (0, (700 << 20), (5 << 30)):
            area[offset] = 1
        yield area, base


SPARSE_STATES = [
    ("ram", PAGE),
    ("hole", (700 << 20) - PAGE),
    ("ram", PAGE),
    ("hole", (5 << 30) - (700 << 20) - PAGE),
    ("ram", PAGE),
    ("hole", (3 << 30) - PAGE),
]


class Scans:
    """A kernel's PAGEMAP_SCAN, counted; or one that has none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, known: bool) -> None:
        import fcntl  # noqa: PLC0415 - Linux only

        self.calls = 0
        self.known = known
        self.real: Callable[[int, int, bytearray], int] = fcntl.ioctl
        monkeypatch.setattr(fcntl, "ioctl", self)

    def __call__(self, file: int, request: int, argument: bytearray) -> int:
        self.calls += 1
        if not self.known:
            raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")
        return self.real(file, request, argument)


@shown
@pytest.mark.parametrize("known", [True, False])
def test_holes_are_leapt_over_where_the_kernel_can_tell(
    sparse: tuple[mmap.mmap, int], monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    scans = Scans(monkeypatch, known=known)
    with pagemap.Pagemap() as opened:
        extents = opened.read(sparse[1], SPARSE)
        assert [(each.state, each.length) for each in extents] == SPARSE_STATES
        for extent in extents[::2]:
            assert extent.phyr is not None
            assert extent.phyr[0] == (record_of("self", extent.uaddr // PAGE) & PFN) * PAGE
        assert scans.calls == (2 if known else 1)
        resident = opened.resident(sparse[1], SPARSE)
        ram = [each.phyr for each in extents[::2] if each.phyr is not None]
        assert resident.phyr == ram[0] + ram[1] + ram[2]
        assert resident.hole == SPARSE - 3 * PAGE
        assert scans.calls == (4 if known else 1)


@shown
def test_a_hole_with_its_soft_dirty_bit_set_is_leapt_over_too(
    sparse: tuple[mmap.mmap, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.preadv

    def preadv(file: int, buffers: list[memoryview], offset: int) -> int:
        count = real(file, buffers, offset)
        records = np.frombuffer(buffers[0][:count], dtype=np.uint64)
        records |= np.uint64(1 << 55)
        return count

    monkeypatch.setattr(os, "preadv", preadv)
    scans = Scans(monkeypatch, known=True)
    extents = pagemap.read("self", sparse[1], SPARSE)
    assert [(each.state, each.length) for each in extents] == SPARSE_STATES
    assert scans.calls > 0


@shown
def test_progress_climbs_to_the_length(sparse: tuple[mmap.mmap, int]) -> None:
    seen: list[tuple[int, int]] = []
    start = sparse[1] + 1
    pagemap.resident(
        "self", start, SPARSE - 2, progress=lambda done, length: seen.append((done, length))
    )
    assert {length for _, length in seen} == {SPARSE - 2}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == SPARSE - 2


# Synthetic records


def synthetic(monkeypatch: pytest.MonkeyPatch, records: list[int]) -> None:
    """Let every read of a page map give these records, whatever page is asked for."""

    def preadv(_file: int, buffers: list[memoryview], _offset: int) -> int:
        data = struct.pack(f"={len(records)}Q", *records)
        buffers[0][: len(data)] = data
        return len(data)

    monkeypatch.setattr(os, "preadv", preadv)


@linux
def test_swap_and_device_pages_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    swapped = 1 << 62 | 0x1234
    ranges = [(0x10_0000, 0x1F_FFFF)]
    monkeypatch.setattr(reader, "ram_ranges", lambda: ranges)
    pfn = 0x10_0000 // PAGE
    synthetic(
        monkeypatch,
        [PRESENT | pfn, swapped, swapped, PRESENT | 1 << 30, PRESENT | (1 << 30) + 1, 0],
    )
    start = 0x10000
    extents = pagemap.read("self", start, 6 * PAGE)
    assert extents == [
        (start, PAGE, "ram", phyr.Phyr.from_pfns([pfn], granule=PAGE)),
        (start + PAGE, 2 * PAGE, "swap", None),
        (
            start + 3 * PAGE,
            2 * PAGE,
            "device",
            phyr.Phyr.from_pfns([1 << 30, (1 << 30) + 1], granule=PAGE, kind="mmio"),
        ),
        (start + 5 * PAGE, PAGE, "hole", None),
    ]
    resident = pagemap.resident("self", start, 6 * PAGE)
    assert resident == (extents[0].phyr, PAGE, 2 * PAGE, 0, 2 * PAGE, PAGE)


SWAPPED = 1 << 62
GUARD = 1 << 58
RAM_PAGES = [(10, 3000), (5000, 9000)]
ZERO_PAGES = [(77, 77), (2048, 2559)]


def state_of(record: int) -> str:
    """Tell what one record says."""
    if not record & PRESENT:
        return "swap" if record & SWAPPED and not record & GUARD else "hole"
    pfn = record & PFN
    if any(first <= pfn <= last for first, last in ZERO_PAGES):
        return "zero"
    return "ram" if any(first <= pfn <= last for first, last in RAM_PAGES) else "device"


def stretch(kind: str, pfn: int, count: int, flags: int) -> list[int]:
    """Make records such as the kernel gives for neighbouring pages, other bits set at will."""
    if kind == "present":
        return [PRESENT | flags | number for number in range(pfn, pfn + count)]
    if kind == "same":
        return [PRESENT | flags | pfn] * count
    if kind == "swapped":
        return [SWAPPED | flags | number for number in range(pfn, pfn + count)]
    if kind == "guard":
        return [SWAPPED | GUARD | flags | 0x9F] * count
    if kind == "scattered":
        return [PRESENT | flags | 1 + pfn * number % 9999 for number in range(1, count + 1)]
    return [flags & ~PRESENT] * count


@given(
    stretches=st.lists(
        st.builds(
            stretch,
            st.sampled_from(["present", "same", "swapped", "guard", "scattered", "hole"]),
            st.sampled_from([1, 9, 70, 77, 2047, 2600, 2990, 4999, 8990, (1 << 52) - 1200])
            | st.integers(1, 9999),
            st.integers(1, 20) | st.sampled_from([511, 512, 513, 1100]),
            st.sampled_from([0, 1 << 55, 1 << 56, 1 << 57, 1 << 61]),
        ),
        max_size=6,
    ),
    cut=st.integers(1, 1000),
    join=st.booleans(),
)
def test_the_decoder_says_of_each_page_what_its_record_says(
    stretches: list[list[int]], cut: int, *, join: bool
) -> None:
    records = [record for stretch in stretches for record in stretch]
    granule = 4096
    decoder = PagemapDecoder(
        granule,
        granule,
        ram=[(first * granule, last * granule + granule - 1) for first, last in RAM_PAGES],
        zero=[(first * granule, last * granule + granule - 1) for first, last in ZERO_PAGES],
        join=join,
    )
    for start in range(0, len(records), cut):
        decoder.feed(array.array("Q", records[start : start + cut]))

    # Page by page, in the shape of extents: first page, and the numbers of all.
    expected: list[tuple[str, int, list[int]]] = []
    for page, record in enumerate(records, start=1):
        state = state_of(record)
        same = [each for each in (expected if join else expected[-1:]) if each[0] == state]
        if not same:
            same = [(state, page * granule, [])]
            expected += same
        same[0][2].append(record & PFN)

    found = decoder.finish()
    for _, _, _, list_ in found:
        if list_ is not None:
            list_.validate()
    assert sorted(found, key=lambda each: each[0]) == [
        (
            uaddr,
            len(pfns) * granule,
            state,
            None
            if state not in {"ram", "device"}
            else phyr.Phyr.from_pfns(pfns, kind="ram" if state == "ram" else "mmio"),
        )
        for state, uaddr, pfns in expected
    ]


# What the kernel hides


@linux
def test_a_hidden_page_number_is_an_error_that_says_what_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    synthetic(monkeypatch, [PRESENT])
    with pytest.raises(phyr.HiddenPagesError, match="CAP_SYS_ADMIN") as caught:
        pagemap.read("self", 0x10000, PAGE)
    assert isinstance(caught.value, PermissionError)
    assert caught.value.errno == errno.EPERM
    assert caught.value.pid == "self"


@linux
def test_without_the_capability_the_kernel_hides_and_phyr_says_so() -> None:
    code = """
import phyr
from phyr import pagemap
assert pagemap.read("self", 0, 8192) == [(0, 8192, "hole", None)]
try:
    pagemap.of(b"here" * 1000)
except phyr.HiddenPagesError as error:
    print(error.errno, "CAP_SYS_ADMIN" in str(error))
"""
    done = python("-c", code, admin=False)
    assert (done.stdout, done.stderr) == ("1 True\n", "")


@linux
def test_a_process_that_may_not_be_looked_into_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refused(path: str, flags: int, *, dir_fd: int | None = None) -> int:
        if dir_fd is not None:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, flags)

    monkeypatch.setattr(os, "open", refused)
    for question in (pagemap.vmas, pagemap.Pagemap):
        with pytest.raises(phyr.HiddenPagesError, match="CAP_SYS_PTRACE") as caught:
            question(1)
        assert caught.value.errno == errno.EACCES
        assert caught.value.pid == 1


@linux
def test_hidden_numbers_make_no_zero_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zero, "_page_number", lambda _file, _page: 0)
    assert zero.probe(PAGE) == ([], [])


@linux
def test_two_pages_that_differ_are_no_zero_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zero, "_page_number", lambda _file, page: page)
    assert zero.probe(PAGE) == ([], [])


@linux
def test_no_huge_zero_page_is_looked_for_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(zero, "THP", tmp_path)
    assert zero._huge_size() == []  # noqa: SLF001 - the kernel is not changed for a test
    (tmp_path / "use_zero_page").write_text("0\n")
    assert zero._huge_size() == []  # noqa: SLF001
    (tmp_path / "use_zero_page").write_text("1\n")
    (tmp_path / "hpage_pmd_size").write_text("2097152\n")
    assert zero._huge_size() == [HUGE]  # noqa: SLF001


# Processes that are not there


@linux
def test_a_process_that_is_not_there_is_gone() -> None:
    questions: list[Callable[[], object]] = [
        lambda: pagemap.vmas(1 << 30),
        lambda: pagemap.read(1 << 30, 0, PAGE),
        lambda: pagemap.present(1 << 30, 0, PAGE),
        lambda: pagemap.resident(1 << 30, 0, PAGE),
    ]
    for question in questions:
        with pytest.raises(phyr.ProcessGoneError, match="1073741824") as caught:
            question()
        assert isinstance(caught.value, ProcessLookupError)
        assert caught.value.errno == errno.ESRCH
        assert caught.value.pid == 1 << 30


@shown
def test_a_process_that_ends_between_two_looks_is_gone(child: subprocess.Popen[bytes]) -> None:
    with pagemap.Pagemap(child.pid) as opened:
        vma = opened.vmas()[0]
        assert opened.resident(vma.start, vma.length).ram
        end(child)
        with pytest.raises(phyr.ProcessGoneError):
            opened.vmas()
        with pytest.raises(phyr.ProcessGoneError):
            opened.read(vma.start, vma.length)
        with pytest.raises(phyr.ProcessGoneError):
            opened.read(vma.start, 1 << 40)


@shown
@pytest.mark.parametrize("known", [True, False])
def test_a_process_that_ends_midway_is_gone(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    Scans(monkeypatch, known=known)
    with pytest.raises(phyr.ProcessGoneError):
        pagemap.read(child.pid, 0x10000, 1 << 40, progress=lambda _done, _length: end(child))


@linux
def test_a_process_that_has_ended_but_is_not_waited_for_has_no_memory(
    child: subprocess.Popen[bytes],
) -> None:
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert pagemap.vmas(child.pid) == []
    with pytest.raises(phyr.ProcessGoneError):
        pagemap.Pagemap(child.pid)


@linux
def test_a_page_map_that_is_closed_says_so(child: subprocess.Popen[bytes]) -> None:
    opened = pagemap.Pagemap(child.pid)
    opened.close()
    uses: list[Callable[[], object]] = [
        opened.vmas,
        lambda: opened.read(0x10000, 0x1000),
        lambda: opened.resident(0x10000, 0x1000),
    ]
    for use in uses:
        with pytest.raises(phyr.ClosedError, match=f"page map of process {child.pid} is closed"):
            use()
    assert opened.granule > 0


@shown
def test_a_page_map_may_be_closed_while_it_is_read(child: subprocess.Popen[bytes]) -> None:
    opened = pagemap.Pagemap(child.pid)
    with pytest.raises(phyr.ClosedError):
        opened.read(0x10000, 1 << 40, progress=lambda _done, _length: opened.close())


@linux
def test_numpys_numbers_are_process_numbers(child: subprocess.Popen[bytes]) -> None:
    numpy = pytest.importorskip("numpy")
    assert pagemap.vmas(numpy.int64(child.pid)) == pagemap.vmas(child.pid)


@pytest.mark.parametrize("pid", [0, -1, "1", "../1", 1.5, None, True])
def test_only_numbers_and_self_name_a_process(pid: int) -> None:
    with pytest.raises(phyr.RangeError, match="pid"):
        pagemap.vmas(pid)


@linux
@pytest.mark.parametrize(("start", "length"), [(-1, 1), (0, -1), (1 << 63, (1 << 63) + 1)])
def test_a_range_stays_within_64_bits(start: int, length: int) -> None:
    with pytest.raises(phyr.RangeError) as caught:
        pagemap.read("self", start, length)
    assert (caught.value.start, caught.value.length) == (start, length)


# The system


def test_a_system_without_page_maps_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(proc, "PROC", tmp_path)
    questions: list[Callable[[], object]] = [
        pagemap.vmas,
        pagemap.Pagemap,
        lambda: pagemap.of(b"1"),
        lambda: pagemap.read("self", 0, 1),
    ]
    for question in questions:
        with pytest.raises(phyr.PhyrError, match="Linux"):
            question()


def test_the_module_imports_where_the_system_has_none_of_it() -> None:
    code = """
import sys, os
sys.modules["fcntl"] = None
for name in ("preadv", "pread", "sysconf", "O_DIRECTORY"):
    if hasattr(os, name):
        delattr(os, name)
import phyr.pagemap
"""
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")


def test_ram_is_read_from_iomem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(proc, "PROC", tmp_path)
    iomem = tmp_path / "iomem"
    assert proc.ram_ranges() is None
    iomem.write_text("00000000-00000000 : Reserved\n00000000-00000000 : System RAM\n")
    assert proc.ram_ranges() is None
    iomem.write_text("00001000-0009ffff : Reserved\n")
    assert proc.ram_ranges() is None
    iomem.write_text(
        "00001000-0009fbff : System RAM\n"
        "000f0000-000fffff : System ROM\n"
        "00100000-bfffffff : System RAM\n"
        "  01000000-02209987 : Kernel code : odd\n"
        "c0000000-cfffffff : System RAM\n"
        "100000000-1ffffffff : Persistent Memory\n"
        "  140000000-17fffffff : dax0.0\n"
        "    140000000-17fffffff : System RAM (kmem)\n"
        "      150000000-15fffffff : System RAM\n"
    )
    assert proc.ram_ranges() == [
        (0x1000, 0x9FBFF),
        (0x10_0000, 0xCFFF_FFFF),
        (0x1_4000_0000, 0x1_7FFF_FFFF),
    ]


@linux
def test_vmas_have_the_names_of_their_files(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/a  b\n\xff "
    with open(path, "w+b") as file:  # noqa: PTH123 - a Path would have to be decoded
        file.truncate(3 * PAGE)
        with mmap.mmap(file.fileno(), PAGE, offset=2 * PAGE) as area, Loan(area) as (uaddr, _):
            (vma,) = [vma for vma in pagemap.vmas() if vma.start <= uaddr < vma.end]
        stat = os.fstat(file.fileno())
    assert vma.name == os.fsdecode(path.replace(b"\n", b"\\012"))
    assert (vma.start, vma.end, vma.length) == (uaddr, uaddr + PAGE, PAGE)
    assert (vma.perms, vma.offset, vma.inode) == ("rw-s", 2 * PAGE, stat.st_ino)
    assert vma.device == f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}"


@linux
def test_anonymous_vmas_have_no_name() -> None:
    names = {vma.name for vma in pagemap.vmas()}
    assert {"", "[stack]"} <= names
    assert pagemap.vmas("self")[0].offset == 0


# Buffers


@shown
@pytest.mark.parametrize(
    "make",
    [
        lambda: b"x" * 50_001,
        lambda: bytearray(b"x" * 50_001),
        lambda: memoryview(b"x" * 50_001)[77:],
        lambda: array.array("H", range(30_000)),
        lambda: np.arange(10_000, dtype=np.float64).reshape(100, 100),
        lambda: np.asfortranarray(np.arange(10_000, dtype=np.float64).reshape(100, 100)),
    ],
)
def test_the_list_of_a_slice_is_the_slice_of_the_list(make: Callable[[], Any]) -> None:
    buffer = make()
    array_ = buffer if isinstance(buffer, np.ndarray) else np.frombuffer(buffer, dtype=np.uint8)
    data = array_.ravel(order="K").view(np.uint8)
    with pagemap.Pagemap() as opened:
        whole = opened.of(buffer)
        assert whole.length == data.nbytes
        for a, b in [(0, data.nbytes), (1, 2), (4096, 8192), (5000, 40_000), (7, data.nbytes - 1)]:
            assert whole[a:b] == opened.of(data[a:b])
        uaddr = data.ctypes.data
        for byte in (0, 1, 4095, 4096, 12_345, data.nbytes - 1):
            number = record_of("self", (uaddr + byte) // PAGE) & PFN
            assert whole[byte] == number * PAGE + (uaddr + byte) % PAGE
    assert pagemap.of(buffer) == whole


@shown
def test_a_buffer_of_nothing_has_the_empty_list() -> None:
    assert pagemap.of(b"") == phyr.Phyr.from_chunks([], granule=PAGE)


@shown
@pytest.mark.parametrize("state", ["hole", "zero"])
def test_a_buffer_that_is_not_all_in_ram_is_refused_by_address(state: str) -> None:
    area = private(3 * PAGE)
    area[0] = area[2 * PAGE] = 1
    if state == "zero":
        _ = area[PAGE]
    with Loan(area) as (uaddr, _), pytest.raises(phyr.RangeError, match="write to it") as caught:
        pagemap.of(area)
    assert f"{uaddr + PAGE:#x}+{PAGE:#x}" in str(caught.value)
    assert (caught.value.uaddr, caught.value.length) == (uaddr + PAGE, PAGE)
    assert caught.value.state == state


@linux
def test_what_is_no_contiguous_buffer_is_refused() -> None:
    with pytest.raises(phyr.ArrayTypeError, match="int"):
        pagemap.of(5)
    with pytest.raises(phyr.ArrayError, match="contiguous"):
        pagemap.of(memoryview(b"12345678")[::2])
    with pytest.raises(phyr.ArrayError, match="contiguous"):
        pagemap.of(np.zeros((8, 8))[:, 1])


@linux
def test_a_lent_buffer_stays_in_place() -> None:
    buffer = bytearray(100)
    with Loan(buffer), pytest.raises(BufferError):
        buffer.clear()
    buffer.clear()


@shown
def test_the_map_of_another_process_shows_no_buffer_of_this_one(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pagemap.Pagemap(child.pid) as opened, pytest.raises(phyr.MismatchError) as caught:
        opened.of(b"1")
    assert caught.value.pid == child.pid
    with pagemap.Pagemap() as opened:
        monkeypatch.setattr(os, "getpid", lambda: child.pid)  # as after a fork
        with pytest.raises(phyr.MismatchError):
            opened.of(b"1")


@linux
def test_a_closed_map_reads_nothing() -> None:
    opened = pagemap.Pagemap()
    assert opened.granule == PAGE
    opened.close()
    opened.close()
    with pytest.raises(phyr.ClosedError, match="this process is closed"):
        opened.read(0, PAGE)
    with pytest.raises(phyr.ClosedError, match="this process is closed"):
        opened.vmas()


@linux
def test_nothing_stays_open_where_opening_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_granule: int) -> None:
        raise MemoryError

    monkeypatch.setattr(reader, "probe", fail)
    before = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(MemoryError):
        pagemap.Pagemap()
    assert sorted(Path("/proc/self/fd").iterdir()) == before
