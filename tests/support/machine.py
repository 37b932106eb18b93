"""A machine made of plain Python, the oracle of mapping: a page table and a memory.

The table is a dict from each smallest page to the page that it shows; the memory is a bytearray.
Neither shares anything with what it judges.
"""

from bisect import insort
from functools import cache

from phyr import Phyr
from phyr.iommu import Prot

Call = tuple[int, int, int, int, Prot]

# The page sizes of a table, a list with pages of both, and one of small pages only.
SIZES = 1 << 12 | 1 << 14
PHYR = Phyr.from_chunks([(0x7000, 0x1000), (0x1_1000, 0x9000), (0x5000, 0x1000), (0x3000, 0x123)])
SMALL = Phyr.from_pages([0x1_9000, 0x1_3000, 0x2_5000, 0x2_6000, 0x0_1000])[0x123:0x4321]


class NoTablePageError(Exception):
    """The error of a table that is told to fail."""


class PageTable:
    """An IOMMU domain that writes down every call, and may be told to fail at one."""

    def __init__(
        self,
        pgsize_bitmap: int = 1 << 12 | 1 << 21 | 1 << 30,
        *,
        aperture: tuple[int, int] = (0, 2**64 - 1),
        reserved: tuple[tuple[int, int], ...] = (),
        fail_at: int | None = None,
    ) -> None:
        self.pgsize_bitmap = pgsize_bitmap
        self.granule = pgsize_bitmap & -pgsize_bitmap
        self.aperture = aperture
        self.reserved = reserved
        self.fail_at = fail_at
        self.calls: list[Call] = []
        self.unmaps: list[tuple[int, int, int]] = []
        self.pages: dict[int, int] = {}
        self.leaves: dict[int, int] = {}

    def map_pages(self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: Prot) -> None:
        if len(self.calls) == self.fail_at:
            raise NoTablePageError
        assert self.pgsize_bitmap & pgsize
        assert pgsize.bit_count() == 1
        assert pgcount > 0
        assert iova % pgsize == paddr % pgsize == 0
        assert self.aperture[0] <= iova <= iova + pgsize * pgcount - 1 <= self.aperture[1]
        for first, last in self.reserved:
            assert iova + pgsize * pgcount <= first or iova > last
        parts = range(0, pgsize * pgcount, self.granule)
        assert not any(iova + at in self.pages for at in parts)
        self.calls.append((iova, paddr, pgsize, pgcount, prot))
        for at in parts:
            self.pages[iova + at] = paddr + at
        for at in range(0, pgsize * pgcount, pgsize):
            self.leaves[iova + at] = pgsize

    def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
        self.unmaps.append((iova, pgsize, pgcount))
        for at in range(0, pgsize * pgcount, pgsize):
            assert self.leaves.pop(iova + at) == pgsize
        for at in range(0, pgsize * pgcount, self.granule):
            del self.pages[iova + at]

    def iova_to_phys(self, iova: int) -> int | None:
        page = self.pages.get(iova - iova % self.granule)
        return None if page is None else page + iova % self.granule


class FlatMemory:
    """Physical memory from address 0 on, and a pool of its lowest pages."""

    def __init__(self, size: int, pool: int = 0) -> None:
        self.data = bytearray(size)
        self.free_pages = list(range(0, pool, 4096))
        self.handed_out = 0

    def read(self, phyr: Phyr) -> bytes:
        return b"".join(bytes(self.data[paddr : paddr + length]) for paddr, length in phyr.chunks)

    def write(self, phyr: Phyr, data: bytes) -> None:
        assert len(data) == len(phyr)
        at = 0
        for paddr, length in phyr.chunks:
            self.data[paddr : paddr + length] = data[at : at + length]
            at += length

    def alloc(self, size: int, *, below: int | None = None, align: int = 4096) -> Phyr:
        units: list[int] = []
        for page in list(self.free_pages):
            unit = range(page, page + align, 4096)
            fits = page % align == 0 and (below is None or page + align <= below)
            if fits and all(part in self.free_pages for part in unit) and len(units) * align < size:
                units.append(page)
                self.free_pages = [page for page in self.free_pages if page not in unit]
        if len(units) * align < size:
            for unit_start in units:
                self._give(unit_start, align)
            raise MemoryError(size)
        self.handed_out += 1
        return Phyr.from_chunks([(unit, align) for unit in reversed(units)])

    def free(self, phyr: Phyr) -> None:
        self.handed_out -= 1
        for paddr, length in phyr.chunks:
            self._give(paddr, length)

    def _give(self, start: int, length: int) -> None:
        for page in range(start, start + length, 4096):
            assert page not in self.free_pages
            insort(self.free_pages, page)


@cache
def pattern(size: int) -> bytes:
    """Return bytes of which no two neighbouring blocks are alike."""
    return bytes(i * 7 + (i >> 8) & 255 for i in range(size))


def seen(table: PageTable, dma: Phyr, memory: FlatMemory) -> bytes:
    """Return what a device reads through the table, byte for byte."""
    found = bytearray()
    for dma_addr, length in dma.chunks:
        for iova in range(dma_addr, dma_addr + length):
            paddr = table.iova_to_phys(iova)
            assert paddr is not None
            found.append(memory.data[paddr])
    return bytes(found)
