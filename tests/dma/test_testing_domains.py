"""The checks of domains pass what keeps the rules, and find each way to break them."""

from collections.abc import Callable

import pytest

from phyr import MappedError, NotMappedError
from phyr.iommu import IommuDomain, Plan, Prot
from phyr.sim import Memory, SimDomain
from phyr.testing import ConformanceError, TableDomain, check_domain
from support.machine import PageTable

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
