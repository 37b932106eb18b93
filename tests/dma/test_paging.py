"""`Paging`: failures at every call, windows, limits, and pages too large for the list."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phyr import AlignmentError, IovaSpaceError, NotMappedError, Phyr
from phyr.iommu import (
    BatchDomain,
    Direction,
    IovaAllocator,
    Otherwise,
    Paging,
    Plan,
    Prot,
    Staging,
    dma_map,
)
from support.agree import names
from support.machine import (
    PHYR,
    SIZES,
    SMALL,
    FlatMemory,
    NoTablePageError,
    PageTable,
    pattern,
    seen,
)

BOTH = Direction.BIDIRECTIONAL


def test_whichever_call_fails_nothing_stays_and_the_window_comes_back() -> None:
    table = PageTable(SIZES)
    dma_map(PHYR, Paging(table), BOTH).unmap()
    total = len(table.calls)
    assert total > 4
    for k in range(total):
        table = PageTable(SIZES, fail_at=k)
        paging = Paging(table)
        with pytest.raises(NoTablePageError) as caught:
            dma_map(PHYR, paging, BOTH)
        # The error is the domain's own, and says where it happened.
        assert caught.value.__notes__[0].startswith(f"call {k}: ")
        assert table.pages == table.leaves == {}
        assert len(paging.iovas) == 0
        # And all works again.
        table.fail_at = None
        table.calls.clear()
        with dma_map(PHYR, paging, BOTH):
            assert len(table.calls) == total
        assert len(paging.iovas) == 0


class BatchTable(PageTable):
    """A table that takes whole plans, or refuses them."""

    batches = 0

    def map_batch(self, plan: Plan, prot: Prot) -> None:
        if self.fail_at is not None:
            raise NoTablePageError
        self.batches += 1
        for call in zip(plan.iovas, plan.paddrs, plan.pgsizes, plan.pgcounts, strict=True):
            self.map_pages(*call, prot)


def test_a_domain_that_takes_batches_gets_one() -> None:
    table, plain = BatchTable(SIZES), PageTable(SIZES)
    assert isinstance(table, BatchDomain)
    with dma_map(PHYR, Paging(table), BOTH), dma_map(PHYR, Paging(plain), BOTH):
        assert table.batches == 1
        assert table.calls == plain.calls
        assert table.pages == plain.pages
    assert table.pages == {}


def test_a_batch_that_fails_leaves_no_window() -> None:
    paging = Paging(BatchTable(SIZES, fail_at=0))
    with pytest.raises(NoTablePageError) as caught:
        dma_map(PHYR, paging, BOTH)
    assert "in one batch" in caught.value.__notes__[0]
    assert len(paging.iovas) == 0


class StuckTable(PageTable):
    """A table that breaks the rules: the first unmapping fails."""

    stuck = 1

    def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
        if self.stuck:
            self.stuck -= 1
            raise OSError("stuck")
        super().unmap_pages(iova, pgsize, pgcount)


def test_a_domain_that_fails_to_unmap_costs_its_window_and_no_more() -> None:
    table = StuckTable(SIZES)
    paging = Paging(table)
    mapping = dma_map(PHYR, paging, BOTH)
    with pytest.raises(OSError, match="stuck") as caught:
        mapping.unmap()
    assert "not used again" in caught.value.__notes__[0]
    assert mapping.unmapped
    # All but the one call that failed went through.
    assert 0 < len(table.pages) < 14
    assert len(paging.iovas) == 1
    with dma_map(PHYR, paging, BOTH):
        pass


def test_a_domain_that_fails_to_undo_costs_its_window_too() -> None:
    table = StuckTable(SIZES, fail_at=3)
    paging = Paging(table)
    with pytest.raises(NoTablePageError) as caught:
        dma_map(PHYR, paging, BOTH)
    assert "stuck" in caught.value.__notes__[1]
    assert len(paging.iovas) == 1


class OddError(Exception):
    """An exception that cannot be shown."""

    def __init__(self, shown: type[BaseException]) -> None:
        self.shown = shown

    def __repr__(self) -> str:
        raise self.shown


class OddTable(StuckTable):
    """A table that never unmaps, and says so in a way that fails."""

    shown: type[BaseException] = ValueError

    def unmap_pages(self, *_call: int) -> None:
        raise OddError(self.shown)


@pytest.mark.parametrize("shown", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("otherwise", [Otherwise.ERROR, Otherwise.LIST])
def test_a_failure_to_undo_that_cannot_be_shown_costs_the_window_too(
    shown: type[BaseException], otherwise: Otherwise
) -> None:
    phyr, sizes = (PHYR, SIZES) if otherwise is Otherwise.ERROR else (SMALL, 1 << 16)
    table = OddTable(sizes, fail_at=2)
    table.shown = shown
    paging = Paging(table, otherwise=otherwise)
    with pytest.raises(NoTablePageError if shown is ValueError else KeyboardInterrupt) as caught:
        dma_map(phyr, paging, BOTH)
    assert table.pages
    assert len(paging.iovas) == 1
    if shown is ValueError:
        assert "OddError, which cannot be shown" in caught.value.__notes__[1]


def test_a_failure_that_takes_no_notes_costs_the_window_too() -> None:
    class BareError(NoTablePageError):
        __notes__ = 5  # type: ignore[assignment]

    class Refusing(StuckTable):
        def map_pages(self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: Prot) -> None:
            if len(self.calls) == 3:
                raise BareError
            super().map_pages(iova, paddr, pgsize, pgcount, prot)

    table = Refusing(SIZES)
    paging = Paging(table)
    with pytest.raises(BareError):
        dma_map(PHYR, paging, BOTH)
    assert table.pages
    assert len(paging.iovas) == 1


def test_only_what_was_mapped_here_can_be_unmapped_here() -> None:
    paging = Paging(PageTable(SIZES))
    dma = paging.map(PHYR, BOTH)
    for _ in range(2):
        with pytest.raises(NotMappedError):
            paging.unmap(dma[:], BOTH)
        with pytest.raises(NotMappedError):
            paging.exposed(dma[:])
        assert paging.exposed(dma) == 0x1000 - 0x123
    paging.unmap(dma, BOTH)
    for use in (lambda: paging.unmap(dma, BOTH), lambda: paging.exposed(dma)):
        with pytest.raises(NotMappedError):
            use()


def test_an_empty_list_needs_no_window() -> None:
    table = PageTable()
    paging = Paging(table)
    empty = PHYR[5:5]
    with dma_map(empty, paging, BOTH) as mapping:
        assert mapping.dma is empty
        assert len(paging.iovas) == 0
    assert table.calls == []


def test_a_window_stays_inside_mask_aperture_and_reach() -> None:
    table = PageTable(1 << 12, aperture=(0x1000, 0x10_0000), reserved=((0x2000, 0x4FFF),))
    with dma_map(PHYR, Paging(table, dma_mask=0x1_3FFF), BOTH) as mapping:
        assert (mapping.dma[0], mapping.dma[-1]) == (0x5000, 0x5000 + PHYR.length - 1)
    with pytest.raises(IovaSpaceError):
        dma_map(PHYR, Paging(table, dma_mask=0xFFFF), BOTH)
    # A list of granule 1 holds addresses below 2^52 only.
    high = PageTable(1 << 12, aperture=(2**52 - 0x2000, 2**60))
    byte = Phyr.from_chunks([(0x7123, 0x10)], granule=1)
    paging = Paging(high)
    with dma_map(byte, paging, BOTH) as first, dma_map(byte, paging, BOTH) as second:
        assert (first.dma[0], second.dma[0]) == (2**52 - 0x2000 + 0x123, 2**52 - 0x1000 + 0x123)
        with pytest.raises(IovaSpaceError):
            dma_map(byte, paging, BOTH)
    with pytest.raises(IovaSpaceError):
        dma_map(byte, Paging(PageTable(1 << 12, aperture=(2**52, 2**60))), BOTH)


def test_where_large_pages_find_no_room_smaller_ones_do() -> None:
    huge = Phyr.from_chunks([(1 << 30, 1 << 22)])
    sizes = 1 << 12 | 1 << 16 | 1 << 21
    for aperture, largest in [
        ((0, 2**32), 1 << 21),
        ((0x21_0000, 0x61_0FFF), 1 << 16),
        ((0x21_1000, 0x61_0FFF), 1 << 12),
    ]:
        table = PageTable(sizes, aperture=aperture)
        with dma_map(huge, Paging(table), BOTH):
            assert max(call[2] for call in table.calls) == largest
    with pytest.raises(IovaSpaceError):
        dma_map(huge, Paging(PageTable(sizes, aperture=(0x21_1000, 0x61_0FFE))), BOTH)


def test_two_devices_may_share_an_allocator() -> None:
    iovas = IovaAllocator((0x1000, 0xFFFF_FFFF))
    one, other = PageTable(SIZES), PageTable(SIZES)
    with (
        dma_map(PHYR, Paging(one, iovas=iovas), BOTH) as first,
        dma_map(PHYR, Paging(other, iovas=iovas), BOTH) as second,
    ):
        assert first.dma[-1] < second.dma[0]


# Domains with pages larger than the list's chunks


def test_pages_too_large_are_an_error_that_names_the_chunk() -> None:
    table = PageTable(1 << 16)
    with pytest.raises(AlignmentError) as caught:
        dma_map(SMALL, Paging(table), BOTH)
    names(caught.value, 0x1_9123, 0x1_0000)
    assert table.calls == []


def test_pages_too_large_are_no_matter_where_the_list_happens_to_fit() -> None:
    table = PageTable(1 << 16)
    fits = Phyr.from_chunks([(0x1_F000, 0x1000), (0x5_0000, 0x1_0000), (0x3_0000, 0x800)])
    with dma_map(fits, Paging(table), BOTH) as mapping:
        assert len(mapping.dma.chunks) == 1
        for position in range(0, len(fits), 0x400):
            assert table.iova_to_phys(mapping.dma[position]) == fits[position]


def test_pages_too_large_can_give_a_full_new_list() -> None:
    table = PageTable(1 << 16)
    paging = Paging(table, otherwise=Otherwise.LIST)
    memory = FlatMemory(1 << 18)
    memory.data[:] = pattern(len(memory.data))
    with dma_map(SMALL, paging, BOTH) as mapping:
        assert len(mapping.dma.chunks) == len(SMALL.chunks)
        mapping.dma.validate()
        assert seen(table, mapping.dma, memory) == memory.read(SMALL)
        mapping.sync_for_cpu()
    assert table.pages == {}
    assert len(paging.iovas) == 0


def test_a_full_list_that_fails_half_way_leaves_nothing() -> None:
    for k in range(len(SMALL.chunks)):
        table = PageTable(1 << 16, fail_at=k)
        paging = Paging(table, otherwise=Otherwise.LIST)
        with pytest.raises(NoTablePageError):
            dma_map(SMALL, paging, BOTH)
        assert table.pages == {}
        assert len(paging.iovas) == 0


@settings(max_examples=12)
@given(st.sampled_from(list(Direction)), st.sampled_from([0, 0x1000, 0x2F00, 0x3FFF]))
def test_pages_too_large_can_be_stood_in_for(direction: Direction, start: int) -> None:
    memory = FlatMemory(1 << 19, pool=0)
    memory.free_pages = list(range(1 << 18, 1 << 19, 4096))
    memory.data[:] = pattern(len(memory.data))
    phyr = SMALL[start:]
    before = memory.read(phyr)
    table = PageTable(1 << 16)
    paging = Paging(table, otherwise=Staging(memory, memory))
    linear = len(phyr.chunks) == 1
    mapping = dma_map(phyr, paging, direction)
    assert memory.handed_out == (not linear)
    assert len(mapping.dma.chunks) == 1
    assert seen(table, mapping.dma, memory) == before

    fresh = bytes(byte ^ 255 for byte in before)
    memory.write(phyr, fresh)
    mapping.sync_for_device()
    to_device = linear or direction is not Direction.FROM_DEVICE
    assert seen(table, mapping.dma, memory) == (fresh if to_device else before)

    # The device writes one byte.
    target = table.iova_to_phys(mapping.dma[0])
    assert target is not None
    memory.data[target] = 0x5A
    mapping.sync_for_cpu()
    from_device = linear or direction is not Direction.TO_DEVICE
    assert (memory.data[phyr[0]] == 0x5A) == (from_device or fresh[0] == 0x5A)
    mapping.unmap()
    assert memory.handed_out == 0
    assert table.pages == {}


def test_what_stands_in_is_given_back_if_mapping_fails() -> None:
    memory = FlatMemory(1 << 19)
    memory.free_pages = list(range(1 << 18, 1 << 19, 4096))
    table = PageTable(1 << 16, fail_at=0)
    paging = Paging(table, otherwise=Staging(memory, memory))
    with pytest.raises(NoTablePageError):
        dma_map(SMALL, paging, BOTH)
    assert memory.handed_out == len(paging.iovas) == 0
    memory.free_pages = []
    with pytest.raises(MemoryError):
        dma_map(SMALL, paging, BOTH)


def test_pages_are_unmapped_even_if_the_copy_back_fails() -> None:
    class Forgets(FlatMemory):
        forgets = False

        def read(self, phyr: Phyr) -> bytes:
            return b"" if self.forgets else super().read(phyr)

    memory = Forgets(1 << 19)
    memory.free_pages = list(range(1 << 18, 1 << 19, 4096))
    table = PageTable(1 << 16)
    paging = Paging(table, otherwise=Staging(memory, memory))
    mapping = dma_map(SMALL, paging, BOTH)
    memory.forgets = True
    with pytest.raises(AssertionError):
        mapping.unmap()
    assert table.pages == {}
    assert memory.handed_out == len(paging.iovas) == 0


def test_what_stands_in_is_given_back_if_there_is_no_window() -> None:
    memory = FlatMemory(1 << 19)
    memory.free_pages = list(range(1 << 18, 1 << 19, 4096))
    table = PageTable(1 << 16, aperture=(0x1_0000, 0x1_EFFF))
    with pytest.raises(IovaSpaceError):
        dma_map(SMALL, Paging(table, otherwise=Staging(memory, memory)), BOTH)
    assert memory.handed_out == 0


def test_what_stands_in_stays_if_a_failed_map_cannot_be_undone() -> None:
    class Interrupted(StuckTable):
        def map_pages(self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: Prot) -> None:
            super().map_pages(iova, paddr, pgsize, pgcount, prot)
            raise KeyboardInterrupt

    memory = FlatMemory(1 << 19)
    memory.free_pages = list(range(1 << 18, 1 << 19, 4096))
    paging = Paging(Interrupted(1 << 16), otherwise=Staging(memory, memory))
    with pytest.raises(KeyboardInterrupt):
        dma_map(SMALL, paging, BOTH)
    assert memory.handed_out == len(paging.iovas) == 1


def test_a_devices_own_memory_is_never_stood_in_for() -> None:
    memory = FlatMemory(1 << 19, pool=1 << 18)
    mmio = Phyr.from_chunks(list(SMALL.chunks), kind="mmio")
    with pytest.raises(AlignmentError):
        dma_map(mmio, Paging(PageTable(1 << 16), otherwise=Staging(memory, memory)), BOTH)
    assert memory.handed_out == 0


def test_a_window_of_what_stands_in_keeps_what_a_stuck_domain_may_still_reach() -> None:
    memory = FlatMemory(1 << 19)
    memory.free_pages = list(range(1 << 18, 1 << 19, 4096))
    paging = Paging(StuckTable(1 << 16), otherwise=Staging(memory, memory))
    mapping = dma_map(SMALL, paging, BOTH)
    with pytest.raises(OSError, match="stuck"):
        mapping.unmap()
    assert memory.handed_out == 1
