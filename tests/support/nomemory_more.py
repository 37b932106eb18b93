"""Operations written in Python, and of classes for few, in which one allocation fails.

Each runs by itself, and gives back all that it took.
"""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from phyr import Builder, DmaPool, FrozenPhyr, Index, Phyr, PinCache, alloc, desc, pagemap, pin, sim
from phyr._ownership import Owners
from phyr._phyr import dma_read, dma_write, first_beyond, held, shift
from phyr.iommu import (
    Bounce,
    BusOffset,
    DeviceLimits,
    Direct,
    Direction,
    IovaAllocator,
    IovaMap,
    Paging,
    Staging,
    dma_map,
)
from phyr.pinning.hold import _ALIVE
from phyr.testing import TableDomain, check_backend, check_domain

PHYR = Phyr.from_pfns([1 << 20, (1 << 20) + 1, 1 << 21, 1 << 30])
FROZEN = PHYR.freeze()
FROZEN_CHUNKS, BYTES = FROZEN.chunks, FROZEN.to_bytes()
INDEX = Index([PHYR, FROZEN.thaw()])
MEMORY = sim.Memory(1 << 24)
DOMAIN = sim.SimDomain(MEMORY)
LOW = Phyr.from_pfns([16, 18, 19])
DOMAIN.map_pages(1 << 36, 0x10000, 0x1000, 3, 3)
WINDOW = Phyr.from_chunks([(1 << 36, LOW.length)])
BUFFER = bytearray(LOW.length)
PAGE = ctypes.create_string_buffer(16384)
TO, FROM = Direction.TO_DEVICE, Direction.FROM_DEVICE
IOVAS = IovaMap()
IOVAS.map(1 << 20, PHYR, "tag")
ALLOCATOR = IovaAllocator((1 << 12, 1 << 40))
LIMITS = DeviceLimits(max_segment_size=1 << 16)
DEVICE = sim.Device(MEMORY)
REGION = sim.Region(DEVICE)
PAGING, TABLE = Paging(DOMAIN), TableDomain()
TABLE_PAGING = Paging(TABLE)
BOUNCE = Bounce(Staging(MEMORY, MEMORY), dma_mask=(1 << 20) - 1)
HIGH = Phyr.from_pfns([256, 300])


def through(backend: Any, phyr: Phyr) -> Callable[[], None]:  # noqa: ANN401 - of any kind
    """Map a list that pins memory, move its bytes, and take it back."""

    def run() -> None:
        with pin(PAGE) as pinned:
            owned = held(phyr, pinned.phyr.owner, None)
            with dma_map(owned, backend, TO) as mapping:
                mapping.sync_for_device()
                mapping.sync_for_cpu()
                _ = mapping.exposed

    return run


def joined() -> None:
    """Map a list of two owners."""
    with pin(PAGE) as one, pin(BUFFER) as other:
        owned = Phyr.join([held(LOW, one.phyr.owner, None), held(HIGH, other.phyr.owner, None)])
        dma_map(owned, Direct(), TO).unmap()


def several() -> None:
    """Hold several owners, and release them."""
    with pin(PAGE) as one, pin(BUFFER) as other:
        owners = Owners([one.phyr.owner, None, other.phyr.owner])
        owners.hold()
        owners.release()


def pinned(act: Callable[..., object]) -> Callable[[], None]:
    def run() -> None:
        with pin(PAGE) as taken:
            act(taken)

    return run


def allocated() -> None:
    alloc(8192).close()


def cached() -> None:
    with PinCache(1 << 20) as cache:
        with cache.pin(PAGE) as lease:
            _ = lease.phyr
        cache.trim(0)


def pooled() -> None:
    pool = DmaPool(Direct(), 8192)
    try:
        pool.take(100).free()
    finally:
        # CPython 3.11 loses track of an `ExitStack` whose `close` has no memory to begin.
        try:
            pool.close()
        except MemoryError:
            pool.close()
            raise


def moved_by_device() -> None:
    DEVICE.write(LOW, BUFFER)
    DEVICE.readinto(LOW, BUFFER)
    DEVICE.read(LOW)


def by_region() -> None:
    # Without an event loop, which is another's: there is nothing to wait for.
    for work in (REGION.write(0x4000, b"abc"), REGION.read(0x4000, 3)):
        with suppress(StopIteration):
            work.send(None)


def in_map() -> None:
    undo_map()
    IOVAS.map(1 << 40, PHYR)
    IOVAS.unmap((1 << 40) + 4096, 4096)


def undo_map() -> None:
    IOVAS.unmap(1 << 40, 1 << 20)


def iovas() -> None:
    ALLOCATOR.free(ALLOCATOR.alloc(8192))
    ALLOCATOR.free(ALLOCATOR.alloc_for_pages(8192, 1 << 12, align=4096, least=4096, residue=0))


MORE: dict[str, Callable[[], object]] = {
    "pin": pinned(lambda _: None),
    "Pinned": pinned(lambda it: (it.phyr, it.method, it.mappings, it.uaddr, it.length, repr(it))),
    "Pinned.moved": pinned(lambda it: it.moved()),
    "alloc": allocated,
    "PinCache": cached,
    "DmaPool": pooled,
    "pagemap.of": lambda: pagemap.of(PAGE),
    "pagemap.read": lambda: pagemap.read("self", ctypes.addressof(PAGE), 8192),
    "pagemap.vmas": pagemap.vmas,
    "dma_map(Direct), pinned": through(Direct(), LOW),
    "dma_map(BusOffset), pinned": through(BusOffset(1 << 40), LOW),
    "dma_map(Paging), pinned": through(PAGING, LOW),
    "dma_map(Paging of Python), pinned": through(TABLE_PAGING, LOW),
    "dma_map(Bounce), pinned": through(BOUNCE, HIGH),
    "dma_map, two owners": joined,
    "Owners": several,
    "check_backend": lambda: check_backend(Direct, lambda _, address: address),
    "check_domain": lambda: check_domain(TableDomain),
    "TableDomain": lambda: (TABLE.pgsize_bitmap, repr(TABLE)),
    "dma_read": lambda: dma_read(MEMORY, DOMAIN, 0, WINDOW, BUFFER),
    "dma_write": lambda: dma_write(MEMORY, DOMAIN, 0, WINDOW, BUFFER),
    "Device": moved_by_device,
    "Region": by_region,
    "DeviceLimits": lambda: list(LIMITS.segments(LOW)),
    "IovaAllocator": iovas,
    "first_beyond": lambda: first_beyond(PHYR, 1 << 30),
    "shift": lambda: shift(PHYR, 4096),
    "held": lambda: held(PHYR, None, 4096),
    "IovaMap.map": in_map,
    "IovaMap.unmap": in_map,
    "IovaMap.clear": IovaMap().clear,
    "IovaMap.ranges": IOVAS.ranges,
    "IovaMap.translate": lambda: IOVAS.translate((1 << 20) + 5),
    "IovaMap.is_whole": lambda: IOVAS.is_whole(1 << 20, 4096),
    "IovaMap.__repr__": lambda: repr(IOVAS),
    "Index.lists": lambda: INDEX.lists,
    "Index.find": lambda: INDEX.find(1 << 33),
    "Index.__repr__": lambda: repr(INDEX),
    "Index": lambda: Index([PHYR]),
    "error: add": lambda: PHYR + 3,  # type: ignore[operator]
    "error: radd": lambda: 3 + PHYR,  # type: ignore[operator]
    "error: too few": MEMORY.read,  # type: ignore[dict-item]
    "error: too many": lambda: MEMORY.read(1, 2, 3),  # type: ignore[call-arg,arg-type]
    "error: no list": lambda: MEMORY.free(3),  # type: ignore[arg-type]
    "error: no keyword": lambda: sim.scatter(4096, x=1),  # type: ignore[call-arg]
    "error: no sequence": lambda: sim.scatter(4096, orders=3),  # type: ignore[arg-type]
    "error: new": lambda: Builder(foo=3),  # type: ignore[call-arg]
    "desc.from_ranges": lambda: desc.from_ranges([(4096, 8192)]),
}


def members(name: str, cls: type, target: object) -> None:
    """Add what reads a frozen object: attributes, and methods by hand."""
    for member in vars(cls):
        if not member.startswith("_") and not callable(getattr(target, member)):
            MORE[f"{name}.{member}"] = lambda member=member: getattr(target, member)  # type: ignore[misc]


MORE |= {
    "FrozenPhyr.open": lambda: FrozenPhyr.open(BYTES),
    "FrozenPhyr.from_bytes": lambda: FrozenPhyr.from_bytes(BYTES),
    "FrozenPhyr.to_bytes": FROZEN.to_bytes,
    "FrozenPhyr.thaw": FROZEN.thaw,
    "FrozenPhyr.validate": FROZEN.validate,
    "FrozenPhyr.stats": FROZEN.stats,
    "FrozenPhyr.orders": FROZEN.orders,
    "FrozenPhyr.overlap": lambda: FROZEN.overlap(PHYR),
    "FrozenPhyr.intersect": lambda: FROZEN.intersect(PHYR),
    "FrozenPhyr.within": lambda: FROZEN.within(0, 1 << 62),
    "FrozenPhyr.translate": lambda: FROZEN.translate([0, 5000]),
    "FrozenPhyr.pages": lambda: FROZEN.pages(4096),
    "FrozenPhyr.split": lambda: FROZEN.split(4096),
    "FrozenPhyr.__getitem__": lambda: (FROZEN[5000], FROZEN[16:5000]),
    "FrozenPhyr.__add__": lambda: FROZEN + PHYR,
    "FrozenPhyr.__eq__": lambda: FROZEN == PHYR,
    "FrozenPhyr.__repr__": lambda: repr(FROZEN),
    "FrozenPhyr.__reduce__": FROZEN.__reduce__,
    "Chunks.find, frozen": lambda: FROZEN_CHUNKS.find(8192),
    "Chunks.position, frozen": lambda: FROZEN_CHUNKS.position(1),
    "Chunks.index, frozen": lambda: FROZEN_CHUNKS.index(FROZEN_CHUNKS[1]),
    "Chunks.count, frozen": lambda: FROZEN_CHUNKS.count((1 << 40, 4096)),
    "Chunks.__iter__, frozen": lambda: list(FROZEN_CHUNKS),
    "Chunks.__repr__, frozen": lambda: repr(FROZEN_CHUNKS),
    "Chunks.table, frozen": lambda: FROZEN_CHUNKS.table(position=True),
    "Chunks.__arrow_c_array__, frozen": FROZEN_CHUNKS.__arrow_c_array__,
    "Chunks.__arrow_c_schema__, frozen": FROZEN_CHUNKS.__arrow_c_schema__,
    "Chunks.__arrow_c_stream__, frozen": FROZEN_CHUNKS.__arrow_c_stream__,
}
members("FrozenPhyr", FrozenPhyr, FROZEN)
for _member in ("paddrs", "lengths"):
    MORE[f"Chunks.{_member}, frozen"] = lambda member=_member: getattr(FROZEN_CHUNKS, member)  # type: ignore[misc]


def leftovers() -> list[str]:
    """Return what operations left behind."""
    undo_map()
    found = [repr(hold) for hold in list(_ALIVE) if hold.mappings or hold._is_pinned]  # noqa: SLF001
    if PAGING.iovas.__len__() or TABLE_PAGING.iovas.__len__():
        found.append(f"windows: {PAGING!r} {TABLE_PAGING!r}")
    if len(IOVAS) != 1:
        found.append(repr(IOVAS))
    return found
