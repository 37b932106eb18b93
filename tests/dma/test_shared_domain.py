"""Several `Paging` of one domain: one allocator, whatever the domain is, and however they come."""

import gc
import weakref
from threading import Thread

import pytest

from phyr import AlignmentError, MismatchError, Phyr, PhyrError
from phyr.iommu import (
    Direction,
    IovaAllocator,
    Otherwise,
    Paging,
    Plan,
    Prot,
    Staging,
    _windows,
    dma_map,
)
from phyr.sim import Memory, SimDomain
from support.machine import FlatMemory, NoTablePageError, PageTable

BOTH = Direction.BIDIRECTIONAL
PHYR = Phyr.from_pages([0x9000, 0x3000, 0x5000])


class Slotted(PageTable):
    """A domain that cannot be hashed, nor compared, nor weakly referenced."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise AssertionError


class Bare:
    """The same without a dict: a weak reference is a TypeError."""

    __slots__ = ("table",)
    __hash__ = None  # type: ignore[assignment]
    pgsize_bitmap = 1 << 12
    aperture = (0, 2**32 - 1)
    reserved = ()

    def __init__(self) -> None:
        self.table = PageTable(1 << 12)

    def __eq__(self, other: object) -> bool:
        raise AssertionError

    def map_pages(self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: Prot) -> None:
        self.table.map_pages(iova, paddr, pgsize, pgcount, prot)

    def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
        self.table.unmap_pages(iova, pgsize, pgcount)

    def iova_to_phys(self, iova: int) -> int | None:
        return self.table.iova_to_phys(iova)


@pytest.mark.parametrize("make", [PageTable, Slotted, Bare, lambda: SimDomain(Memory(1 << 24))])
def test_mappings_through_pagings_made_inline_do_not_collide(make) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    domain = make()
    with (
        dma_map(PHYR, Paging(domain), BOTH) as one,
        dma_map(PHYR, Paging(domain), BOTH) as two,
        dma_map(PHYR, Paging(domain), BOTH) as three,
    ):
        starts = {mapping.dma[0] for mapping in (one, two, three)}
        assert len(starts) == 3
        for mapping in (one, two, three):
            assert domain.iova_to_phys(mapping.dma[0x1800]) == PHYR[0x1800]


@pytest.mark.parametrize("make", [PageTable, Bare])
def test_a_domain_is_forgotten_with_its_last_mapping(make: type[PageTable | Bare]) -> None:
    sizes = (len(_windows._WEAK), 0)  # noqa: SLF001
    domain = make()
    dma_map(PHYR, Paging(domain), BOTH).unmap()
    kept = weakref.ref(domain.table if isinstance(domain, Bare) else domain)
    del domain
    gc.collect()
    # The state of a domain without weak references goes when the next one is made.
    Paging(PageTable())
    gc.collect()
    assert kept() is None
    assert (len(_windows._WEAK), len(_windows._STRONG)) <= sizes  # noqa: SLF001


def test_windows_outlive_the_paging_that_took_them() -> None:
    for domain in (PageTable(), Bare()):
        first = Paging(domain).map(PHYR, BOTH)
        gc.collect()
        second = Paging(domain).map(PHYR, BOTH)
        assert first[0] != second[0]


def test_threads_share_a_domain() -> None:
    domain, starts = SimDomain(Memory(1 << 24)), []

    def work() -> None:
        for _ in range(50):
            paging = Paging(domain)
            starts.append(paging.map(PHYR, BOTH)[0])

    threads = [Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(starts)) == len(starts) == 300


def test_another_range_of_addresses_is_refused_and_named() -> None:
    table = PageTable(aperture=(0x1000, 0xFFFF), reserved=((0x3000, 0x3FFF),))
    first = Paging(table)
    assert Paging(table).iovas is first.iovas
    assert Paging(table, iovas=first.iovas).iovas is first.iovas
    table.reserved = ((0x3000, 0x37FF), (0x3800, 0x3FFF))
    # The same ranges, written otherwise.
    assert Paging(table).iovas is first.iovas
    table.aperture = (0x2000, 0xFFFF)
    with pytest.raises(MismatchError, match=r"0x2000 to 0xffff, reserved 0x3000 to 0x3fff.*0x1000"):
        Paging(table)
    with pytest.raises(MismatchError, match=r"not by the given one of aperture 0x0 .* nothing"):
        Paging(table, iovas=IovaAllocator())
    # With nobody left that uses the old one, the new one holds.
    del first
    gc.collect()
    assert Paging(table).iovas.aperture == (0x2000, 0xFFFF)
    own = IovaAllocator((0x8000, 0xFFFF))
    assert Paging(table, iovas=own).iovas is own


# Strict


def test_strict_refuses_and_names_the_bytes_beyond() -> None:
    table = PageTable(1 << 21)
    page = Phyr.from_chunks([(0x4000_1000, 0x1000)])
    with pytest.raises(AlignmentError, match="0x1ff000 bytes beyond") as caught:
        dma_map(page, Paging(table, strict=True), BOTH)
    assert vars(caught.value)["exposed"] == 0x1F_F000
    assert table.calls == []
    whole = Phyr.from_chunks([(0x4000_0000, 2 << 20)])
    with dma_map(whole, Paging(table, strict=True), BOTH) as mapping:
        assert mapping.exposed == 0
    # By default the same page is mapped, and tells.
    with dma_map(page, Paging(table), BOTH) as mapping:
        assert mapping.exposed == 0x1F_F000


def test_strict_holds_for_lists_and_for_what_stands_in() -> None:
    memory = FlatMemory(1 << 19)
    memory.free_pages = list(range(1 << 18, 1 << 19, 4096))
    small = Phyr.from_pages([0x1_9000, 0x1_3000])
    for otherwise in (Otherwise.LIST, Staging(memory, memory)):
        table = PageTable(1 << 16)
        paging = Paging(table, otherwise=otherwise, strict=True)
        with pytest.raises(AlignmentError, match="bytes beyond") as caught:
            dma_map(small, paging, BOTH)
        # A page for each chunk, or one for what stands in for both.
        exposed = 0x1_E000 if otherwise is Otherwise.LIST else 0xE000
        assert vars(caught.value)["exposed"] == exposed
        assert (table.calls, memory.handed_out, len(paging.iovas)) == ([], 0, 0)
        with dma_map(small, Paging(table, otherwise=otherwise), BOTH) as mapping:
            assert mapping.exposed == exposed


# Panics


class PanicException(BaseException):
    """As raised by an extension in Rust that panics."""

    __module__ = "pyo3_runtime"


class Pin:
    count = 0

    def hold(self) -> None:
        self.count += 1

    def release(self) -> None:
        self.count -= 1


class Panicking(PageTable):
    """A table that panics at its k-th call, before or after the work; if poisoned, ever after."""

    def __init__(self, k: int, *, after: bool, poisoned: bool) -> None:
        super().__init__(1 << 12)
        self.k, self.after, self.poisoned = k, after, poisoned

    def meet(self) -> None:
        self.k -= 1
        if self.k == -1 or (self.poisoned and self.k < 0):
            raise PanicException("poisoned")

    def map_pages(self, *call: int) -> None:
        if self.after:
            super().map_pages(*call)  # type: ignore[arg-type]
        self.meet()
        if not self.after:
            super().map_pages(*call)  # type: ignore[arg-type]

    def unmap_pages(self, *call: int) -> None:
        if self.after:
            super().unmap_pages(*call)
        self.meet()
        if not self.after:
            super().unmap_pages(*call)


class PanickingBatch(Panicking):
    def map_batch(self, plan: Plan, prot: Prot) -> None:
        for call in plan:
            self.map_pages(*call, prot)


@pytest.mark.parametrize("make", [Panicking, PanickingBatch])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("poisoned", [False, True])
def test_wherever_a_domain_panics_what_it_may_still_map_stays_held(
    make: type[Panicking], *, after: bool, poisoned: bool
) -> None:
    for k in range(4):
        table, pin = make(k, after=after, poisoned=poisoned), Pin()
        paging = Paging(table)
        mapped = False
        with pytest.raises(PanicException, match="poisoned"):  # noqa: PT012 - either call raises
            mapping = dma_map(PHYR, paging, BOTH, owner=pin)
            mapped = True
            mapping.unmap()
        assert mapped == (k == 3)
        # Nobody is let go, and no window used again, while anything is mapped or may be.
        assert not table.pages or (pin.count, len(paging.iovas)) == (1, 1)
        if mapped:
            assert (pin.count, len(paging.iovas)) == (1, 1)
        elif not poisoned:
            assert (table.pages, pin.count, len(paging.iovas)) == ({}, 0, 0)


def test_a_failure_that_takes_no_mark_is_told_by_another() -> None:
    class SealedError(NoTablePageError):
        def __setattr__(self, name: str, value: object) -> None:
            raise TypeError(name)

    class Sealed(PageTable):
        def map_pages(self, *call: int) -> None:
            if self.calls:
                raise SealedError
            super().map_pages(*call)  # type: ignore[arg-type]

        def unmap_pages(self, *_call: int) -> None:
            raise OSError("stuck")

    pin, table = Pin(), Sealed(1 << 12)
    with pytest.raises(PhyrError, match="SealedError, after which something may be mapped"):
        dma_map(PHYR, Paging(table), BOTH, owner=pin)
    assert pin.count == 1
