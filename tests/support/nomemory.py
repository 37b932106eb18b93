# ruff: noqa: T201 - a program that prints
"""Operations in which one allocation of Python's fails: a program, which may abort.

Prints a line of JSON for each operation: its name, and what came out besides `MemoryError`.
"""

import _testcapi  # type: ignore[import-not-found]
import gc
import itertools
import json
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress

from phyr import AllocationError, Builder, MappedError, Phyr, desc, sim
from phyr._phyr import Area, Loan, PagemapDecoder
from phyr.iommu import BusOffset, Direct, Direction, Paging, alignment, dma_map, dma_unmap, plan_map
from support import nomemory_more

MOST = 600
"""Allocations of an operation that are made to fail, one after the other."""
SECONDS = 2
"""Time for an operation; a long one may have allocations left."""
OTHERS = ("not PosixPath", "can't allocate", "MemoryError", "is in use by")
"""Errors of `os`, locks and `ctypes` in place of `MemoryError`; and of an allocation that is closed
while the traceback of the error still refers to a loan of it."""
QUIET = 50
"""Runs without an error after which no allocation is left to fail."""

BIG = 1 << 40
PHYR = Phyr.from_pfns([1 << 20, (1 << 20) + 1, 1 << 21, 1 << 30])
DATA = PHYR.to_bytes()
CHUNKS = PHYR.chunks
COLUMN = CHUNKS.paddrs
TABLE_OF_CHUNKS = CHUNKS.table(position=True)


class Arrow:
    """A column that can be had by Arrow only."""

    __arrow_c_array__ = staticmethod(COLUMN.__arrow_c_array__)


class Tensor:
    """A column that can be had by DLPack only."""

    __dlpack__ = staticmethod(COLUMN.__dlpack__)
    __dlpack_device__ = staticmethod(COLUMN.__dlpack_device__)


COLUMNS, TENSOR = Arrow(), Tensor()
MEMORY = sim.Memory(1 << 30)
AREA = MEMORY.alloc(0x3000)
DOMAIN = sim.SimDomain(MEMORY)
DOMAIN.map_pages(1 << 32, 0x7000, 0x1000, 4, 3)
PLAN = plan_map(PHYR, 1 << 40, 1 << 12)
TABLE = desc.phys_vecs(PHYR)
BUFFER = bytearray(4096)
FOLIOS = bytes(desc.memfd_folios(PHYR))
NODES = Phyr.from_chunks([(4096, 1 << 20)])
HEAD, CHUNK = (bytes(part) for part in desc.kho_vmalloc(PHYR, NODES))
TREE = desc.kho_radix(PHYR, NODES).nodes
TO = Direction.TO_DEVICE


class Owner:
    """Counts who holds it, by methods that need no memory: what fails is not theirs."""

    def __init__(self) -> None:
        self._held, self._released = itertools.count(), itertools.count()
        self.hold, self.release = self._held.__next__, self._released.__next__

    def count(self) -> int:
        """Return how often it is held, and start over."""
        held, released = (int(repr(it)[6:-1]) for it in (self._held, self._released))
        self.__init__()  # type: ignore[misc]
        return held - released


OWNER = Owner()


def mapped(backend: object) -> Callable[[], None]:
    def run() -> None:
        mapping = dma_map(PHYR, backend, TO, owner=OWNER)  # type: ignore[call-overload]
        mapping.unmap()

    return run


def builder(act: Callable[[Builder], object]) -> Callable[[], object]:
    return lambda: act(Builder())


def remap() -> None:
    # The run before may have failed to undo this.
    with suppress(MappedError):
        DOMAIN.map_pages(1 << 33, 0x7000, 0x1000, 1, 3)
    DOMAIN.unmap_pages(1 << 33, 0x1000, 1)


def map_batch() -> None:
    with suppress(MappedError):
        DOMAIN.map_batch(PLAN, 3)
    DOMAIN.unmap_pages(1 << 40, 4096, 4)


def reserve() -> None:
    with suppress(AllocationError):
        MEMORY.reserve(RESERVED)
    MEMORY.free(RESERVED)


BUS = BusOffset(1 << 40)
MAPPING = dma_map(PHYR, BUS, TO)
RESERVED = Phyr.from_pfns([1 << 17])
SCATTERLIST = bytes(desc.scatterlist(PHYR, vmemmap=0))
SGL1 = (BIG).to_bytes(8, "little") + (4096).to_bytes(8, "little")
PAGING = Paging(DOMAIN)

OPERATIONS: dict[str, Callable[[], object]] = {
    "Phyr.from_chunks": lambda: Phyr.from_chunks([(BIG, 4096), (1 << 50, 4096)]),
    "Phyr.from_pfns": lambda: Phyr.from_pfns([1 << 30, 1 << 31], offset=16),
    "Phyr.from_pages": lambda: Phyr.from_pages([BIG], length=16),
    "Phyr.from_bytes": lambda: Phyr.from_bytes(DATA),
    "Phyr.to_bytes": PHYR.to_bytes,
    "Phyr.length": lambda: PHYR.length,
    "Phyr.granule": lambda: PHYR.granule,
    "Phyr.kind": lambda: PHYR.kind,
    "Phyr.owner": lambda: PHYR.owner,
    "Phyr.uaddr": lambda: PHYR.uaddr,
    "Phyr.chunks": lambda: PHYR.chunks,
    "Phyr.pages": lambda: PHYR.pages(4096),
    "Phyr.split": lambda: PHYR.split(4096),
    "Phyr.freeze": PHYR.freeze,
    "Phyr.join": lambda: Phyr.join([PHYR, PHYR]),
    "Phyr.compact": PHYR.compact,
    "Phyr.translate": lambda: PHYR.translate([0, 5000]),
    "Phyr.stats": PHYR.stats,
    "Phyr.overlap": lambda: PHYR.overlap(PHYR),
    "Phyr.intersect": lambda: PHYR.intersect(PHYR),
    "Phyr.within": lambda: PHYR.within(0, 1 << 62),
    "Phyr.orders": PHYR.orders,
    "Phyr.validate": PHYR.validate,
    "Phyr.__len__": lambda: len(PHYR),
    "Phyr.__getitem__": lambda: (PHYR[5000], PHYR[16:5000]),
    "Phyr.__add__": lambda: PHYR + PHYR,
    "Phyr.__eq__": lambda: PHYR == AREA,
    "Phyr.__hash__": lambda: hash(PHYR),
    "Phyr.__repr__": lambda: repr(PHYR),
    "Phyr.__reduce__": PHYR.__reduce__,
    "Builder.append": builder(lambda b: b.append(BIG, 4096)),
    "Builder.extend": builder(lambda b: b.extend(PHYR)),
    "Builder.extend_chunks": builder(lambda b: b.extend_chunks([(BIG, 4096)])),
    "Builder.extend_pfns": builder(lambda b: b.extend_pfns([1 << 30])),
    "Builder.extend_pages": builder(lambda b: b.extend_pages([BIG])),
    "Builder.finish": builder(lambda b: b.finish()),
    "Builder.length": builder(lambda b: b.length),
    "Builder.granule": builder(lambda b: b.granule),
    "Builder.kind": builder(lambda b: b.kind),
    "Builder.__repr__": builder(repr),
    "Chunks.paddrs": lambda: CHUNKS.paddrs,
    "Chunks.lengths": lambda: CHUNKS.lengths,
    "Chunks.table": lambda: CHUNKS.table(position=True),
    "Chunks.__arrow_c_array__": CHUNKS.__arrow_c_array__,
    "Chunks.__arrow_c_schema__": CHUNKS.__arrow_c_schema__,
    "Chunks.__arrow_c_stream__": CHUNKS.__arrow_c_stream__,
    "Table.__repr__": lambda: repr(TABLE_OF_CHUNKS),
    "Table.__arrow_c_array__": TABLE_OF_CHUNKS.__arrow_c_array__,
    "Phyr.from_pfns, Arrow": lambda: Phyr.from_pages(COLUMNS),
    "Phyr.from_pfns, DLPack": lambda: Phyr.from_pages(TENSOR),
    "Phyr.from_chunks, Arrow": lambda: Phyr.from_chunks(CHUNKS),
    "Chunks.find": lambda: CHUNKS.find(8192),
    "Chunks.position": lambda: CHUNKS.position(1),
    "Chunks.index": lambda: CHUNKS.index(CHUNKS[1]),
    "Chunks.count": lambda: CHUNKS.count((BIG, 4096)),
    "Chunks.__getitem__": lambda: (CHUNKS[1], CHUNKS[1:]),
    "Chunks.__iter__": lambda: list(CHUNKS),
    "Chunks.__reversed__": lambda: list(reversed(CHUNKS)),
    "Chunks.__repr__": lambda: repr(CHUNKS),
    "Column.index": lambda: COLUMN.index(COLUMN[1]),
    "Column.count": lambda: COLUMN.count(BIG),
    "Column.__getitem__": lambda: (COLUMN[1], COLUMN[::2]),
    "Column.__iter__": lambda: list(COLUMN),
    "Column.__reversed__": lambda: list(reversed(COLUMN)),
    "Column.__repr__": lambda: repr(COLUMN),
    "Column.__dlpack__": lambda: COLUMN.__dlpack__(max_version=(1, 0)),
    "Column.__dlpack__, a copy": COLUMN.__dlpack__,
    "Column.__dlpack_device__": COLUMN.__dlpack_device__,
    "Column.__arrow_c_array__": COLUMN.__arrow_c_array__,
    "Column.__arrow_c_schema__": COLUMN.__arrow_c_schema__,
    "Column.__buffer__": lambda: memoryview(COLUMN).tolist(),
    "Plan.iovas": lambda: PLAN.iovas,
    "Plan.paddrs": lambda: PLAN.paddrs,
    "Plan.pgsizes": lambda: PLAN.pgsizes,
    "Plan.pgcounts": lambda: PLAN.pgcounts,
    "Plan.unmaps": lambda: list(PLAN.unmaps()),
    "Plan.__iter__": lambda: list(PLAN),
    "Plan.__repr__": lambda: repr(PLAN),
    "Plan.iova": lambda: PLAN.iova,
    "Plan.phyr": lambda: PLAN.phyr,
    "Plan.pgsize_bitmap": lambda: PLAN.pgsize_bitmap,
    "Descriptors.tobytes": TABLE.tobytes,
    "Descriptors.fill": lambda: TABLE.fill(BUFFER),
    "Descriptors.rewind": TABLE.rewind,
    "Descriptors.nents": lambda: TABLE.nents,
    "Descriptors.nbytes": lambda: TABLE.nbytes,
    "Descriptors.done": lambda: TABLE.done,
    "Descriptors.itemsize": lambda: TABLE.itemsize,
    "Descriptors.__repr__": lambda: repr(TABLE),
    "desc.best_pgsize": lambda: desc.best_pgsize(PHYR, 1 << 40, 1 << 12),
    "desc.bio_vecs": lambda: bytes(desc.bio_vecs(PHYR, vmemmap=0)),
    "desc.iovecs": lambda: bytes(desc.iovecs(PHYR, BIG)),
    "desc.page_list": lambda: bytes(desc.page_list(PHYR, 4096)),
    "desc.phys_vecs": lambda: bytes(desc.phys_vecs(PHYR)),
    "desc.prp": lambda: desc.prp(PHYR, AREA),
    "desc.scatterlist": lambda: bytes(desc.scatterlist(PHYR, vmemmap=0)),
    "desc.sgl": lambda: desc.sgl(PHYR, AREA),
    "desc.split": lambda: desc.split(PHYR, [4096, 4096]),
    "desc.from_bio_vecs": lambda: desc.from_bio_vecs(
        bytes(desc.bio_vecs(PHYR, vmemmap=0)), vmemmap=0
    ),
    "desc.from_iovecs": lambda: desc.from_iovecs(bytes(desc.iovecs(PHYR, BIG)), BIG),
    "desc.from_prp": lambda: desc.from_prp(BIG, 0, 4096, None),
    "desc.from_scatterlist": lambda: desc.from_scatterlist(SCATTERLIST, vmemmap=0),
    "desc.from_sgl": lambda: desc.from_sgl(SGL1, None),
    "iommu.alignment": lambda: alignment(PHYR, 1 << 12 | 1 << 21),
    "desc.from_phys_vecs": lambda: desc.from_phys_vecs(TABLE),
    "desc.map_requests": lambda: bytes(desc.map_requests(PHYR, BIG)),
    "desc.vfio_maps": lambda: bytes(desc.vfio_maps(PHYR, BIG)),
    "desc.ioas_maps": lambda: bytes(desc.ioas_maps(PHYR, BIG, ioas_id=1)),
    "desc.memfd_folios": lambda: bytes(desc.memfd_folios(PHYR)),
    "desc.from_memfd_folios": lambda: desc.from_memfd_folios(FOLIOS, len(PHYR)),
    "desc.kho_vmalloc": lambda: desc.kho_vmalloc(PHYR, NODES),
    "desc.from_kho_vmalloc": lambda: desc.from_kho_vmalloc(HEAD, lambda _, count: CHUNK[:count]),
    "desc.kho_radix": lambda: desc.kho_radix(PHYR, NODES),
    "desc.from_kho_radix": lambda: desc.from_kho_radix(
        4096, lambda at, count: TREE[at - 4096 :][:count]
    ),
    "desc.dma_buf_vecs": lambda: bytes(desc.dma_buf_vecs(PHYR)),
    "desc.from_dma_buf_vecs": lambda: desc.from_dma_buf_vecs(TABLE, len(PHYR)),
    "Memory.size": lambda: MEMORY.size,
    "Memory.resident": lambda: MEMORY.resident,
    "Memory.free_bytes": lambda: MEMORY.free_bytes,
    "Memory.read": lambda: MEMORY.read(AREA),
    "Memory.readinto": lambda: MEMORY.readinto(AREA[:4096], BUFFER),
    "Memory.write": lambda: MEMORY.write(AREA[:4096], BUFFER),
    "Memory.read_u64": lambda: MEMORY.read_u64(0x1000),
    "Memory.write_u64": lambda: MEMORY.write_u64(0x1000, BIG),
    "Memory.read_at": lambda: MEMORY.read_at(0x1000, 0x2000),
    "Memory.write_at": lambda: MEMORY.write_at(0x1000, BUFFER),
    "Memory.__getitem__": lambda: (MEMORY[0x1000:0x3000], MEMORY[0x1000]),
    "Memory.__setitem__": lambda: MEMORY.__setitem__(0x1000, 7),
    "Memory.__repr__": lambda: repr(MEMORY),
    "sim.scatter": lambda: sim.scatter(1 << 16),
    "Memory.alloc": lambda: MEMORY.free(MEMORY.alloc(0x5000)),
    "Memory.free": lambda: MEMORY.free(MEMORY.alloc(0x5000)),
    "Memory.reserve": reserve,
    "Memory.scatter": lambda: MEMORY.free(MEMORY.scatter(0x5000)),
    "SimDomain.aperture": lambda: DOMAIN.aperture,
    "SimDomain.clear_dirty": lambda: DOMAIN.clear_dirty(1 << 32),
    "SimDomain.flush_iotlb": DOMAIN.flush_iotlb,
    "SimDomain.levels": lambda: DOMAIN.levels,
    "SimDomain.map_batch": map_batch,
    "SimDomain.map_pages": remap,
    "SimDomain.memory": lambda: DOMAIN.memory,
    "SimDomain.pgsize_bitmap": lambda: DOMAIN.pgsize_bitmap,
    "SimDomain.reserved": lambda: DOMAIN.reserved,
    "SimDomain.root": lambda: DOMAIN.root,
    "SimDomain.unmap_pages": remap,
    "SimDomain.iova_to_phys": lambda: DOMAIN.iova_to_phys((1 << 32) + 0x1234),
    "SimDomain.lookup": lambda: DOMAIN.lookup(1 << 32),
    "SimDomain.counters": lambda: DOMAIN.counters,
    "SimDomain.__repr__": lambda: repr(DOMAIN),
    "dma_map(Direct)": mapped(Direct()),
    "dma_map(BusOffset)": mapped(BUS),
    "dma_map(Paging)": mapped(PAGING),
    "dma_map, no owner": lambda: dma_unmap(dma_map(PHYR, BUS, TO)),
    "iommu.plan_map": lambda: plan_map(PHYR, 1 << 40, 1 << 12),
    "iommu.dma_map": lambda: dma_map(PHYR, Direct(), TO).unmap(),
    "iommu.dma_unmap": lambda: dma_unmap(dma_map(PHYR, Direct(), TO)),
    "Mapping.direction": lambda: MAPPING.direction,
    "Mapping.dma": lambda: MAPPING.dma,
    "Mapping.exposed": lambda: MAPPING.exposed,
    "Mapping.owner": lambda: MAPPING.owner,
    "Mapping.phyr": lambda: MAPPING.phyr,
    "Mapping.sync_for_cpu": MAPPING.sync_for_cpu,
    "Mapping.sync_for_device": MAPPING.sync_for_device,
    "Mapping.unmap": mapped(BUS),
    "Mapping.unmapped": lambda: MAPPING.unmapped,
    "Mapping.__repr__": lambda: repr(MAPPING),
    "Loan": lambda: Loan(BUFFER).__enter__(),
    "Area": lambda: Area(BUFFER, 0, 16),
    "PagemapDecoder": lambda: PagemapDecoder(BIG, 4096).finish(),
    "error: keyword": lambda: Phyr.from_pfns([1], foo=3),  # type: ignore[call-arg]
    "error: direction": lambda: dma_map(PHYR, Direct(), 3),  # type: ignore[call-overload]
    "error: area": lambda: Area(b"x", 0, 5),
    "error: position": lambda: PHYR[1 << 40],
    "error: slice": lambda: PHYR[::2],
    "error: item": lambda: Phyr.from_pfns([-1]),
    "error: kind": lambda: Phyr.from_pfns([1], kind="x"),
    "error: format": lambda: Phyr.from_bytes(b"x" * 64),
    "error: align": lambda: Phyr.from_chunks([(1, 2), (7, 8)]),
}


OPERATIONS |= nomemory_more.MORE


def is_short(failure: BaseException | None) -> bool:
    """Return true if it says that memory is short, or comes while that is handled."""
    while failure is not None:
        if isinstance(failure, MemoryError) or any(text in str(failure) for text in OTHERS):
            return True
        failure = failure.__context__
    return False


def outcomes(name: str) -> list[str]:
    """Return what comes out besides `MemoryError` and the operation's own error."""
    act = OPERATIONS[name]
    try:
        own: type[BaseException] | None = None
        act()
    except Exception as failure:  # noqa: BLE001 - whatever it raises with memory
        own = type(failure)
    bad = set()
    quiet = 0
    end = time.monotonic() + SECONDS
    for number in range(MOST):
        caught: BaseException | None = None
        _testcapi.set_nomemory(number, number + 1)
        try:
            act()
        except BaseException as failure:  # noqa: BLE001 - a panic is one
            caught = failure
        finally:
            _testcapi.remove_mem_hooks()
        failed, text, short = type(caught), str(caught), is_short(caught)
        caught = None
        gc.collect()
        if held := OWNER.count():
            bad.add(f"held {held} times, allocation {number}")
        bad.update(f"{what}, allocation {number}" for what in nomemory_more.leftovers())
        if time.monotonic() > end:
            break
        if short:
            quiet = 0
            continue
        if failed is not (own or type(None)):
            bad.add(f"{failed.__name__}: {text}, allocation {number}")
        quiet += 1
        if quiet == QUIET:
            break
    return sorted(bad)


def main() -> None:
    """Try the operations that are named, or all."""
    warnings.simplefilter("ignore")
    # Collecting looks only at what operations make.
    gc.collect()
    gc.freeze()
    for name in sys.argv[1:] or OPERATIONS:
        print(json.dumps([name]), end="", flush=True)
        found = outcomes(name)
        print(" " + json.dumps(found), flush=True)
    MAPPING.unmap()
    gc.collect()


if __name__ == "__main__":
    main()
