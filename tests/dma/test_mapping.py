"""`dma_map`: the three results, and what the device sees."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import MismatchError, Phyr, RangeError, UnmappedError
from phyr.iommu import (
    BusOffset,
    Direct,
    Direction,
    DmaBackend,
    ExposingBackend,
    Paging,
    Plan,
    Prot,
    dma_map,
)
from phyr.testing import TableDomain
from support.agree import built, names
from support.machine import FlatMemory, PageTable, pattern, seen
from support.mappings import BOTH, Pin, scattered
from support.model import Model
from support.strategies import models

MIB = 1 << 20


@given(models())
def test_direct_returns_the_very_same_object(model: Model) -> None:
    phyr = built(model)
    with dma_map(phyr, Direct(), BOTH) as mapping:
        assert mapping.dma is phyr
        assert mapping.phyr is phyr


def test_a_subclass_of_direct_is_asked() -> None:
    class Halved(Direct):
        def map(self, phyr: Phyr, _direction: Direction) -> Phyr:
            return Phyr.from_chunks([(1 << 30, phyr.length)])

    with dma_map(Phyr.from_pfns([1]), Halved(), BOTH) as mapping:
        assert mapping.dma[0] == 1 << 30


@given(models(granule=4096), st.integers(-(1 << 52), 1 << 52))
def test_bus_offset_is_a_full_new_list_of_the_same_shape(model: Model, pages: int) -> None:
    phyr, offset = built(model), pages << 12
    bus = BusOffset(offset, providers={0: offset, 1: offset, 2**32 - 1: offset})
    moved = [(paddr + offset, length) for paddr, length in model.chunks()]
    if all(paddr >= 0 and paddr + length <= 2**64 for paddr, length in moved):
        with dma_map(phyr, bus, BOTH) as mapping:
            assert list(mapping.dma.chunks) == moved
            assert (mapping.dma.kind, mapping.dma.granule) == (phyr.kind, phyr.granule)
            mapping.dma.validate()
    else:
        with pytest.raises(RangeError):
            dma_map(phyr, bus, BOTH)


@pytest.mark.parametrize("offset", [0x8000_0000, -0x1000])
def test_bus_offset_has_as_many_entries_as_the_list(offset: int) -> None:
    phyr = Phyr.from_pfns(range(1, 4000, 2))
    with dma_map(phyr, BusOffset(offset), BOTH) as mapping:
        assert mapping.dma.stats().nr_entries == phyr.stats().nr_entries == 2000
        assert mapping.dma is not phyr


def test_bus_offset_0_returns_the_very_same_object() -> None:
    phyr = scattered()
    with dma_map(phyr, BusOffset(0), BOTH) as mapping:
        assert mapping.dma is phyr


def test_an_offset_that_overflows_names_the_chunk() -> None:
    phyr = Phyr.from_pages([0x3000, 0x1000])
    with pytest.raises(RangeError) as caught:
        dma_map(phyr, BusOffset(-0x2000), BOTH)
    names(caught.value, 0x1000)
    with pytest.raises(RangeError):
        dma_map(phyr, BusOffset(1 << 200), BOTH)
    with pytest.raises(RangeError):
        dma_map(phyr, BusOffset(0x800), BOTH)
    with pytest.raises(TypeError):
        dma_map(phyr, BusOffset(0.5), BOTH)  # type: ignore[arg-type]


def test_a_window_costs_the_same_at_2_to_the_10_and_at_2_to_the_24_pages() -> None:
    for lg2 in (10, 24):
        # Pages that touch nowhere, so that the list itself is as long as can be.
        numpy = pytest.importorskip("numpy")
        phyr = Phyr.from_pfns(numpy.arange(1, 2 << lg2, 2, numpy.uint64))
        assert len(phyr.chunks) == 1 << lg2

        domain = OneCall()
        paging = Paging(domain)
        with dma_map(phyr, paging, BOTH) as mapping:
            stats = mapping.dma.stats()
            # No heap: what there is lies in the object.
            assert (stats.nr_chunks, stats.nr_nodes, stats.storage) == (1, 0, 0)
            assert domain.length == phyr.length
            iova = mapping.dma[0]
        # And one call takes it away.
        assert domain.unmaps == [(iova, 1 << 12, 1 << lg2)]


class OneCall:
    """A domain that takes whole plans and remembers only how much."""

    pgsize_bitmap = 1 << 12
    aperture = (0, 2**48 - 1)
    reserved = ()
    length = 0

    def __init__(self) -> None:
        self.unmaps: list[tuple[int, int, int]] = []

    def map_batch(self, plan: Plan, prot: Prot) -> None:
        assert prot == Prot.READ | Prot.WRITE
        self.length += plan.phyr.length

    def map_pages(self, *call: int) -> None:
        raise AssertionError(call)

    def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
        self.unmaps.append((iova, pgsize, pgcount))

    def iova_to_phys(self, _iova: int) -> int | None:
        return None


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 4)), min_size=1, max_size=4),
    st.sampled_from([1, 512, 4096, 16384]),
    st.sets(st.sampled_from([9, 12, 13, 14, 16])),
    st.data(),
)
def test_the_device_sees_the_bytes_of_the_buffer(
    runs: list[tuple[int, int]], granule: int, sizes: set[int], data: st.DataObject
) -> None:
    unit = max(granule, 512)
    smallest = data.draw(st.sampled_from([lg2 for lg2 in (9, 12, 14) if 1 << lg2 <= unit]))
    table = PageTable(sum(1 << lg2 for lg2 in sizes | {smallest} if lg2 >= smallest))
    whole = Phyr.from_chunks([(at * unit, count * unit) for at, count in runs], granule=granule)
    start = data.draw(st.integers(0, whole.length))
    phyr = whole[start : data.draw(st.integers(start, whole.length))]

    memory = FlatMemory(50 * 16384)
    memory.data[:] = pattern(len(memory.data))
    with dma_map(phyr, Paging(table), Direction.TO_DEVICE) as mapping:
        assert len(mapping.dma.chunks) == bool(phyr)
        assert (mapping.dma.granule, mapping.dma.kind) == (granule, "ram")
        assert seen(table, mapping.dma, memory) == memory.read(phyr)
    assert table.pages == table.leaves == {}


@given(models(granule=4096, kind="mmio:1", max_runs=5))
def test_a_devices_own_memory_is_mapped_as_such(model: Model) -> None:
    phyr = built(model)[: 64 << 12]
    table = PageTable(1 << 12)
    with dma_map(phyr, Paging(table), Direction.FROM_DEVICE) as mapping:
        assert mapping.dma.kind == "mmio:1"
        assert {call[4] for call in table.calls} <= {Prot.WRITE | Prot.MMIO}
        for position in range(0, phyr.length, 4095):
            assert table.iova_to_phys(mapping.dma[position]) == phyr[position]


def test_a_switch_routes_each_provider_by_its_own_offset() -> None:
    bus = BusOffset(0x1000, providers={0: 1 << 40, 7: -0x2000})
    for kind, dma_addr in [("ram", 0x9000), ("mmio", (1 << 40) + 0x8000), ("mmio:7", 0x6000)]:
        with dma_map(Phyr.from_pages([0x8000], kind=kind), bus, BOTH) as mapping:
            assert (mapping.dma[0], mapping.dma.kind) == (dma_addr, kind)
    with pytest.raises(MismatchError) as caught:
        dma_map(Phyr.from_pages([0x8000], kind="mmio:3"), bus, BOTH)
    names(caught.value, 3)


def test_exposed_counts_the_bytes_of_pages_beyond_the_list() -> None:
    phyr = Phyr.from_chunks([(0x7080, 0x100)])
    cases: list[tuple[DmaBackend, int | None]] = [
        (Paging(PageTable(1 << 12)), 0xF00),
        (Paging(PageTable(1 << 21)), (2 << 20) - 0x100),
        (Paging(PageTable(1 << 4)), 0),
        (BusOffset(1 << 40), None),
        (Direct(), None),
    ]
    for backend, exposed in cases:
        with dma_map(phyr, backend, BOTH) as mapping:
            assert mapping.exposed == exposed
        with pytest.raises(UnmappedError):
            mapping.exposed  # noqa: B018
        assert isinstance(backend, ExposingBackend) == (exposed is not None)
    with dma_map(phyr[:0], Paging(PageTable()), BOTH) as mapping:
        assert mapping.exposed == 0
    with dma_map(phyr, Direct(), BOTH, owner=Pin()) as mapping:
        assert mapping.exposed is None


def test_what_is_mapped_shows_itself_shortly() -> None:
    phyr = scattered()
    paging = Paging(TableDomain())
    with dma_map(phyr, paging, BOTH) as mapping:
        domain = "aperture 0x0 to 0xffffffffffff, pgsize_bitmap 0x40201000"
        assert repr(paging) == f"Paging(TableDomain(5 pages, {domain}), 1 mappings)"
        assert repr(paging.iovas) == "IovaAllocator(0x0 to 0xffffffffffff, 1 windows)"
        assert repr(mapping).startswith("Mapping(BIDIRECTIONAL, Phyr(0x41fe bytes")
    assert repr(Direct()) == "Direct()"
    assert repr(BusOffset(-0x1000, {3: 0x20})) == "BusOffset(-0x1000, mmio:3 +0x20)"
