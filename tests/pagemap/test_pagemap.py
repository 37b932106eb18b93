"""The pages of live processes, compared page by page with an independent reading."""

import mmap
import subprocess

import pytest

import phyr
from phyr import pagemap
from phyr._phyr import Loan
from phyr.pagemap import zero
from support.live import PAGE, look, record_of, shown
from support.pages import HUGE, private

pytest_plugins = ["support.processes"]

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
