"""Every operation of the public API, so that its cost can be counted at several sizes.

``python operations.py SIZE...`` does each operation at each size, between two calls of `getppid`,
at which a counter of instructions can be read.
"""

from __future__ import annotations

import copy
import os
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from itertools import repeat
from typing import Any, Final

from phyr import Builder, Chunk, FrozenPhyr, Index, Phyr, desc, iommu, sim

PAGE = 4096
SIZES = 1 << 12 | 1 << 21 | 1 << 30
IOVA = 1 << 40
VMEMMAP = 0xFFFF_EA00_0000_0000


class Data:
    """The data of operations on `n` chunks, each made when it is first asked for."""

    def __init__(self, n: int) -> None:
        """Of chunks of one to eight pages, none of which touches the next."""
        self.n = n
        self.paddrs = array("Q", (0x10_0000 + (i * 16 << 12) for i in range(n)))
        self.lengths = array("Q", ((1 + i * 7 % 8) << 12 for i in range(n)))
        self.pages = array("Q", (0x10_0000 + (i * 3 << 12) for i in range(n)))
        self.pfns = array("Q", (page >> 12 for page in self.pages))
        self.phyr = Phyr.from_chunks(self.paddrs, self.lengths)
        self.twin = Phyr.from_chunks(self.paddrs, self.lengths)
        self.positions = array("Q", (i * 0x9E37_79B9 % len(self.phyr) for i in range(n)))

    @cached_property
    def chunks(self) -> list[Chunk]:
        return list(self.phyr.chunks)

    @cached_property
    def parts(self) -> list[Phyr]:
        return list(self.phyr.split(len(self.phyr) // self.n))

    @cached_property
    def singles(self) -> Phyr:
        return Phyr.from_pages(self.pages)

    @cached_property
    def frozen(self) -> FrozenPhyr:
        return self.phyr.freeze()

    @cached_property
    def twin_frozen(self) -> FrozenPhyr:
        return self.twin.freeze()

    @cached_property
    def lists(self) -> Phyr:
        return Phyr.from_chunks([(1 << 50, len(self.phyr) + (1 << 20))])

    @cached_property
    def window(self) -> Phyr:
        return Phyr.from_chunks([(IOVA, len(self.phyr))])

    @cached_property
    def memory(self) -> sim.Memory:
        return sim.Memory(1 << 40)

    @cached_property
    def scattered(self) -> Phyr:
        return self.memory.scatter(self.n * PAGE, seed=1)

    def plan(self) -> iommu.Plan:
        return iommu.plan_map(self.phyr, IOVA, SIZES)

    def domain(self) -> sim.SimDomain:
        """A domain that maps the list."""
        domain = sim.SimDomain(self.memory)
        domain.map_batch(self.plan(), iommu.Prot.READ)
        return domain

    def reader(self, data: bytes) -> Callable[[int, int], bytes]:
        return lambda at, count: data[at - (1 << 50) : at - (1 << 50) + count]


def consume(items: Iterator[object]) -> None:
    """Walk to the end."""
    for _ in items:
        pass


def each(call: Callable[..., object], items: Iterable[Any]) -> Callable[[], None]:
    """Call once for each item."""
    return lambda: consume(map(call, items))


def builder(name: str, *of: str) -> Callable[[Data], Callable[[], object]]:
    """Call a method of an empty builder."""
    return lambda d: partial(getattr(Builder(), name), *(getattr(d, key) for key in of))


def append(d: Data) -> Callable[[], None]:
    one = Builder()
    return lambda: consume(map(one.append, d.paddrs, d.lengths))


def full(d: Data) -> Builder:
    one = Builder()
    one.extend_chunks(d.paddrs, d.lengths)
    return one


def frozen_index(d: Data) -> Index:
    return Index(d.parts)


def identity(kind: Callable[[], iommu.DmaBackend]) -> Callable[[Data], Callable[[], object]]:
    """Map and unmap through a backend that needs no tables."""

    def both(d: Data) -> Callable[[], object]:
        backend = kind()
        return lambda: iommu.dma_unmap(iommu.dma_map(d.phyr, backend, iommu.Direction.TO_DEVICE))

    return both


def paging(d: Data) -> Callable[[], object]:
    """Map and unmap through a simulated domain."""
    domain = sim.SimDomain(d.memory)
    backend = iommu.Paging(domain)
    return lambda: iommu.dma_unmap(iommu.dma_map(d.phyr, backend, iommu.Direction.TO_DEVICE))


def from_prp(d: Data) -> Callable[[], object]:
    table = desc.prp(d.phyr, d.lists)
    read = d.reader(table.lists.tobytes())
    return lambda: desc.from_prp(table.prp1, table.prp2, len(d.phyr), read)


def from_kho_radix(d: Data) -> Callable[[], object]:
    made = desc.kho_radix(d.singles, d.lists)
    return partial(desc.from_kho_radix, made[0], d.reader(bytes(made[1])))


def from_kho_vmalloc(d: Data) -> Callable[[], object]:
    made = desc.kho_vmalloc(d.singles, d.lists)
    return partial(desc.from_kho_vmalloc, made[0], d.reader(bytes(made[1])))


def from_sgl(d: Data) -> Callable[[], object]:
    table = desc.sgl(d.phyr, d.lists)
    read = d.reader(table.segments.tobytes())
    return lambda: desc.from_sgl(table.sgl1, read)


def vector(d: Data) -> desc.Descriptors:
    return desc.phys_vecs(d.phyr)


def fill(d: Data) -> Callable[[], object]:
    table = vector(d)
    return partial(table.fill, bytearray(table.nbytes))


def iova_map(d: Data) -> iommu.IovaMap:
    made: iommu.IovaMap = iommu.IovaMap()
    for at, part in enumerate(d.parts[: d.n]):
        made.map(at << 20, part, at)
    return made


def ranges(made: iommu.IovaMap) -> object:
    """Return all ranges of a map."""
    return list(made.ranges())


def unmap_each(d: Data) -> Callable[[], None]:
    made = iova_map(d)
    return each(lambda at: made.unmap(at << 20, len(d.parts[at])), range(len(d.parts[: d.n])))


def map_each(d: Data) -> Callable[[], object]:
    return lambda: iova_map(d)


def alloc_each(d: Data) -> Callable[[], None]:
    space = iommu.IovaAllocator((1 << 20, (1 << 48) - 1))
    return each(lambda _: space.alloc(PAGE), range(d.n))


def free_each(d: Data) -> Callable[[], None]:
    space = iommu.IovaAllocator((1 << 20, (1 << 48) - 1))
    windows = [space.alloc(PAGE) for _ in range(d.n)]
    return each(space.free, windows)


Operation = Callable[[Data], Callable[[], object]]

CHUNKS: Final[dict[str, Operation]] = {
    "__repr__": lambda d: partial(repr, d.phyr.chunks),
    "__hash__": lambda d: partial(hash, d.phyr.chunks),
    "__eq__": lambda d: lambda: d.phyr.chunks == d.twin.chunks,
    "__iter__": lambda d: lambda: consume(iter(d.phyr.chunks)),
    "__reversed__": lambda d: lambda: consume(reversed(d.phyr.chunks)),
    "__getitem__": lambda d: each(d.phyr.chunks.__getitem__, range(d.n)),
    "__len__": lambda d: lambda: len(d.phyr.chunks),
    "__contains__": lambda d: lambda: (1, 2) in d.phyr.chunks,
    "index": lambda d: lambda: d.phyr.chunks.index(d.phyr.chunks[-1]),
    "count": lambda d: lambda: d.phyr.chunks.count(Chunk(1, 2)),
    "find": lambda d: each(d.phyr.chunks.find, d.positions),
    "position": lambda d: each(d.phyr.chunks.position, range(d.n)),
    "paddrs": lambda d: lambda: d.phyr.chunks.paddrs,
    "lengths": lambda d: lambda: d.phyr.chunks.lengths,
    "table": lambda d: d.phyr.chunks.table,
    "__array__": lambda d: d.phyr.chunks.__array__,
    "__arrow_c_array__": lambda d: d.phyr.chunks.__arrow_c_array__,
    "__arrow_c_stream__": lambda d: d.phyr.chunks.__arrow_c_stream__,
}
"""Of the chunks of a list in either form."""


def frozen(operation: Operation) -> Operation:
    """Do the same with frozen lists."""

    def of(d: Data) -> Callable[[], object]:
        other = copy.copy(d)
        other.phyr, other.twin = d.frozen, d.twin_frozen  # type: ignore[assignment]
        return operation(other)

    return of


LISTS: Final[dict[str, Operation]] = {
    "__repr__": lambda d: partial(repr, d.phyr),
    "__hash__": lambda d: partial(hash, d.phyr),
    "__eq__": lambda d: lambda: d.phyr == d.twin,
    "__len__": lambda d: partial(len, d.phyr),
    "__getitem__": lambda d: each(d.phyr.__getitem__, d.positions),
    "__copy__": lambda d: partial(copy.copy, d.phyr),
    "__deepcopy__": lambda d: partial(copy.deepcopy, d.phyr),
    "__reduce__": lambda d: d.phyr.__reduce__,
    "to_bytes": lambda d: d.phyr.to_bytes,
    "pages": lambda d: partial(d.phyr.pages, PAGE),
    "translate": lambda d: partial(d.phyr.translate, d.positions),
    "split": lambda d: partial(d.phyr.split, len(d.phyr) // d.n),
    "validate": lambda d: d.phyr.validate,
    "stats": lambda d: d.phyr.stats,
    "orders": lambda d: d.phyr.orders,
    "overlap": lambda d: partial(d.phyr.overlap, d.twin),
    "intersect": lambda d: partial(d.phyr.intersect, d.twin),
    "within": lambda d: partial(d.phyr.within, 0, 1 << 62),
}
"""Of `Phyr`, and of `FrozenPhyr`."""

OPERATIONS: Final[dict[str, Operation]] = {
    **{f"Phyr.{name}": of for name, of in LISTS.items()},
    **{f"FrozenPhyr.{name}": frozen(of) for name, of in LISTS.items()},
    **{f"Chunks.{name}": of for name, of in CHUNKS.items()},
    **{f"Chunks.{name}, frozen": frozen(of) for name, of in CHUNKS.items()},
    "Phyr.__add__": lambda d: lambda: d.phyr + d.twin,
    "FrozenPhyr.__add__": lambda d: lambda: d.frozen + d.twin,
    "Phyr.from_chunks": lambda d: partial(Phyr.from_chunks, d.paddrs, d.lengths),
    "Phyr.from_pfns": lambda d: partial(Phyr.from_pfns, d.pfns),
    "Phyr.from_pages": lambda d: partial(Phyr.from_pages, d.pages),
    "Phyr.from_bytes": lambda d: partial(Phyr.from_bytes, d.phyr.to_bytes()),
    "Phyr.join": lambda d: partial(Phyr.join, d.parts),
    "Phyr.compact": lambda d: d.phyr.compact,
    "Phyr.freeze": lambda d: d.phyr.freeze,
    "Phyr.chunks": lambda d: lambda: d.phyr.chunks,
    "FrozenPhyr.from_bytes": lambda d: partial(FrozenPhyr.from_bytes, d.frozen.to_bytes()),
    "FrozenPhyr.thaw": lambda d: d.frozen.thaw,
    "FrozenPhyr.chunks": lambda d: lambda: d.frozen.chunks,
    "Column.__repr__": lambda d: partial(repr, d.phyr.chunks.paddrs),
    "Column.__iter__": lambda d: partial(consume, iter(d.phyr.chunks.paddrs)),
    "Column.__reversed__": lambda d: partial(consume, reversed(d.phyr.chunks.paddrs)),
    "Column.__getitem__": lambda d: each(d.phyr.chunks.paddrs.__getitem__, range(d.n)),
    "Column.__len__": lambda d: partial(len, d.phyr.chunks.paddrs),
    "Column.__contains__": lambda d: partial(d.phyr.chunks.paddrs.__contains__, 1),
    "Column.index": lambda d: partial(d.phyr.chunks.paddrs.index, d.paddrs[-1]),
    "Column.count": lambda d: partial(d.phyr.chunks.paddrs.count, 1),
    "Column.__array__": lambda d: d.phyr.chunks.paddrs.__array__,
    "Column.__dlpack__": lambda d: d.phyr.chunks.paddrs.__dlpack__,
    "Column.__arrow_c_array__": lambda d: d.phyr.chunks.paddrs.__arrow_c_array__,
    "Builder.__repr__": lambda d: partial(repr, full(d)),
    "Builder.append": append,
    "Builder.extend_pfns": builder("extend_pfns", "pfns"),
    "Builder.extend_pages": builder("extend_pages", "pages"),
    "Builder.extend_chunks": builder("extend_chunks", "paddrs", "lengths"),
    "Builder.extend": builder("extend", "phyr"),
    "Builder.finish": lambda d: full(d).finish,
    "Index.__repr__": lambda d: partial(repr, frozen_index(d)),
    "Index.__len__": lambda d: partial(len, frozen_index(d)),
    "Index.find": lambda d: each(frozen_index(d).find, d.paddrs),
    "desc.best_pgsize": lambda d: partial(desc.best_pgsize, d.phyr, SIZES, IOVA),
    "desc.bio_vecs": lambda d: partial(desc.bio_vecs, d.phyr, vmemmap=VMEMMAP),
    "desc.iovecs": lambda d: partial(desc.iovecs, d.phyr, 0x7F00_0000_0000),
    "desc.phys_vecs": lambda d: partial(desc.phys_vecs, d.phyr),
    "desc.scatterlist": lambda d: partial(desc.scatterlist, d.phyr, vmemmap=VMEMMAP),
    "desc.prp": lambda d: partial(desc.prp, d.phyr, d.lists),
    "desc.sgl": lambda d: partial(desc.sgl, d.phyr, d.lists),
    "desc.page_list": lambda d: partial(desc.page_list, d.phyr, PAGE),
    "desc.split": lambda d: partial(desc.split, d.phyr, list(repeat(len(d.phyr) // d.n, d.n))),
    "desc.from_bio_vecs": lambda d: partial(
        desc.from_bio_vecs, desc.bio_vecs(d.phyr, vmemmap=VMEMMAP).tobytes(), vmemmap=VMEMMAP
    ),
    "desc.from_iovecs": lambda d: partial(
        desc.from_iovecs, desc.iovecs(d.phyr, 1 << 46).tobytes(), 1 << 46
    ),
    "desc.from_phys_vecs": lambda d: partial(desc.from_phys_vecs, vector(d).tobytes()),
    "desc.from_scatterlist": lambda d: partial(
        desc.from_scatterlist,
        desc.scatterlist(d.phyr, vmemmap=VMEMMAP).tobytes(),
        vmemmap=VMEMMAP,
    ),
    "desc.from_prp": from_prp,
    "desc.dma_buf_vecs": lambda d: partial(desc.dma_buf_vecs, d.phyr),
    "desc.from_dma_buf_vecs": lambda d: partial(
        desc.from_dma_buf_vecs, bytes(desc.dma_buf_vecs(d.phyr)), len(d.phyr)
    ),
    "desc.memfd_folios": lambda d: partial(desc.memfd_folios, d.singles),
    "desc.from_memfd_folios": lambda d: partial(
        desc.from_memfd_folios, bytes(desc.memfd_folios(d.singles)), len(d.singles)
    ),
    "desc.kho_radix": lambda d: partial(desc.kho_radix, d.singles, d.lists),
    "desc.from_kho_radix": from_kho_radix,
    "desc.kho_vmalloc": lambda d: partial(desc.kho_vmalloc, d.singles, d.lists),
    "desc.from_kho_vmalloc": from_kho_vmalloc,
    "desc.from_sgl": from_sgl,
    "desc.from_ranges": lambda d: partial(desc.from_ranges, [(a, a + b - 1) for a, b in d.chunks]),
    "desc.from_iomem": lambda d: partial(
        desc.from_iomem, "".join(f"{a:x}-{a + b - 1:x} : System RAM\n" for a, b in d.chunks)
    ),
    "desc.vfio_maps": lambda d: partial(desc.vfio_maps, d.phyr, 1 << 46),
    "desc.ioas_maps": lambda d: partial(desc.ioas_maps, d.phyr, 1 << 46, ioas_id=1),
    "desc.map_requests": lambda d: partial(desc.map_requests, d.phyr, 1 << 46),
    "desc.Descriptors.tobytes": lambda d: vector(d).tobytes,
    "desc.Descriptors.fill": fill,
    "desc.Descriptors.rewind": lambda d: vector(d).rewind,
    "iommu.alignment": lambda d: partial(iommu.alignment, d.phyr, SIZES),
    "iommu.plan_map": lambda d: d.plan,
    "iommu.Plan.iovas": lambda d: partial(getattr, d.plan(), "iovas"),
    "iommu.Plan.paddrs": lambda d: partial(getattr, d.plan(), "paddrs"),
    "iommu.Plan.pgsizes": lambda d: partial(getattr, d.plan(), "pgsizes"),
    "iommu.Plan.pgcounts": lambda d: partial(getattr, d.plan(), "pgcounts"),
    "iommu.Plan.unmaps": lambda d: d.plan().unmaps,
    "iommu.dma_map": identity(iommu.Direct),
    "iommu.dma_unmap": identity(lambda: iommu.BusOffset(1 << 30)),
    "iommu.Paging.map": paging,
    "iommu.IovaMap.map": map_each,
    "iommu.IovaMap.unmap": unmap_each,
    "iommu.IovaMap.clear": lambda d: iova_map(d).clear,
    "iommu.IovaMap.translate": lambda d: each(
        iova_map(d).translate, [at << 20 for at in range(d.n)]
    ),
    "iommu.IovaMap.ranges": lambda d: partial(ranges, iova_map(d)),
    "iommu.IovaAllocator.alloc": alloc_each,
    "iommu.IovaAllocator.free": free_each,
    "sim.Memory.scatter": lambda d: lambda: d.memory.scatter(d.n * PAGE, seed=1),
    "sim.Memory.write": lambda d: partial(d.memory.write, d.scattered, bytes(d.n * PAGE)),
    "sim.Memory.read": lambda d: partial(d.memory.read, d.scattered),
    "sim.SimDomain.map_batch": lambda d: d.domain,
    "sim.SimDomain.clear_dirty": lambda d: each(
        d.domain().clear_dirty, [IOVA + at for at in d.positions]
    ),
    "sim.SimDomain.iova_to_phys": lambda d: each(
        d.domain().iova_to_phys, [IOVA + at for at in d.positions]
    ),
    "sim.SimDomain.unmap_pages": lambda d: partial(
        d.domain().unmap_pages, IOVA, PAGE, len(d.phyr) // PAGE
    ),
}

ATTRIBUTE = "an attribute that is kept, not computed"
KERNEL = "asks the kernel, of whose work instructions say nothing"
ONE = "takes one thing of a fixed size"
CALLER = "a protocol, for others to fulfil"

EXCEPTIONS: Final[dict[str, str]] = {
    **dict.fromkeys(
        [
            "*.granule",
            "*.kind",
            "*.length",
            "*.owner",
            "*.uaddr",
            "Chunk.*",
            "Stats.*",
            "Holder.*",
            "Index.lists",
            "desc.Prp.*",
            "desc.Kho*",
            "desc.Sgl.*",
            "desc.Descriptors.[nid]*",
            "iommu.Direction.*",
            "iommu.Prot.*",
            "iommu.Otherwise.*",
            "iommu.Plan.iova",
            "iommu.Plan.phyr",
            "iommu.Plan.pgsize_bitmap",
            "iommu.Mapping.[euop]*",
            "iommu.Mapping.d*",
            "sim.Leaf.*",
            "iommu.DeviceLimits.*_*",
            "sim.Counters.*",
            "sim.FaultReason.*",
            "sim.SimDomain.[prlacm]*",
            "sim.Memory.size",
            "sim.Memory.resident",
            "sim.Memory.free_bytes",
            "iommu.Copy.original",
            "iommu.Copy.copy",
            "iommu.IovaMap.is_whole",
            "sim.Columns.*",
            "pagemap.State.*",
            "pagemap.PageFlag.*",
            "pagemap.Vma.*",
            "pagemap.Extent.*",
            "pagemap.Folio*",
            "pagemap.Resident.*",
        ],
        ATTRIBUTE,
    ),
    **dict.fromkeys(
        [
            "alloc",
            "pin",
            "include",
            "Allocation.*",
            "DmaPool.*",
            "Pin*",
            "FrozenPhyr.open",
            "pagemap.[cfoprv]*",
            "pagemap.Pagemap.*",
        ],
        KERNEL,
    ),
    **dict.fromkeys(
        [
            "iommu.BatchDomain.*",
            "iommu.DmaBackend.*",
            "iommu.ExposingBackend.*",
            "iommu.Owner.*",
            "iommu.IommuDomain.*",
            "iommu.CpuMemory.*",
            "iommu.PagePool.*",
            "iommu.Staging.*",
            "iommu.SyncBackend.*",
            "sim.Region.*",
            "sim.Translator.*",
            "pagemap.Progress",
        ],
        CALLER,
    ),
    **dict.fromkeys(
        [
            "sim.Memory.*_*",
            "sim.Memory.alloc",
            "sim.Memory.reserve",
            "sim.Memory.free",
            "sim.SimDomain.map_pages",
            "sim.SimDomain.lookup",
            "sim.SimDomain.flush_iotlb",
        ],
        ONE,
    ),
    **dict.fromkeys(
        ["iommu.Direct.*", "iommu.BusOffset.*", "iommu.Paging.unmap", "iommu.Mapping.unmap"],
        "counted as dma_map with dma_unmap",
    ),
    **dict.fromkeys(
        ["*.sync_for_*", "iommu.Bounce.*", "iommu.Copy.*", "sim.Device.*", "sim.Memory.readinto"],
        "copies bytes: counted as Memory.read and Memory.write",
    ),
    **dict.fromkeys(["*Phyr.__iter__", "*Phyr.__contains__"], "refused"),
    "iommu.Paging.exposed": ONE,
    "iommu.IovaAllocator.alloc_for_pages": "counted as alloc",
    "iommu.DeviceLimits.*": "counted as the descriptors that take limits",
    "sim.scatter": "counted as Memory.scatter",
    "pagemap.Scan.*": "counted by tests/house/test_instructions.py",
    "testing.*": "a simple domain and tests, for tests",
}
"""Operations that are not counted, by pattern, and why."""


def main(sizes: list[int]) -> None:
    """Do each operation at each size."""
    for size in sizes:
        for name in sorted(OPERATIONS):
            data = Data(size)
            operation = OPERATIONS[name](data)
            os.getppid()
            operation()
            os.getppid()


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]])
