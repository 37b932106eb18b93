"""An interrupt may come at any moment: nothing stays mapped, and no window is used twice."""

import subprocess
import sys
from collections.abc import Callable
from warnings import catch_warnings, simplefilter

import pytest

from phyr import IovaSpaceError, Phyr
from phyr.iommu import (
    Bounce,
    Direction,
    IommuDomain,
    IovaAllocator,
    Otherwise,
    Paging,
    Plan,
    Prot,
    Staging,
    dma_map,
    plan_map,
)
from phyr.sim import Memory, SimDomain
from support.interrupts import interrupted
from support.machine import PHYR, SIZES, SMALL, FlatMemory, PageTable, pattern

BOTH = Direction.BIDIRECTIONAL
WHEN = ["before", "half-way", "after"]


class Rude(PageTable):
    """A table that is interrupted in its k-th call that maps or unmaps, and maybe more often."""

    raised: type[BaseException] = KeyboardInterrupt

    def __init__(self, k: int, when: str, *, times: int = 1, sizes: int = SIZES) -> None:
        super().__init__(sizes)
        self.k = k
        self.when = when
        self.times = times
        self.seen = 0

    def _meet(self, work: Callable[[int], None], pgcount: int) -> None:
        due = self.k <= self.seen < self.k + self.times
        self.seen += 1
        if not due:
            work(pgcount)
            return
        part = {"before": 0, "half-way": pgcount // 2, "after": pgcount}[self.when]
        if part:
            work(part)
        raise self.raised

    def map_pages(self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: Prot) -> None:
        whole = super().map_pages
        self._meet(lambda part: whole(iova, paddr, pgsize, part, prot), pgcount)

    def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
        whole = super().unmap_pages
        self._meet(lambda part: whole(iova, pgsize, part), pgcount)


class RudeBatch(Rude):
    """The same for whole plans."""

    def map_batch(self, plan: Plan, prot: Prot) -> None:
        for call in plan:
            self.map_pages(*call, prot)


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("make", [Rude, RudeBatch])
def test_whichever_call_is_interrupted_nothing_stays(make: type[Rude], when: str) -> None:
    whole = make(-1, when)
    dma_map(PHYR, Paging(whole), BOTH).unmap()
    assert whole.seen > 6
    for k in range(whole.seen):
        table = make(k, when)
        paging = Paging(table)
        with pytest.raises(KeyboardInterrupt), dma_map(PHYR, paging, BOTH):
            pass
        assert table.pages == table.leaves == {}
        assert len(paging.iovas) == 0
        # And all works again.
        with dma_map(PHYR, paging, BOTH):
            pass


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("make", [Rude, RudeBatch])
def test_whichever_call_finds_no_memory_nothing_stays(make: type[Rude], when: str) -> None:
    mapping = dma_map(PHYR, Paging(make(-1, when)), BOTH)
    calls = len(list(plan_map(PHYR, mapping.dma[0], SIZES)))
    mapping.unmap()
    for k in range(9):
        table = make(k, when)
        table.raised = MemoryError
        paging = Paging(table)
        if k < calls:
            with pytest.raises(MemoryError):
                dma_map(PHYR, paging, BOTH)
        else:
            # It is raised, and all is unmapped nevertheless.
            mapping = dma_map(PHYR, paging, BOTH)
            with pytest.raises(MemoryError):
                mapping.unmap()
        assert table.seen > k
        assert table.pages == table.leaves == {}
        assert len(paging.iovas) == 0


@pytest.mark.parametrize("when", WHEN)
def test_a_full_list_that_is_interrupted_leaves_nothing(when: str) -> None:
    for k in range(2 * len(SMALL.chunks)):
        table = Rude(k, when, sizes=1 << 16)
        paging = Paging(table, otherwise=Otherwise.LIST)
        with pytest.raises(KeyboardInterrupt), dma_map(SMALL, paging, BOTH):
            pass
        assert table.pages == {}
        assert len(paging.iovas) == 0


@pytest.mark.parametrize("when", WHEN)
def test_the_call_that_was_interrupted_is_named(when: str) -> None:
    calls = len(list(plan_map(PHYR, 0x1000, SIZES)))
    for k in range(calls):
        table = Rude(k, when)
        with pytest.raises(KeyboardInterrupt) as caught:
            Paging(table).map(PHYR, BOTH)
        assert caught.value.__notes__[0].startswith(f"call {k}: ")
        assert table.pages == {}


@pytest.mark.parametrize("raised", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("when", WHEN)
def test_a_backend_that_was_interrupted_can_be_called_again(
    when: str, raised: type[BaseException]
) -> None:
    whole = Rude(-1, when)
    Paging(whole).map(PHYR, BOTH)
    for k in range(whole.seen, whole.seen + 3):
        table = Rude(k, when)
        table.raised = raised
        paging = Paging(table)
        dma = paging.map(PHYR, BOTH)
        with pytest.raises(raised):
            paging.unmap(dma, BOTH)
        paging.unmap(dma, BOTH)
        assert table.pages == {}
        assert len(paging.iovas) == 0


def test_an_interrupt_while_a_failed_map_is_undone_is_not_lost() -> None:
    for when in WHEN:
        # The fourth call fails; the first that undoes is interrupted.
        table = Rude(4, when)
        table.fail_at = 3
        paging = Paging(table)
        with pytest.raises(KeyboardInterrupt) as caught:
            paging.map(PHYR, BOTH)
        assert type(caught.value.__context__).__name__ == "NoTablePageError"
        # A window that may still be mapped is not given to another list.
        assert (len(paging.iovas), getattr(caught.value, "still_mapped", None)) == (1, True)


class Hopeless(Rude):
    """A table that never comes to unmap anything."""

    def unmap_pages(self, *_call: int) -> None:
        raise KeyboardInterrupt


def test_a_domain_interrupted_for_ever_costs_its_window_and_its_copy() -> None:
    table = Hopeless(-1, "after")
    paging = Paging(table)
    mapping = dma_map(PHYR, paging, BOTH)
    with pytest.raises(KeyboardInterrupt) as caught:
        mapping.unmap()
    assert mapping.unmapped
    assert table.pages
    assert len(paging.iovas) == 1

    memory = FlatMemory(1 << 19)
    memory.free_pages = list(range(1 << 18, 1 << 19, 4096))
    paging = Paging(Hopeless(0, "after", sizes=1 << 16), otherwise=Staging(memory, memory))
    with pytest.raises(KeyboardInterrupt) as caught:
        dma_map(SMALL, paging, BOTH)
    assert any("may be mapped" in note for note in caught.value.__notes__)
    assert len(paging.iovas) == memory.handed_out == 1


def test_a_domain_that_fails_after_an_interrupt_costs_its_window() -> None:
    class Stuck(Rude):
        def unmap_pages(self, *_call: int) -> None:
            raise OSError("stuck")

    for when in WHEN:
        table = Stuck(2, when)
        paging = Paging(table)
        with pytest.raises(KeyboardInterrupt) as caught:
            dma_map(PHYR, paging, BOTH)
        assert any("stuck" in note for note in caught.value.__notes__)
        assert len(paging.iovas) == 1


# Between any two steps of phyr's own


class ByCall:
    """A domain that takes no plans, whose methods are those of another."""

    def __init__(self, domain: SimDomain) -> None:
        self.pgsize_bitmap = domain.pgsize_bitmap
        self.aperture = domain.aperture
        self.reserved = domain.reserved
        self.map_pages = domain.map_pages
        self.unmap_pages = domain.unmap_pages
        self.iova_to_phys = domain.iova_to_phys


def batch(domain: SimDomain) -> IommuDomain:
    return domain


@pytest.mark.parametrize("make", [batch, ByCall])
@pytest.mark.parametrize("part", ["map", "unmap"])
@pytest.mark.parametrize("raised", [KeyboardInterrupt, MemoryError])
def test_wherever_an_interrupt_comes_nothing_stays_mapped(
    make: Callable[[SimDomain], IommuDomain], part: str, raised: type[BaseException]
) -> None:
    for at in range(10_000):
        domain = SimDomain(Memory(1 << 24))
        paging = Paging(make(domain))
        left = [at]
        with catch_warnings():
            simplefilter("ignore", ResourceWarning)
            try:
                if part == "map":
                    with interrupted(at, raised=raised) as left:
                        mapping = dma_map(PHYR, paging, BOTH)
                else:
                    mapping = dma_map(PHYR, paging, BOTH)
                    with interrupted(at, raised=raised) as left:
                        mapping.unmap()
            except raised:
                assert not left
            else:
                mapping.unmap()
        counters = domain.counters
        assert counters.ptes_written == counters.ptes_cleared, at
        assert counters.table_pages == 1, at
        check(paging.iovas)
        # A window may be lost, for the moment; never is it given to another while it is mapped.
        assert len(paging.iovas) <= (part == "map" or raised is KeyboardInterrupt), at
        paging.map(PHYR, BOTH)
        if left:
            break
    else:
        pytest.fail("there is always one place more")
    assert at > 10


def small_machine(how: str) -> tuple[FlatMemory, PageTable, Paging | Bounce]:
    memory, table = FlatMemory(1 << 19), PageTable(1 << 16)
    memory.data[:] = pattern(1 << 19)
    memory.free_pages = list(range(0x2000, 0x1_0000, 4096))
    if how == "bounce":
        return memory, table, Bounce(Staging(memory, memory), dma_mask=0xFFFF)
    memory.free_pages = list(range(1 << 18, 1 << 19, 4096))
    if how == "list":
        return memory, table, Paging(table, otherwise=Otherwise.LIST)
    return memory, table, Paging(table, otherwise=Staging(memory, memory))


@pytest.mark.parametrize("how", ["list", "staging", "bounce"])
@pytest.mark.parametrize("part", ["map", "unmap"])
def test_wherever_an_interrupt_comes_what_the_device_wrote_arrives(how: str, part: str) -> None:
    written = bytes(reversed(pattern(len(SMALL))))
    for at in range(10_000):
        memory, table, backend = small_machine(how)
        left = [at]
        notes: list[str] = []
        try:
            if part == "map":
                with interrupted(at) as left:
                    mapping = dma_map(SMALL, backend, BOTH)
                mapping.unmap()
            else:
                mapping = dma_map(SMALL, backend, BOTH)
                # No chunk crosses a page of the table, nor what stands in for the list.
                starts = [(table.iova_to_phys(iova), iova) for iova, _ in mapping.dma.chunks]
                lengths = [length for _, length in mapping.dma.chunks]
                paddrs = [iova if paddr is None else paddr for paddr, iova in starts]
                device = Phyr.from_chunks(list(zip(paddrs, lengths, strict=True)))
                memory.write(device, written)
                with interrupted(at) as left:
                    mapping.unmap()
        except KeyboardInterrupt as interrupt:
            notes = getattr(interrupt, "__notes__", [])
        # That nothing was left for the second call is no news.
        assert not any("not mapped" in note for note in notes)
        if part == "unmap":
            assert memory.read(SMALL) == written, at
        assert table.pages == {}, at
        # At most one window and one copy may be lost.
        assert memory.handed_out <= 1, at
        if isinstance(backend, Paging):
            assert len(backend.iovas) <= 1, at
        if left:
            break
    else:
        pytest.fail("there is always one place more")
    assert at > 10


@pytest.mark.parametrize("when", WHEN)
def test_a_stuck_domain_that_was_interrupted_keeps_the_owner(when: str) -> None:
    class Stuck(Rude):
        def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
            if self.seen > self.k:
                raise OSError("stuck")
            super().unmap_pages(iova, pgsize, pgcount)

    class Pin:
        count = 0

        def hold(self) -> None:
            self.count += 1

        def release(self) -> None:
            self.count -= 1

    whole = Stuck(10_000, when)
    dma_map(PHYR, Paging(whole), BOTH).unmap()
    pin, table = Pin(), Stuck(len(whole.calls), when)
    mapping = dma_map(PHYR, Paging(table), BOTH, owner=pin)
    with pytest.raises(KeyboardInterrupt) as caught:
        mapping.unmap()
    assert table.pages
    assert pin.count == 1
    assert any("stuck" in note for note in caught.value.__notes__)


def check(iovas: IovaAllocator) -> None:
    """Use up all of the rest, which fails if the notes of what is taken contradict each other."""
    iovas.free(iovas.alloc(1 << 20, align=1 << 20))
    assert len(iovas) >= 0


def test_an_allocator_that_is_interrupted_hands_out_nothing_twice() -> None:
    for at in range(1000):
        iovas = IovaAllocator((0x1000, 0x8FFF), [(0x3000, 0x3FFF)])
        first = iovas.alloc(0x1000)
        second = iovas.alloc(0x1000)
        left = [at]
        try:
            with interrupted(at) as left:
                iovas.free(first)
                iovas.alloc(0x2000)
        except KeyboardInterrupt:
            pass
        taken = set(range(second, second + 0x1000, 0x1000)) | {0x3000}
        while True:
            try:
                page = iovas.alloc(0x1000)
            except IovaSpaceError:
                break
            assert page not in taken
            taken.add(page)
        if left:
            break
    assert at > 5


SIGNALS = """
import signal, warnings
from phyr import Phyr
from phyr.iommu import Direction, Paging, dma_map
from phyr.sim import Memory, SimDomain

warnings.simplefilter("ignore", ResourceWarning)
phyr = Phyr.from_chunks([(0x7000, 0x1000), (0x11000, 0x9000), (0x5000, 0x1000), (0x3000, 0x123)])
domain = SimDomain(Memory(1 << 24))
paging = Paging(domain)
# All is imported now: Python's own import loses an interrupt that comes at one place.
dma_map(phyr, paging, Direction.BIDIRECTIONAL).unmap()
signal.signal(signal.SIGALRM, signal.default_int_handler)
came = 0
for turn in range(400):
    try:
        signal.setitimer(signal.ITIMER_REAL, 20e-6 + turn * 1e-6)
        while True:
            dma_map(phyr, paging, Direction.BIDIRECTIONAL).unmap()
    except KeyboardInterrupt:
        came += 1
    counters = domain.counters
    assert counters.ptes_written == counters.ptes_cleared, counters
assert len(paging.iovas) <= came == 400
"""


def test_signals_at_odd_moments_leave_nothing_mapped() -> None:
    """The same with real signals, as far as chance finds the places.

    On its own, since what counts coverage does not stand interrupts.
    """
    program = [sys.executable, "-c", SIGNALS]
    run = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    assert (run.returncode, run.stderr) == (0, "")
