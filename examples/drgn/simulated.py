"""drgn debugs a simulated machine: a list from page tables, read through the debugger.

`Memory` of phyr.sim is a segment of physical memory of a drgn program. The tables of the simulated
IOMMU lie in it, as those of a task do in a real machine; the walk below reads them by drgn alone.
"""

import time
from collections.abc import Iterator

from drgn import Architecture, Platform, PlatformFlags, Program

from phyr import Phyr
from phyr.iommu import Direction, Paging, dma_map
from phyr.sim import Memory, SimDomain

PAGE_LG2 = 12
PRESENT, LARGE = 3, 1 << 7  # of Intel VT-d's second-stage entries: read or write, and page size
ADDRESS = 0x000F_FFFF_FFFF_F000


def program(memory: Memory) -> Program:
    """Return a program whose physical memory is simulated."""
    flags = PlatformFlags.IS_64_BIT | PlatformFlags.IS_LITTLE_ENDIAN
    prog = Program(Platform(Architecture.X86_64, flags))

    def read(_address: int, count: int, paddr: int, _physical: bool) -> bytes:  # noqa: FBT001 - drgn's
        return memory.read_at(paddr, count)

    prog.add_memory_segment(0, memory.size, read, physical=True)
    return prog


def pages(prog: Program, root: int, start: int, length: int) -> Iterator[tuple[int, int]]:
    """Yield the (paddr, length) behind each page of a range, from tables of four levels."""
    at, end = start, start + length
    while at < end:
        table = root
        for shift in (39, 30, 21, PAGE_LG2):
            entry = prog.read_u64(table + (at >> shift & 511) * 8, physical=True)
            if not entry & PRESENT:
                raise LookupError(f"{at:#x} is not mapped")
            table = entry & ADDRESS
            if shift == PAGE_LG2 or entry & LARGE:
                step = min((1 << shift) - at % (1 << shift), end - at)
                yield table + at % (1 << shift), step
                at += step
                break


def main() -> None:
    """Map a scattered buffer, and find it again through the debugger."""
    memory = Memory(1 << 32)
    domain = SimDomain(memory)
    buffer = memory.scatter(8 << 20, seed=1, orders=[0, 3, 9])
    memory.write(buffer[0x1234:0x123A], b"drgn!\n")
    with dma_map(buffer, Paging(domain), Direction.TO_DEVICE) as mapping:
        prog = program(memory)
        began = time.perf_counter()
        found = Phyr.from_chunks(pages(prog, domain.root, mapping.dma[0], len(buffer)))
        print(f"{found}, in {(time.perf_counter() - began) * 1e3:.1f} ms")
        print("the same list:", found == buffer)
        print("through drgn:", prog.read(found[0x1234], 5, physical=True))


if __name__ == "__main__":
    main()
