"""The conformance checks pass what keeps the rules, and find each way to break them."""

from collections.abc import Callable

import pytest

from phyr import MappedError, NotMappedError, Phyr, RangeError
from phyr.iommu import (
    Bounce,
    BusOffset,
    Copy,
    Direct,
    Direction,
    IommuDomain,
    Otherwise,
    Paging,
    Plan,
    Prot,
    Staging,
)
from phyr.sim import Memory, SimDomain
from phyr.testing import (
    ConformanceError,
    TableDomain,
    check_backend,
    check_domain,
    what_is_unmapped_is_given_back,
)
from support.machine import FlatMemory, PageTable

HUGE = 1 << 12 | 1 << 21 | 1 << 30


class BatchDomain(TableDomain):
    def map_batch(self, plan: Plan, prot: Prot) -> None:
        done = []
        try:
            for call in plan:
                self.map_pages(*call, prot)
                done.append(call)
        except ValueError:
            for iova, _, pgsize, pgcount in done:
                self.unmap_pages(iova, pgsize, pgcount)
            raise


@pytest.mark.parametrize(
    "make",
    [
        TableDomain,
        BatchDomain,
        lambda: TableDomain(1 << 14 | 1 << 25),
        lambda: TableDomain(1 << 21),
        lambda: BatchDomain(1 << 21),
        lambda: TableDomain(HUGE, (0x10_0000, 0x8000_0000), ((0x20_0000, 0x2F_FFFF),)),
        lambda: TableDomain(1 << 12 | 1 << 21, (0, 0x3FF_FFFF)),
        lambda: PageTable(1 << 12 | 1 << 21),
        # Hardly any room, and none for the larger pages.
        lambda: TableDomain(HUGE, (0, 0x1FFF)),
        lambda: TableDomain(HUGE, (0x3000, 0x5FFF), ((0x3800, 0x47FF),)),
        lambda: BatchDomain(1 << 12 | 1 << 14, (0, 0xFFFF)),
        lambda: BatchDomain(1 << 12 | 1 << 14, (0, 0x1_FFFF)),
        lambda: SimDomain(Memory(1 << 24)),
        lambda: SimDomain(Memory(1 << 24), levels=3),
        lambda: SimDomain(Memory(1 << 24), levels=5, pgsize_bitmap=1 << 12 | 1 << 30),
        lambda: SimDomain(Memory(1 << 24), pgsize_bitmap=1 << 12, aperture=(0, 0x7FFF)),
    ],
)
def test_domains_that_keep_the_rules_pass(make: Callable[[], IommuDomain]) -> None:
    check_domain(make)


def test_a_table_refuses_what_is_outside_or_taken() -> None:
    domain = TableDomain(aperture=(0x1000, 0x9FFF))
    domain.map_pages(0x3000, 0, 4096, 1, Prot.READ)
    for iova in (0, 0x2000, 0x3000, 0x9000):
        with pytest.raises(ValueError, match=r"aperture|mapped already"):
            domain.map_pages(iova, 0, 4096, 2, Prot.READ)
    with pytest.raises(ValueError, match="nothing is mapped"):
        domain.unmap_pages(0x4000, 4096, 1)
    assert domain.table == {0x3000: (0, 4096, Prot.READ)}


def test_a_table_may_change_while_a_call_looks_through_it() -> None:
    domain = TableDomain()

    class Page(int):
        """A page whose comparison lets another thread in, as it were."""

        def __ge__(self, other: int) -> bool:
            domain.table[0x10_0000 + 4096 * len(domain.table)] = (0, 4096, Prot.READ)
            return super().__ge__(other)

    domain.table = {Page(0x8000): (0, 4096, Prot.READ), Page(0x9000): (0, 4096, Prot.READ)}
    domain.map_pages(0x3000, 0, 4096, 1, Prot.READ)
    assert domain.iova_to_phys(0x3000) == 0


class NoSizes(TableDomain):
    def __init__(self) -> None:
        super().__init__(0)


class Backwards(TableDomain):
    def __init__(self) -> None:
        super().__init__(aperture=(5, 4))


class NoRoom(TableDomain):
    """Page 0 is no room, since address 0 is none."""

    def __init__(self) -> None:
        super().__init__(aperture=(0, 0x1FFE))


class TinyKeepsAll(TableDomain):
    def __init__(self) -> None:
        super().__init__(aperture=(0, 0x2FFF))

    def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
        pass


class UnmapsLarger(TableDomain):
    """Takes away all of a page that it is asked to unmap part of."""

    def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
        for at in range(iova, iova + pgsize * pgcount, pgsize):
            for page, (_, size, _) in list(self.table.items()):
                if page <= at < page + size:
                    del self.table[page]


class UnmapsAndRaises(UnmapsLarger):
    """Says that it cannot, and does."""

    def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
        larger = iova not in self.table or self.table[iova][1] != pgsize
        super().unmap_pages(iova, pgsize, pgcount)
        if larger:
            raise ValueError(iova)


class UnmapsNoPart(TableDomain):
    """Passes over what it does not do."""

    def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
        if iova in self.table and self.table[iova][1] == pgsize:
            super().unmap_pages(iova, pgsize, pgcount)


class Identity(TableDomain):
    def iova_to_phys(self, iova: int) -> int | None:
        return iova


class PagesOnly(TableDomain):
    """Forgets where inside the page the byte is."""

    def iova_to_phys(self, iova: int) -> int | None:
        found = super().iova_to_phys(iova)
        return found and found & ~0xFFF


class OneTooMany(TableDomain):
    def map_pages(self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: Prot) -> None:
        super().map_pages(iova, paddr, pgsize, pgcount + 1, prot)


class Confused(TableDomain):
    def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
        try:
            super().unmap_pages(iova, pgsize, pgcount)
        except NotMappedError as failure:
            raise MappedError("nothing there") from failure


class KeepsAll(TableDomain):
    def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
        pass


class TakesOver(TableDomain):
    """Lets a page be mapped over another."""

    def map_pages(self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: Prot) -> None:
        for at in range(0, pgsize * pgcount, pgsize):
            self.table[iova + at] = (paddr + at, pgsize, prot)


class HalfWay(TableDomain):
    """Leaves what it mapped before it found a page taken."""

    def map_pages(self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: Prot) -> None:
        for at in range(0, pgsize * pgcount, pgsize):
            super().map_pages(iova + at, paddr + at, pgsize, 1, prot)


class Once(TableDomain):
    """Takes no page where there was one before."""

    def __init__(self) -> None:
        super().__init__()
        self.used: set[int] = set()

    def map_pages(self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: Prot) -> None:
        if iova not in self.used:
            super().map_pages(iova, paddr, pgsize, pgcount, prot)
        self.used |= {iova + at for at in range(0, pgsize * pgcount, pgsize)}


class FirstOfRun(TableDomain):
    """Maps only the first of many pages that a plan has in one call."""

    def map_pages(self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: Prot) -> None:
        super().map_pages(iova, paddr, pgsize, min(pgcount, 2) if pgcount != 3 else 1, prot)


class LateHalfBatch(BatchDomain):
    """Leaves all but the first call of a batch that raises."""

    def map_batch(self, plan: Plan, prot: Prot) -> None:
        done = []
        try:
            for call in plan:
                for at in range(call[3]):
                    one = (call[0] + at * call[2], call[1] + at * call[2], call[2], 1)
                    self.map_pages(*one, prot)
                    done.append(one)
        except ValueError:
            if done:
                self.unmap_pages(done[0][0], done[0][2], 1)
            raise


class LosesOther(BatchDomain):
    """Takes away the page that was in the way of a batch."""

    def map_batch(self, plan: Plan, prot: Prot) -> None:
        try:
            super().map_batch(plan, prot)
        except ValueError:
            self.table.clear()
            raise


class WrongBatch(BatchDomain):
    def map_batch(self, plan: Plan, prot: Prot) -> None:
        for iova, paddr, pgsize, pgcount in plan:
            self.map_pages(iova, paddr + pgsize, pgsize, pgcount, prot)


class LeavingBatch(BatchDomain):
    def map_batch(self, plan: Plan, prot: Prot) -> None:
        for call in plan:
            self.map_pages(*call, prot)


class CarelessBatch(BatchDomain):
    def map_batch(self, plan: Plan, prot: Prot) -> None:
        for iova, paddr, pgsize, pgcount in plan:
            for at in range(0, pgsize * pgcount, pgsize):
                self.table[iova + at] = (paddr + at, pgsize, prot)


@pytest.mark.parametrize(
    "make",
    [
        NoSizes,
        Backwards,
        NoRoom,
        TinyKeepsAll,
        UnmapsLarger,
        UnmapsAndRaises,
        UnmapsNoPart,
        Identity,
        PagesOnly,
        OneTooMany,
        Confused,
        KeepsAll,
        TakesOver,
        HalfWay,
        Once,
        FirstOfRun,
        WrongBatch,
        LateHalfBatch,
        LosesOther,
        LeavingBatch,
        CarelessBatch,
    ],
)
def test_each_way_to_break_the_rules_of_domains_is_found(make: Callable[[], IommuDomain]) -> None:
    with pytest.raises((ConformanceError, ValueError)):
        check_domain(make)


def through_table(paging: Paging, dma_addr: int) -> int | None:
    return paging.domain.iova_to_phys(dma_addr)


def plus_1_tib(_backend: object, dma_addr: int) -> int:
    return dma_addr - (1 << 40)


@pytest.mark.parametrize(
    "make",
    [
        lambda: TableDomain(HUGE | 1 << 9),
        lambda: TableDomain(HUGE | 1 << 9, (0x1000, 0xF_FFFF)),
        lambda: TableDomain(HUGE | 1 << 9, (0x1000, 0x1FFF)),
        lambda: TableDomain(1 << 14),
        lambda: SimDomain(Memory(1 << 24)),
        lambda: SimDomain(Memory(1 << 24), pgsize_bitmap=1 << 12, levels=3),
        lambda: SimDomain(Memory(1 << 24), aperture=(0x1000, 0x40_0000)),
    ],
)
def test_paging_passes_on_every_domain(make: Callable[[], IommuDomain]) -> None:
    check_backend(lambda: Paging(make(), otherwise=Otherwise.LIST), through_table)


def test_the_backends_of_phyr_pass() -> None:
    check_backend(Direct, lambda _, dma_addr: dma_addr)
    routes = BusOffset(1 << 40, providers={5: 1 << 40})
    check_backend(lambda: routes, plus_1_tib)
    check_backend(lambda: BusOffset(1 << 40), plus_1_tib)
    check_backend(lambda: Paging(TableDomain()), through_table)


def stood_in_for() -> Paging:
    """Return a backend whose pages are too large for most lists."""
    memory = Memory(1 << 25)
    # What the lists of the checks are of.
    memory.alloc(8 << 20)
    return Paging(TableDomain(1 << 16), otherwise=Staging(memory, memory))


def of_stood_in_for(backend: Paging, dma_addr: int) -> int | None:
    paddr = backend.domain.iova_to_phys(dma_addr)
    mappings = backend._mapped.values()  # noqa: SLF001 - the only one who knows
    copies = [mapped.copy for mapped in mappings if mapped.copy]
    return None if paddr is None else original(copies, paddr)


def test_paging_by_pages_that_stand_in_passes() -> None:
    check_backend(stood_in_for, of_stood_in_for)


def far_from_memory() -> Bounce:
    """Return a backend that reaches the pool, and little else."""
    memory = FlatMemory(0x110_0000)
    memory.free_pages = list(range(0xC_0000, 0x20_0000, 4096))
    return Bounce(Staging(memory, memory), dma_mask=0x3F_FFFF)


def original(copies: list[Copy], paddr: int) -> int:
    """Return the address that a byte is a copy of, or its own."""
    for copy in copies:
        position = 0
        for start, length in copy.copy.chunks:
            if start <= paddr < start + length:
                return copy.original[position + paddr - start]
            position += length
    return paddr


def of_original(backend: Bounce, dma_addr: int) -> int | None:
    mapped = backend._mapped.values()  # noqa: SLF001 - the only one who knows
    return original([copy for _, copies in mapped for copy in copies], dma_addr)


def test_bounce_passes() -> None:
    check_backend(far_from_memory, of_original)


class Shifted(Direct):
    def map(self, phyr: Phyr, _direction: Direction) -> Phyr:
        return Phyr.from_chunks(
            [(paddr + 4096, length) for paddr, length in phyr.chunks], granule=phyr.granule
        )


class OtherGranule(Direct):
    def map(self, phyr: Phyr, _direction: Direction) -> Phyr:
        return Phyr.from_chunks(list(phyr.chunks), granule=1)


class OtherKind(Direct):
    def map(self, phyr: Phyr, _direction: Direction) -> Phyr:
        return Phyr.from_chunks(list(phyr.chunks), granule=phyr.granule, kind="mmio:9")


class ForgetsProvider(Direct):
    def map(self, phyr: Phyr, _direction: Direction) -> Phyr:
        kind = "ram" if phyr.kind == "ram" else "mmio"
        return Phyr.from_chunks(list(phyr.chunks), granule=phyr.granule, kind=kind)


class SyncFails(Direct):
    def sync_for_cpu(self, _dma: Phyr, direction: Direction) -> None:
        if direction is Direction.FROM_DEVICE:
            raise ConformanceError(direction)

    def sync_for_device(self, dma: Phyr, direction: Direction) -> None:
        pass


class KeepsMapped(Paging):
    """Does not unmap."""

    def unmap(self, dma: Phyr, direction: Direction) -> None:
        pass


class SyncUnmaps(Paging):
    """Takes the first sync for the end."""

    def sync_for_cpu(self, dma: Phyr, _direction: Direction) -> None:
        mapped = self._mapped.get(id(dma))
        if mapped:
            mapped.begun = True
            for walk in mapped.walks:
                walk.run(self.domain.unmap_pages)


class KeepsWindows(Paging):
    """Unmaps, and does not give the addresses back."""

    def _give_back(self, window: int, copy: Copy | None) -> None:
        pass


class KeepsCopies(Staging):
    """Hands out copies that are not given back."""

    def stage(self, phyr: Phyr, *, below: int | None = None, align: int = 4096) -> Copy:
        copy = super().stage(phyr, below=below, align=align)
        return Lost(self, copy.original, copy.copy, copy.copy)


class Lost(Copy):
    __slots__ = ()

    def release(self) -> None:
        pass


class Single(Paging):
    """Uses one window for all."""

    def map(self, phyr: Phyr, direction: Direction) -> Phyr:
        for mapped in list(self._mapped.values()):
            self.unmap(mapped.dma, direction)
        return super().map(phyr, direction)

    def unmap(self, dma: Phyr, direction: Direction) -> None:
        if id(dma) in self._mapped:
            super().unmap(dma, direction)


def test_each_way_to_break_the_rules_of_backends_is_found() -> None:
    for make in (Shifted, OtherGranule, OtherKind, ForgetsProvider, SyncFails):
        with pytest.raises(ConformanceError):
            check_backend(make, lambda _, dma_addr: dma_addr)


class SaysOther(Paging):
    """Says something else of what is not mapped."""

    def unmap(self, dma: Phyr, direction: Direction) -> None:
        try:
            super().unmap(dma, direction)
        except NotMappedError as failure:
            raise RangeError("not here") from failure


@pytest.mark.parametrize("make", [Single, KeepsMapped, SyncUnmaps, KeepsWindows, SaysOther])
def test_each_way_to_break_the_rules_of_windows_is_found(make: type[Paging]) -> None:
    aperture = (0x1000, 0x20_0FFF)
    with pytest.raises(ConformanceError):
        check_backend(lambda: make(TableDomain(aperture=aperture)), through_table)
    with pytest.raises(ConformanceError):
        check_backend(lambda: make(SimDomain(Memory(1 << 24), aperture=aperture)), through_table)


def test_copies_that_are_not_given_back_are_found() -> None:
    def make() -> Bounce:
        bounce = far_from_memory()
        memory = bounce.staging.memory
        assert isinstance(memory, FlatMemory)
        bounce.dma_mask = 0x6FFF
        memory.free_pages = [*range(0x1000, 0x5000, 4096)]
        bounce.staging = KeepsCopies(memory, memory)
        return bounce

    with pytest.raises(ConformanceError, match="one byte can be mapped 4 times"):
        what_is_unmapped_is_given_back(make, of_original)


def test_a_copy_of_a_devices_own_memory_is_found() -> None:
    class Copies(Direct):
        def map(self, phyr: Phyr, _direction: Direction) -> Phyr:
            if phyr.kind == "ram":
                return phyr
            moved = [(paddr + (1 << 30), length) for paddr, length in phyr.chunks]
            return Phyr.from_chunks(moved, granule=phyr.granule, kind=phyr.kind)

    with pytest.raises(ConformanceError):
        check_backend(Copies, lambda _, dma_addr: dma_addr)
