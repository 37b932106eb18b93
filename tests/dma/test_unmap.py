"""Unmapping from Python: it makes no objects that stay, and gets along where memory is short."""

import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import NoMemoryError, Phyr
from phyr._phyr import Unmapping
from phyr.iommu import Direction, Otherwise, Paging, Plan, Prot, dma_map, plan_map
from phyr.iommu.linear import unmap_walks
from support.machine import PageTable

BOTH = Direction.BIDIRECTIONAL
SIZES = 1 << 12 | 1 << 21


class Sink:
    """A domain that stores nothing but how much it was asked to unmap."""

    pgsize_bitmap = SIZES
    aperture = (0, 2**52 - 1)
    reserved = ()

    def __init__(self) -> None:
        self.calls = 0
        self.length = 0

    def map_batch(self, plan: Plan, prot: Prot) -> None:
        pass

    def map_pages(self, *call: int) -> None:
        raise AssertionError(call)

    def unmap_pages(self, _iova: int, pgsize: int, pgcount: int) -> None:
        self.calls += 1
        self.length += pgsize * pgcount

    def iova_to_phys(self, _iova: int) -> int | None:
        return None


def pieces(count: int, *, alike: bool) -> Phyr:
    """Return a list of so many chunks that touch nowhere, whose calls are one, or one a chunk."""
    if alike:
        return Phyr.from_pfns(range(1, 2 * count, 2))
    # 2 MiB each, every second one a page beyond a multiple of it, so that it takes small pages.
    return Phyr.from_chunks(
        [((number << 23) + (0 if number % 2 else 1 << 12), 1 << 21) for number in range(count)]
    )


@pytest.mark.parametrize("alike", [True, False])
def test_unmapping_many_pieces_takes_no_more_memory_than_few(*, alike: bool) -> None:
    peaks = []
    for lg2 in (4, 4, 16):
        phyr = pieces(1 << lg2, alike=alike)
        domain = Sink()
        mapping = dma_map(phyr, Paging(domain), BOTH)
        tracemalloc.start()
        mapping.unmap()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert domain.length == phyr.length
        assert domain.calls == (1 if alike else 1 << lg2)
        peaks.append(peak)
    # The first time, the interpreter makes what it keeps for the next.
    # Larger numbers are larger objects; and the interpreter keeps a few things at its own times.
    assert peaks[2] <= peaks[1] + 512, peaks
    assert peaks[2] < 4096, peaks


def test_unmapping_a_full_new_list_takes_little_memory_too() -> None:
    peaks = []
    for count in (16, 16, 1 << 12):
        # Two touch in memory, the third does not: each is a plan of its own.
        phyr = Phyr.from_chunks([(0x3000 * number + 0x1000, 0x1000) for number in range(count)])
        domain = Sink()
        domain.pgsize_bitmap = 1 << 14
        mapping = dma_map(phyr, Paging(domain, otherwise=Otherwise.LIST), BOTH)
        tracemalloc.start()
        mapping.unmap()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert domain.calls == count
    # As above: an object for each piece would be 100 KiB.
    assert peaks[2] <= peaks[1] + 512, peaks


def test_a_walk_goes_on_behind_the_call_that_raised() -> None:
    phyr = Phyr.from_chunks([(0x1000, 0x1000), (0x20_0000, 0x20_0000), (0x7000, 0x3000)])
    iova = (5 << 21) - 0x1000
    plan = plan_map(phyr, iova, SIZES)
    calls = list(plan.unmaps())
    assert len(calls) == 3
    for k in range(3):
        table = Refusing(k)
        with pytest.raises(OSError, match="stuck"):
            unmap_walks(table, [Unmapping(plan)])
        assert table.unmaps == calls


class Refusing(PageTable):
    """A table that never unmaps, and raises at the k-th call to."""

    def __init__(self, k: int) -> None:
        super().__init__(SIZES)
        self.k = k

    def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
        self.unmaps.append((iova, pgsize, pgcount))
        if len(self.unmaps) == self.k + 1:
            raise OSError("stuck")


def test_a_walk_makes_the_calls_of_the_plan_however_long_their_runs() -> None:
    small, huge = 1 << 12, 1 << 21
    for lengths in [(1, 1), (1023, 3), (1024, 1), (1025, 70_000), (70_000, 1), (140_000, 1024, 5)]:
        chunks = []
        start = 0
        for length in lengths:
            chunks += [(start + 2 * number * small, small) for number in range(length)]
            start = (start + 2 * length * small + 2 * huge - 1) // huge * huge
            chunks.append((start, huge))
            start += 2 * huge
        phyr = Phyr.from_chunks(chunks)
        # Huge pages stay huge where what is before them is whole ones.
        for iova in (0, huge - lengths[0] % 512 * small):
            plan = plan_map(phyr, iova, SIZES)
            walk, calls = Unmapping(plan), list(plan.unmaps())
            # The second time there is nothing left.
            for anew, wanted in ((False, calls), (False, []), (True, calls)):
                table = Refusing(-1)
                walk.run(table.unmap_pages, anew=anew)
                assert table.unmaps == wanted


@given(
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from([1, 2, 512])), min_size=1, max_size=8),
    st.data(),
)
def test_a_walk_that_ends_early_undoes_just_the_calls_before(
    runs: list[tuple[int, int]], data: st.DataObject
) -> None:
    phyr = Phyr.from_chunks([(at << 21, count << 12) for at, count in runs])
    plan = plan_map(phyr, (7 << 21) + data.draw(st.integers(0, 2)) * 4096, SIZES)
    calls = list(plan)
    number = data.draw(st.integers(0, len(calls) - 1))
    table = PageTable(SIZES)
    for call in calls[:number]:
        table.map_pages(*call, Prot.READ)
    Unmapping(plan).run(table.unmap_pages, end=calls[number][0])
    assert table.pages == {}


def test_a_domain_without_room_for_a_table_is_not_asked_page_by_page() -> None:
    class Full(Sink):
        def map_batch(self, _plan: Plan, _prot: Prot) -> None:
            raise NoMemoryError("no table")

        def iova_to_phys(self, iova: int) -> int | None:
            raise AssertionError(iova)

    paging = Paging(Full())
    with pytest.raises(NoMemoryError) as caught:
        dma_map(pieces(1 << 10, alike=True), paging, BOTH)
    assert caught.value.__notes__[1:] == []
    assert len(paging.iovas) == 0


NO_MEMORY = """
import _testcapi
from phyr import Phyr
from phyr.iommu import Direction, Paging, dma_map
from phyr.sim import Memory, SimDomain

class ByCall:
    def __init__(self, domain):
        self.pgsize_bitmap, self.aperture = domain.pgsize_bitmap, domain.aperture
        self.reserved, self.map_pages = domain.reserved, domain.map_pages
        self.unmap_pages, self.iova_to_phys = domain.unmap_pages, domain.iova_to_phys

phyr = Phyr.from_chunks([(0x7000, 4096), (0x200000, 2 << 20), (0x11000, 0x9000), (0x5000, 1)])
failed = 0
for make in (ByCall, lambda domain: domain):
    for nth in range(120):
        domain = SimDomain(Memory(1 << 24))
        paging = Paging(make(domain))
        mapping = dma_map(phyr, paging, Direction.BIDIRECTIONAL)
        _testcapi.set_nomemory(nth, nth + 1)
        try:
            mapping.unmap()
        except MemoryError:
            failed += 1
        finally:
            _testcapi.remove_mem_hooks()
        counters = domain.counters
        assert counters.table_pages == 1, (nth, counters)
        assert counters.ptes_written == counters.ptes_cleared, (nth, counters)
        assert len(paging.iovas) == 0, nth
assert failed
"""


def test_a_lack_of_memory_at_any_moment_leaves_nothing_mapped() -> None:
    """As `tests/dma/test_interrupts.py`, with the interpreter's own allocator failing.

    On its own, since what counts coverage does not stand it.
    """
    pytest.importorskip("_testcapi")
    program = [sys.executable, "-c", NO_MEMORY]
    run = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    assert (run.returncode, run.stderr) == (0, "")
