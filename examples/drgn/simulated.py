"""drgn debugs a simulated machine: lists from page tables, read through the debugger.

`Memory` of phyr.sim is a segment of physical memory of a drgn program. In it lie the tables of the
simulated IOMMU, and those of a task of x86-64; the walk below reads both by drgn alone.
"""

import time
from collections.abc import Iterator

from drgn import Architecture, Platform, PlatformFlags, Program

from phyr import Phyr
from phyr.iommu import Direction, Paging, dma_map, plan_map
from phyr.sim import Memory, SimDomain

PAGE_LG2 = 12
# Of entries of Intel VT-d's second stage: readable or writable, and of large pages. An entry of
# x86-64 has bit 0 if it is present, and bit 1 if it is writable.
PRESENT, LARGE = 3, 1 << 7
ADDRESS = 0x000F_FFFF_FFFF_F000
LEVELS = (39, 30, 21, PAGE_LG2)


def program(memory: Memory) -> Program:
    """Return a program whose physical memory is simulated."""
    flags = PlatformFlags.IS_64_BIT | PlatformFlags.IS_LITTLE_ENDIAN
    prog = Program(Platform(Architecture.X86_64, flags))

    def read(_address: int, count: int, paddr: int, _physical: bool) -> bytes:  # noqa: FBT001 - drgn's
        return memory.read_at(paddr, count)

    prog.add_memory_segment(0, memory.size, read, physical=True)
    return prog


def task(memory: Memory, uaddr: int, buffer: Phyr) -> int:
    """Write the page tables of a task, as a kernel of x86-64 does; return the root's address.

    The buffer is at `uaddr`, by huge pages of 2 MiB where both addresses allow one.
    """
    root = memory.alloc(4096)[0]
    sizes = 1 << 21 | 1 << PAGE_LG2
    for start, paddr, pgsize, pgcount in plan_map(buffer, uaddr, pgsize_bitmap=sizes):
        leaf = pgsize.bit_length() - 1
        for number in range(pgcount):
            at, table = start + number * pgsize, root
            for shift in LEVELS[: LEVELS.index(leaf)]:
                slot = table + (at >> shift & 511) * 8
                if not memory.read_u64(slot):
                    memory.write_u64(slot, memory.alloc(4096)[0] | PRESENT)
                table = memory.read_u64(slot) & ADDRESS
            entry = paddr + number * pgsize | PRESENT | (LARGE if leaf > PAGE_LG2 else 0)
            memory.write_u64(table + (at >> leaf & 511) * 8, entry)
    return root


def pages(prog: Program, root: int, start: int, length: int) -> Iterator[tuple[int, int]]:
    """Yield the (paddr, length) behind each page of a range, from tables of four levels."""
    at, end = start, start + length
    while at < end:
        table = root
        for shift in LEVELS:
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
    uaddr = 0x7F00_0020_0000
    root = task(memory, uaddr, buffer)
    found = Phyr.from_chunks(pages(program(memory), root, uaddr, len(buffer)))
    print("of a task, the same list:", found == buffer)


if __name__ == "__main__":
    main()
