"""Independent readers and writers of descriptors: slow, obvious, and none of phyr's own code.

Everything works on plain (paddr, length) pairs in bytes, in Python's integers.
"""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from hypothesis import strategies as st

Range = tuple[int, int]
GOLDEN = Path(__file__).parents[1] / "golden"
VMEMMAP = 0xEA00_0000_0000_0000  # low enough for a struct page of every page
ALL = (1 << 64) - 1


def golden(name: str) -> bytes:
    """Return a byte image; what follows a # is text, the rest is hexadecimal."""
    lines = (GOLDEN / name).read_text().splitlines()
    return bytes.fromhex("".join(line.partition("#")[0] for line in lines))


def merged(ranges: list[Range]) -> list[Range]:
    """Return maximal runs, without empty ranges."""
    runs: list[Range] = []
    for paddr, length in ranges:
        if length and runs and sum(runs[-1]) == paddr:
            runs[-1] = (runs[-1][0], runs[-1][1] + length)
        elif length:
            runs.append((paddr, length))
    return runs


def segments(
    chunks: list[Range], size: int = ALL, boundary: int = ALL, align: int = 1, virt: int = 0
) -> list[Range]:
    """Return what a device gets: each segment as long as all four rules allow."""
    result = []
    for paddr, length in chunks:
        start, end = paddr, paddr + length
        while start < end:
            by_size = start // align * align + size // align * align
            by_boundary = (start // (boundary + 1) + 1) * (boundary + 1)
            stop = min(end, by_size, by_boundary)
            if stop < end:
                stop = stop // (virt + 1) * (virt + 1)
            result.append((start, stop - start))
            start = stop
    return result


def from_pages_segment(pfns: list[int], offset: int, length: int, size: int) -> list[Range]:
    """Return the segments of an array of pages, page by page, as the kernel describes them.

    Source: the comment of ``sg_alloc_table_from_pages_segment()``, lib/scatterlist.c.
    """
    result: list[Range] = []
    pages_in = 0
    for number, pfn in enumerate(pfns):
        first = offset if number == 0 else 0
        count = min(4096 - first, length)
        length -= count
        joins = number > 0 and pfns[number - 1] + 1 == pfn and pages_in < size // 4096
        if joins:
            result[-1] = (result[-1][0], result[-1][1] + count)
            pages_in += 1
        else:
            result.append((pfn * 4096 + first, count))
            pages_in = 1
    return result


def walk_scatterlist(data: bytes, address: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (paddr, length, dma_address, dma_length), as ``sg_next()`` walks."""
    at = 0
    while True:
        link, offset, length, dma_address, dma_length, flags = struct.unpack_from(
            "<QIIQII", data, at
        )
        assert flags == 0
        if link & 1:
            assert at % 4096 == 4064, "a link is the last of its block"
            assert (offset, length, dma_address, dma_length) == (0, 0, 0, 0)
            at = (link & ~3) - address
            continue
        page = (link & ~3) - VMEMMAP
        assert page % 64 == 0
        yield page // 64 * 4096 + offset, length, dma_address, dma_length
        if link & 2:
            assert at + 32 == len(data), "nothing follows the end"
            return
        at += 32


def write_prp_lists(entries: list[int], blocks: list[int], page_size: int) -> bytes:
    """Return the bytes of list pages at `blocks`, entry by entry.

    Source: NVM Express Base Specification 2.0, section 4.1.1: the last entry of a list page points
    to the next one if more entries follow than fit.
    """
    slots = page_size // 8
    image: list[int] = []
    for number, entry in enumerate(entries):
        in_last_slot = len(image) % slots == slots - 1
        if in_last_slot and number < len(entries) - 1:
            image.append(blocks[len(image) // slots + 1])
        image.append(entry)
    return struct.pack(f"<{len(image)}Q", *image)


class Controller:
    """An NVMe controller's view of memory: descriptors are read from where they were written."""

    def __init__(self, blocks: list[int], block_size: int, data: bytes) -> None:
        """Write the bytes of the table to the blocks, in order."""
        self.memory = {
            block: data[number * block_size : (number + 1) * block_size]
            for number, block in enumerate(blocks)
        }
        self.block_size = block_size

    def read(self, address: int, length: int) -> bytes:
        """Return what is at an address."""
        for block, data in self.memory.items():
            if block <= address < block + self.block_size:
                return data[address - block :][:length]
        raise AssertionError(hex(address))

    def follow_prps(self, prp1: int, prp2: int, length: int) -> list[Range]:
        """Return the memory of a transfer, page by page."""
        page = self.block_size
        ranges = [(prp1, min(length, page - prp1 % page))]
        length -= ranges[0][1]
        if not length:
            assert prp2 == 0
            return ranges
        if length <= page:
            assert prp2 % page == 0
            return [*ranges, (prp2, length)]
        entries: list[int] = []
        needed = -(-length // page)
        while needed > page // 8:
            *these, prp2 = struct.unpack(f"<{page // 8}Q", self.read(prp2, page))
            entries += these
            needed -= len(these)
        entries += struct.unpack(f"<{needed}Q", self.read(prp2, needed * 8))
        for entry in entries:
            assert entry % page == 0
            ranges.append((entry, min(length, page)))
            length -= ranges[-1][1]
        assert length == 0
        return ranges

    def follow_sgl(self, sgl1: bytes) -> list[Range]:
        """Return the memory of a transfer, block by block."""
        ranges = []
        todo, is_last = [sgl1], False
        while todo:
            descriptor = todo.pop(0)
            address, length, zero, kind = struct.unpack("<QI3sB", descriptor)
            assert zero == bytes(3)
            if kind == 0x00:
                ranges.append((address, length))
                continue
            assert kind in (0x20, 0x30)
            assert not is_last
            assert not todo
            is_last = kind == 0x30
            data = self.read(address, length)
            assert len(data) == length
            todo = [data[at : at + 16] for at in range(0, length, 16)]
        return ranges


def best_pgsize(chunks: list[Range], bitmap: int, iova: int) -> int:
    """Return the best size by trying all."""
    sizes = [1 << bit for bit in range(12, 64) if bitmap >> bit & 1]
    last = iova + sum(length for _, length in chunks) - 1
    enough = [size for size in sizes if iova // size == last // size]
    best = 0
    for size in sizes:
        if enough and size > enough[0]:
            break
        va, fits = iova, True
        for number, (paddr, length) in enumerate(chunks):
            fits &= (paddr - va) % size == 0 and (number == 0 or va % size == 0)
            va += length
        if fits:
            best = size
    return best


def in_pieces(fill: Callable[[bytearray], int], sizes: list[int]) -> bytes:
    """Return all that `fill` writes to buffers of these sizes, the last again and again."""
    result = b""
    for turn in range(1_000_000):
        buffer = bytearray(sizes[min(turn, len(sizes) - 1)])
        written = fill(buffer)
        if not written:
            return result
        assert not any(buffer[written:]), "nothing is written beyond what is said"
        result += buffer[:written]
    raise AssertionError(sizes)


@st.composite
def runs(draw: st.DrawFn, unit: int = 4096, *, most: int = 40, count: int = 8) -> list[Range]:
    """Draw (paddr, length) in whole units; some touch the one before, some end the space."""
    result: list[Range] = []
    limit = (1 << 64) // unit
    for _ in range(draw(st.integers(1, count))):
        pages = draw(st.integers(1, most) | st.sampled_from([1, 2, 16, 512]))
        start = draw(st.integers(1, 4096) | st.integers(0, limit - pages))
        if result and draw(st.integers(0, 3)) == 0:
            start = sum(result[-1]) // unit
        if draw(st.integers(0, 9)) == 0:
            start = limit - pages
        start = min(start, limit - pages)
        result.append((start * unit, pages * unit))
    return merged(result)


@st.composite
def buffers(draw: st.DrawFn, unit: int = 4096, *, step: int = 1) -> list[Range]:
    """Draw runs whose first starts inside a unit, and whose last ends inside one."""
    whole = draw(runs(unit))
    head = draw(st.integers(0, (unit - step) // step)) * step
    tail = draw(st.integers(0, unit - 1))
    (paddr, length), *rest = whole
    if rest:
        last, size = rest[-1]
        return [(paddr + head, length - head), *rest[:-1], (last, size - tail)]
    tail = min(tail, length - head - 1)
    return [(paddr + head, length - head - tail)]
