"""The conformance checks pass what keeps the rules, and find each way to break them."""

from collections.abc import Callable

import pytest
from machine import FlatMemory, PageTable
from phyr import Phyr
from phyr.iommu import (
    Bounce,
    BusOffset,
    Direct,
    Direction,
    IommuDomain,
    Otherwise,
    Paging,
    Plan,
    Prot,
    Staging,
)
from phyr.testing import ConformanceError, TableDomain, check_backend, check_domain

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
    with pytest.raises(ValueError, match="no page"):
        domain.unmap_pages(0x4000, 4096, 1)
    assert domain.table == {0x3000: (0, 4096, Prot.READ)}


class NoSizes(TableDomain):
    def __init__(self) -> None:
        super().__init__(0)


class Backwards(TableDomain):
    def __init__(self) -> None:
        super().__init__(aperture=(5, 4))


class Tiny(TableDomain):
    def __init__(self) -> None:
        super().__init__(aperture=(0, 0x3FFF))


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
        Tiny,
        Identity,
        PagesOnly,
        OneTooMany,
        KeepsAll,
        TakesOver,
        HalfWay,
        Once,
        FirstOfRun,
        WrongBatch,
        LeavingBatch,
        CarelessBatch,
    ],
)
def test_each_way_to_break_the_rules_of_domains_is_found(make: Callable[[], IommuDomain]) -> None:
    with pytest.raises((ConformanceError, ValueError)):
        check_domain(make)


def through_table(paging: Paging, dma_addr: int) -> int | None:
    return paging.domain.iova_to_phys(dma_addr)


def test_the_backends_of_phyr_pass() -> None:
    check_backend(Direct, lambda _, dma_addr: dma_addr)
    routes = BusOffset(1 << 40, providers={5: 1 << 40})
    check_backend(lambda: routes, lambda _, dma_addr: dma_addr - (1 << 40))
    check_backend(lambda: BusOffset(1 << 40), lambda _, dma_addr: dma_addr - (1 << 40))
    check_backend(lambda: Paging(TableDomain()), through_table)
    check_backend(lambda: Paging(TableDomain(HUGE | 1 << 9)), through_table)
    check_backend(lambda: Paging(TableDomain(1 << 14), otherwise=Otherwise.LIST), through_table)


def far_from_memory() -> Bounce:
    """Return a backend that reaches the pool, and little else."""
    memory = FlatMemory(0x110_0000)
    memory.free_pages = list(range(0xC_0000, 0x20_0000, 4096))
    return Bounce(Staging(memory, memory), dma_mask=0x3F_FFFF)


def of_original(backend: Bounce, dma_addr: int) -> int | None:
    """Return the address that a byte is a copy of."""
    for _, copies in backend._mapped.values():  # noqa: SLF001 - the only one who knows
        for copy in copies:
            position = 0
            for paddr, length in copy.copy.chunks:
                if paddr <= dma_addr < paddr + length:
                    return copy.original[position + dma_addr - paddr]
                position += length
    return dma_addr


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
    for make in (Shifted, OtherGranule):
        with pytest.raises(ConformanceError):
            check_backend(make, lambda _, dma_addr: dma_addr)
    with pytest.raises(ConformanceError):
        check_backend(lambda: Single(TableDomain()), through_table)


def test_a_copy_of_a_devices_own_memory_is_found() -> None:
    class Copies(Direct):
        def map(self, phyr: Phyr, _direction: Direction) -> Phyr:
            if phyr.kind == "ram":
                return phyr
            moved = [(paddr + (1 << 30), length) for paddr, length in phyr.chunks]
            return Phyr.from_chunks(moved, granule=phyr.granule, kind=phyr.kind)

    with pytest.raises(ConformanceError):
        check_backend(Copies, lambda _, dma_addr: dma_addr)
