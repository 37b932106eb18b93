"""Devices: what they see is what the buffer holds, and what stops them says where and why."""

import asyncio
import copy
import hashlib
import pickle
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import ArrayError, MismatchError, Phyr, PhyrError, RangeError
from phyr.errors import FaultError
from phyr.iommu import Direct, Direction, Paging, Prot, dma_map, plan_map
from phyr.sim import Device, FaultReason, Memory, Region, SimDomain, scatter
from support import vtd_walker

K4, M2, G1 = 4 << 10, 2 << 20, 1 << 30
ALL = K4 | M2 | G1

PROTS = {Direction.TO_DEVICE: 1, Direction.FROM_DEVICE: 2, Direction.BIDIRECTIONAL: 3}


def content_of(seed: int, length: int) -> bytes:
    """Bytes that look like chance, the same for the same seed."""
    return hashlib.shake_128(str(seed).encode()).digest(length)


class Slow:
    """A domain as a user may write one: a dictionary, and no more than a device needs."""

    def __init__(self, pgsize: int = K4) -> None:
        self.pgsize_bitmap = pgsize
        self.pages: dict[int, int] = {}

    def iova_to_phys(self, iova: int) -> int | None:
        page = self.pages.get(iova - iova % self.pgsize_bitmap)
        return None if page is None else page + iova % self.pgsize_bitmap


@given(
    st.integers(1, 40 * K4),
    st.integers(0, K4 - 1),
    st.integers(0, 1 << 32),
    st.lists(st.integers(0, 4), min_size=1, max_size=3),
    st.sampled_from(list(Direction)),
)
def test_a_device_sees_the_buffer_byte_for_byte(
    size: int, offset: int, seed: int, orders: list[int], direction: Direction
) -> None:
    memory = Memory(1 << 22)
    domain = SimDomain(memory)
    device = Device(memory, domain)
    buffer = memory.scatter(size, seed=seed, orders=orders, offset=offset)
    content = content_of(seed, size)
    memory.write(buffer, content)
    with dma_map(buffer, Paging(domain), direction) as mapping:
        if PROTS[direction] & 1:
            assert device.read(mapping.dma) == content
            a, b = sorted((seed % size, seed // 7 % size))
            assert device.read(mapping.dma[a:b]) == content[a:b]
        else:
            with pytest.raises(FaultError):
                device.read(mapping.dma)
        if PROTS[direction] & 2:
            device.write(mapping.dma, content[::-1])
            assert memory.read(buffer) == content[::-1]
        else:
            with pytest.raises(FaultError):
                device.write(mapping.dma, content[::-1])
            assert memory.read(buffer) == content
    with pytest.raises(FaultError):
        device.read(mapping.phyr[:1])
    assert domain.counters.table_pages == 1


def test_without_an_iommu_the_bus_sees_physical_addresses() -> None:
    memory = Memory(1 << 20)
    buffer = memory.scatter(3 * K4, seed=2)
    memory.write(buffer, b"abc" * K4)
    with dma_map(buffer, Direct(), Direction.TO_DEVICE) as mapping:
        assert Device(memory).read(mapping.dma) == b"abc" * K4


@pytest.mark.parametrize("offset", [0x8000_0000, -0x4000, (1 << 63)])
def test_a_bus_offset_is_taken_off(offset: int) -> None:
    memory = Memory(1 << 20)
    device = Device(memory, offset=offset)
    device.write(0x5000 + offset, b"hello")
    assert memory.read(Phyr.from_chunks([(0x5000, 5)])) == b"hello"
    assert device.read(0x5001 + offset, 3) == b"ell"
    with pytest.raises(FaultError) as info:
        device.read((1 << 20) + offset - 2, 3)
    assert info.value.dma_addr == (1 << 20) + offset
    assert (info.value.reason, info.value.transferred) == (FaultReason.NO_MEMORY, 2)


def test_an_address_below_the_offset_leads_nowhere() -> None:
    with pytest.raises(FaultError) as info:
        Device(Memory(1 << 20), offset=0x1000).read(0xFFF, 1)
    assert (info.value.dma_addr, info.value.reason) == (0xFFF, FaultReason.NO_MEMORY)


@pytest.mark.parametrize("make", [SimDomain, None])
def test_a_fault_in_the_midst_transfers_what_is_before_it_and_nothing_after(make: Any) -> None:  # noqa: ANN401
    memory = Memory(1 << 20)
    domain: Any
    if make:
        domain = make(memory)
        domain.map_pages(0x1_0000, 0x5000, K4, 1, 3)
        domain.map_pages(0x1_1000, 0x9000, K4, 1, 3)
        domain.map_pages(0x1_3000, 0x7000, K4, 1, 3)
    else:
        domain = Slow()
        domain.pages = {0x1_0000: 0x5000, 0x1_1000: 0x9000, 0x1_3000: 0x7000}
    device = Device(memory, domain)
    memory.write(Phyr.from_pfns([5, 9, 7]), b"x" * 3 * K4)
    into = bytearray(b"-" * 4 * K4)
    window = Phyr.from_chunks([(0x1_0000, 4 * K4)])
    with pytest.raises(FaultError, match="0x12000") as info:
        device.readinto(window, into)
    fault = info.value
    assert (fault.dma_addr, fault.reason, fault.transferred) == (0x1_2000, 6, 2 * K4)
    assert (fault.is_write, fault.errno) == (False, 14)
    assert isinstance(fault, OSError)
    assert into == b"x" * 2 * K4 + b"-" * 2 * K4
    with pytest.raises(FaultError) as info:
        device.write(Phyr.from_chunks([(0x1_0800, 3 * K4)]), b"y" * 3 * K4)
    fault = info.value
    assert (fault.dma_addr, fault.reason, fault.transferred) == (0x1_2000, 5, 0x1800)
    assert fault.is_write
    assert memory.read(Phyr.from_pfns([5, 9, 7])) == (b"x" * 0x800 + b"y" * 0x1800 + b"x" * K4)


def test_memory_ends_where_it_ends_behind_any_domain() -> None:
    memory = Memory(1 << 20)
    domain = SimDomain(memory)
    domain.map_pages(0, 1 << 20, K4, 1, 3)
    slow = Slow()
    slow.pages = {0: 1 << 20}
    for behind in (domain, slow):
        with pytest.raises(FaultError, match="no memory") as info:
            Device(memory, behind).read(0, 1)
        assert info.value.reason == FaultReason.NO_MEMORY


def test_each_reason_has_the_number_of_the_specification() -> None:
    memory = Memory(1 << 20)
    domain = SimDomain(memory, levels=3, pgsize_bitmap=K4 | M2)
    device = Device(memory, domain)
    domain.map_pages(0, 0, K4, 1, Prot.READ)
    domain.map_pages(K4, 0, K4, 1, Prot.WRITE)
    domain.map_pages(M2, 0, M2, 1, Prot.READ | Prot.WRITE)

    def reason(iova: int, *, write: bool) -> FaultReason:
        with pytest.raises(vtd_walker.Refused) as refused:
            vtd_walker.translate(memory, domain.root, 3, iova, write=write, sizes=K4 | M2)
        access = partial(device.write, iova, b"z") if write else partial(device.read, iova, 1)
        with pytest.raises(FaultError) as info:
            access()
        assert info.value.reason == refused.value.reason
        assert info.value.dma_addr == iova
        return FaultReason(info.value.reason)

    assert reason(1 << 39, write=False) is FaultReason.BEYOND_WIDTH
    assert reason((1 << 64) - 1, write=True) is FaultReason.BEYOND_WIDTH
    assert reason(5, write=True) is FaultReason.NO_WRITE
    assert reason(K4, write=False) is FaultReason.NO_READ
    assert reason(2 * K4, write=False) is FaultReason.NO_READ
    assert reason(G1, write=True) is FaultReason.NO_WRITE
    table = memory.read_u64(domain.root) & vtd_walker.ADDRESS
    leaf = memory.read_u64(table + 8)
    memory.write_u64(table + 8, leaf | K4)
    assert reason(M2, write=False) is FaultReason.RESERVED_BITS
    memory.write_u64(table + 8, leaf)
    memory.write_u64(domain.root + 8, 0x83)
    assert reason(G1, write=False) is FaultReason.RESERVED_BITS
    memory.write_u64(domain.root + 8, 1 << 40 | 3)
    assert reason(G1, write=False) is FaultReason.TABLE_POINTER
    assert domain.counters.faults == 9


def test_permissions_are_those_of_every_entry_on_the_way() -> None:
    memory = Memory(1 << 20)
    domain = SimDomain(memory)
    device = Device(memory, domain)
    domain.map_pages(0, 0x5000, K4, 1, 3)
    memory.write_u64(domain.root, memory.read_u64(domain.root) & ~2)
    assert device.read(0, 1) == b"\0"
    with pytest.raises(FaultError) as info:
        device.write(0, b"x")
    assert info.value.reason == FaultReason.NO_WRITE
    with pytest.raises(vtd_walker.Refused):
        vtd_walker.translate(memory, domain.root, 4, 0, write=True)


def stopped_at(device: Device, iova: int, length: int, *, write: bool) -> int | None:
    """Do an access, and return the address where it faults, if it does."""
    try:
        if write:
            device.write(iova, bytes(length))
        else:
            device.read(iova, length)
    except FaultError as fault:
        address: int = fault.dma_addr  # type: ignore[assignment]
        return address
    return None


@given(
    st.integers(3, 5),
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([1, 2, 3])), unique_by=lambda page: page[0]
    ),
    st.lists(st.tuples(st.integers(0, 6 * K4), st.integers(1, 2 * K4), st.booleans()), max_size=8),
)
def test_accessed_and_dirty_bits_are_those_of_the_accesses(
    levels: int, pages: list[tuple[int, int]], accesses: list[tuple[int, int, bool]]
) -> None:
    memory = Memory(1 << 20)
    domain = SimDomain(memory, levels=levels, iotlb_sets=1, iotlb_ways=2)
    device = Device(memory, domain)
    prots = dict(pages)
    for page, prot in pages:
        domain.map_pages(page * K4, 0x1_0000 + page * K4, K4, 1, prot)
    read: set[int] = set()
    written: set[int] = set()
    for iova, length, write in accesses:
        stop = None
        for page in range(iova // K4, (iova + length - 1) // K4 + 1):
            if not prots.get(page, 0) & (2 if write else 1):
                stop = max(iova, page * K4)
                break
            (written if write else read).add(page)
        assert stopped_at(device, iova, length, write=write) == stop
    for page, _ in pages:
        leaf = domain.lookup(page * K4)
        assert leaf is not None
        assert (leaf.accessed, leaf.dirty) == (page in read | written, page in written)
    # An entry that points to a table is accessed if anything below it is, and never dirty.
    for level, _, _, words in vtd_walker.tables(memory, domain.root, levels):
        for word in filter(None, words if level > 1 else []):
            assert bool(word & vtd_walker.ACCESSED) == bool(read | written)
            assert not word & vtd_walker.DIRTY


def test_a_cleared_dirty_bit_is_set_by_the_next_write() -> None:
    memory = Memory(1 << 20)
    domain = SimDomain(memory)
    device = Device(memory, domain)
    domain.map_pages(0, 0, M2, 1, 3)
    assert not domain.clear_dirty(5)
    device.write(M2 // 4, b"x")
    assert domain.clear_dirty(M2 - 1)
    assert not domain.clear_dirty(0)
    device.write(8, b"x")
    leaf = domain.lookup(0)
    assert leaf is not None
    assert leaf.dirty
    with pytest.raises(PhyrError, match="0x200000"):
        domain.clear_dirty(M2)


def test_the_iotlb_hits_what_it_knows_and_forgets_what_is_unmapped() -> None:
    memory = Memory(1 << 20)
    domain = SimDomain(memory, iotlb_sets=2, iotlb_ways=2)
    device = Device(memory, domain)
    domain.map_pages(0, 0x1_0000, K4, 16, 3)

    def figures() -> tuple[int, int]:
        return domain.counters.iotlb_hits, domain.counters.iotlb_misses

    device.read(0, 8)
    device.read(8, 8)
    assert figures() == (1, 1)
    # Pages 0, 2, 4 share a set of two: the least recently used leaves.
    device.read(2 * K4, 1)
    device.read(0, 1)
    device.read(4 * K4, 1)
    device.read(0, 1)
    assert figures() == (3, 3)
    device.read(2 * K4, 1)
    assert figures() == (3, 4)
    # The first write must go and set the dirty bit.
    device.write(2 * K4, b"x")
    assert figures() == (3, 5)
    device.write(2 * K4, b"x")
    assert figures() == (4, 5)
    domain.unmap_pages(2 * K4, K4, 1)
    with pytest.raises(FaultError):
        device.read(2 * K4, 1)
    domain.map_pages(2 * K4, 0x5000, K4, 1, 1)
    memory.write_u64(0x5000, 7)
    assert device.read(2 * K4, 1) == b"\x07"
    # Without an invalidation hardware goes on by what it knows.
    entry = next(
        table + 2 * 8
        for level, table, _, _ in vtd_walker.tables(memory, domain.root, 4)
        if level == 1
    )
    memory.write_u64(entry, 0)
    assert device.read(2 * K4, 1) == b"\x07"
    domain.flush_iotlb()
    with pytest.raises(FaultError):
        device.read(2 * K4, 1)


def test_a_list_of_many_addresses_is_read_in_order() -> None:
    memory = Memory(1 << 22)
    domain = SimDomain(memory, reserved=())
    buffer = memory.scatter(300 * K4, seed=9)
    memory.write(buffer, content_of(1, len(buffer)))
    windows = scatter(300 * K4, seed=8)[100:-200]
    plan = plan_map(buffer, 1 << 40, ALL)
    domain.map_batch(plan, 1)
    moved = Phyr.from_chunks([((1 << 40) + 5 * K4, 100), ((1 << 40) + 2 * K4, K4)], granule=4)
    device = Device(memory, domain)
    assert device.read(moved) == memory.read(buffer[5 * K4 : 5 * K4 + 100]) + memory.read(
        buffer[2 * K4 : 3 * K4]
    )
    assert len(windows.chunks) == 300


def test_a_device_has_limits() -> None:
    memory = Memory(1 << 30)
    device = Device(memory, mask=0xFFFF)
    device.write(0xFFFF, b"x")
    assert device.read(0xFFFF, 1) == b"x"
    with pytest.raises(RangeError, match="mask 0xffff") as info:
        device.read(0xFFFF, 2)
    assert (info.value.dma_addr, info.value.length) == (0xFFFF, 2)
    with pytest.raises(RangeError):
        device.write(0x1_0000, b"x")


def test_lists_and_addresses_are_not_mixed_up() -> None:
    memory = Memory(1 << 20)
    device = Device(memory)
    window = Phyr.from_chunks([(0x1000, 8)])
    with pytest.raises(TypeError, match="with an address"):
        device.read(window, 8)
    with pytest.raises(TypeError, match="needs a length"):
        device.read(0x1000)
    assert device.read(0x1000, 0) == b""
    device.write(0x1000, b"")
    for domain in (None, Slow()):
        with pytest.raises(RangeError):
            Device(memory, domain).write(window, b"123")
        with pytest.raises(RangeError):
            Device(memory, domain).readinto(window, bytearray(9))
    with pytest.raises(ArrayError):
        device.readinto(window, bytes(8))
    with pytest.raises(RangeError, match="outside 64 bits"):
        device.read(1 << 64, 1)


def test_the_tables_are_in_the_devices_memory() -> None:
    device = Device(Memory(1 << 20), SimDomain(Memory(1 << 20)))
    with pytest.raises(MismatchError):
        device.read(0, 1)


def test_any_domain_that_translates_will_do() -> None:
    memory = Memory(1 << 20)
    slow = Slow(1 << 14)
    slow.pages = {0x8000: 0x1_0000, 0xC000: 0x4000}
    device = Device(memory, slow)
    content = content_of(3, 0x5000)
    device.write(0x9000, content)
    assert device.read(0x9000, 0x5000) == content
    assert memory.read(Phyr.from_chunks([(0x1_1000, 0x3000)])) == content[:0x3000]
    assert memory.read(Phyr.from_chunks([(0x4000, 0x2000)])) == content[0x3000:]


def test_a_fault_can_be_pickled_and_copied() -> None:
    with pytest.raises(FaultError) as info:
        Device(Memory(1 << 20)).read(1 << 30, 1)
    for again in (pickle.loads(pickle.dumps(info.value)), copy.copy(info.value)):  # noqa: S301
        assert str(again) == str(info.value)
        assert again.dma_addr == 1 << 30


def test_a_region_names_the_number_that_is_wrong() -> None:
    region = Region(Device(Memory(1 << 20)))
    for address in (-4, 1 << 64):
        with pytest.raises(RangeError, match=f"address {address:#x} is outside 64 bits"):
            asyncio.run(region.read(address, 8))
    with pytest.raises(RangeError, match="length -0x8 is outside 64 bits"):
        asyncio.run(region.read(4, -8))
    asyncio.run(region.write(8, b"kept"))
    for data in (5, "text", None):
        with pytest.raises(TypeError, match="bytes-like object"):
            asyncio.run(region.write(8, data))  # type: ignore[arg-type]
    assert asyncio.run(region.read(8, 4)) == b"kept"
