"""The checks of backends pass what keeps the rules, and find each way to break them."""

from collections.abc import Callable

import pytest

from phyr import NotMappedError, Phyr, RangeError
from phyr.iommu import (
    Bounce,
    BusOffset,
    Copy,
    Direct,
    Direction,
    IommuDomain,
    Otherwise,
    Paging,
    Staging,
)
from phyr.sim import Memory, SimDomain
from phyr.testing import (
    ConformanceError,
    TableDomain,
    check_backend,
)
from phyr.testing.backends import what_is_unmapped_is_given_back
from support.machine import FlatMemory

HUGE = 1 << 12 | 1 << 21 | 1 << 30


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
    # The checks list this memory.
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

    def _give_back(self, window: int | None, copy: Copy | None) -> None:
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
