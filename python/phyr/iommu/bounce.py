"""Bounce pages: copies for devices that cannot reach the memory itself."""

from collections.abc import Mapping
from functools import partial

from phyr._arguments import having, listing, whole
from phyr._phyr import Builder, Phyr, first_beyond, settled, shift
from phyr.errors import MismatchError
from phyr.iommu._failures import attempt, is_interrupt, noting
from phyr.iommu.bus_offset import BusOffset
from phyr.iommu.protocols import CpuMemory, Direction, PagePool

__all__ = ["Bounce", "Copy", "Staging"]

# Bytes copied at a time, so that a copy needs little memory in addition to the pages.
_BLOCK_BYTES = 1 << 20


class Copy:
    """A part of a list, and the pages that replace it; from `Staging.stage`."""

    __slots__ = ("_pages", "_staging", "copy", "original")

    def __init__(self, staging: "Staging", original: Phyr, copy: Phyr, pages: Phyr) -> None:
        """Keep the parts."""
        self._staging = staging
        self.original = original
        self.copy = copy
        self._pages: Phyr | None = pages

    def __repr__(self) -> str:
        """Show the part and its copy."""
        freed = "" if self._pages else ", freed"
        return f"Copy({self.original!r} at {self.copy!r}{freed})"

    def to_device(self) -> None:
        """Copy the original to the pages."""
        self._move(self.original, self.copy)

    def to_cpu(self) -> None:
        """Copy the pages to the original."""
        self._move(self.copy, self.original)

    def release(self) -> None:
        """Free the pages, once. Try again if memory is short."""
        pages, self._pages = self._pages, None
        if pages is None:
            return
        try:
            self._staging.pool.free(pages)
        except MemoryError:
            self._staging.pool.free(pages)

    def _move(self, source: Phyr, target: Phyr) -> None:
        memory = self._staging.memory
        for start in range(0, source.length, _BLOCK_BYTES):
            block = slice(start, start + _BLOCK_BYTES)
            memory.write(target[block], memory.read(source[block]))


class Staging:
    """A source of pages that replace memory which a device cannot reach.

    Args:
        memory: An object that reads and writes physical memory.
        pool: An object that allocates and frees pages of that memory.

    Raises:
        TypeError: One of the two lacks a method.
    """

    def __init__(self, memory: CpuMemory, pool: PagePool) -> None:
        """Keep the two."""
        having("memory", memory, ("read", "write"), "a CpuMemory")
        having("pool", pool, ("alloc", "free"), "a PagePool")
        self.memory = memory
        self.pool = pool

    def __repr__(self) -> str:
        """Show the memory and the pool."""
        return f"Staging({self.memory!r}, {self.pool!r})"

    def stage(self, phyr: Phyr, *, below: int | None = None, align: int = 4096) -> Copy:
        """Return pages with a copy of `phyr`, at the same offset inside `align` bytes.

        All bytes are copied, even if the device is going to overwrite them: bytes that the device
        leaves out must keep their value, and no old data may show.

        Args:
            phyr: RAM, at least one byte.
            below: All pages lie below this address.
            align: The address of each page run is a multiple of this power of two, at least the
                granule.
        """
        listing("phyr", phyr)
        phyr = settled(phyr)
        align = whole("align", align)
        head = phyr[0] & (align - 1)
        pages = self.pool.alloc((head + phyr.length + align - 1) & -align, below=below, align=align)
        try:
            cut = pages[head : head + phyr.length].chunks
            copy = Phyr.from_chunks(cut.paddrs, cut.lengths, granule=phyr.granule)
            staged = Copy(self, phyr, copy, pages)
            staged.to_device()
        except BaseException as failure:
            with noting(failure, "giving the pages back"):
                self.pool.free(pages)
            raise
        return staged


class Bounce:
    """A device that reaches only low addresses: memory above them is copied, and nothing else.

    In each chunk whose last byte is out of reach, the copy starts at the first granule with a byte
    out of reach. A device's own memory is never copied.

    Args:
        staging: The source of the copies; their addresses must be within reach.
        dma_mask: Highest bus address that the device can use, ``2**32 - 1`` for 32 bits.
        offset: Bytes added to the addresses of RAM to make bus addresses.
        providers: For each provider of MMIO that a switch routes to, the bytes added to its
            addresses.

    Raises:
        TypeError: `staging` is no `Staging`, or a number not an int.

    Source:
        As ``dma_capable()`` and ``swiotlb_map()``, kernel/dma, Linux.
    """

    def __init__(
        self,
        staging: Staging,
        *,
        dma_mask: int,
        offset: int = 0,
        providers: Mapping[int, int] | None = None,
    ) -> None:
        """Store the limits."""
        having("staging", staging, ("stage",), "a Staging")
        self.staging = staging
        self.routes = BusOffset(offset, providers)
        self.dma_mask = whole("dma_mask", dma_mask)
        self.offset = self.routes.offset
        # Keyed by `id(dma)`; keeping `dma` keeps the id from being reused.
        self._mapped: dict[int, tuple[Phyr, list[Copy]]] = {}

    def map(self, phyr: Phyr, direction: Direction) -> Phyr:
        """Return the bus addresses of `phyr`, with copies for the parts that are out of reach.

        If everything is within reach and bus addresses equal physical ones, the result is `phyr`
        itself; or a copy of it, if it lies in a file or in memory of others.

        Raises:
            MismatchError: A chunk out of reach is a device's own memory, or there is no route to
                it.
            RangeError: A bus address would be below 0, or `offset` is not a multiple of the
                granule.
            FormatError: `phyr` lies in a file or in memory of others, and its words are not those
                of a list.
            Exception: The pool's own error if it has no such pages; no page is kept then.
            TypeError: `phyr` is no list.
        """
        listing("phyr", phyr)
        phyr = settled(phyr)
        if phyr.kind != "ram":
            return self._map_mmio(phyr, direction)
        reach = self.dma_mask - self.offset
        number = first_beyond(phyr, reach) if reach >= 0 else 0
        if number is None or not phyr:
            return shift(phyr, self.offset)
        copies: list[Copy] = []
        try:
            dma = self._build(phyr, phyr.chunks.position(number), reach, copies)
            self._mapped[id(dma)] = (dma, copies)
        except BaseException as failure:
            with noting(failure, "giving the bounce pages back"):
                attempt(staged.release for staged in copies)
            raise
        return dma

    def _build(self, phyr: Phyr, position: int, reach: int, copies: list[Copy]) -> Phyr:
        """Return the list, with copies for the parts out of reach. Add the copies to `copies`."""
        granule = phyr.granule
        # First byte of the first granule that is not completely within reach.
        border = (reach + 1) // granule * granule
        builder = Builder(granule)
        builder.extend(phyr[:position])
        for paddr, length in phyr[position:].chunks:
            near = length if paddr + length - 1 <= reach else min(max(border - paddr, 0), length)
            if near:
                builder.append(paddr, near)
            if near < length:
                part = phyr[position + near : position + length]
                staged = self.staging.stage(part, below=max(reach + 1, 0), align=max(granule, 4096))
                copies.append(staged)
                builder.extend(staged.copy)
            position += length
        return shift(builder.finish(), self.offset)

    def _map_mmio(self, phyr: Phyr, direction: Direction) -> Phyr:
        """Return the bus addresses of a device's own memory, all of which must be within reach."""
        dma = self.routes.map(phyr, direction)
        number = first_beyond(dma, self.dma_mask)
        if number is None:
            return dma
        paddr, length = phyr.chunks[number]
        raise MismatchError(
            f"chunk {number}, {paddr:#x}+{length:#x}, is beyond the reach of {self.dma_mask:#x}, "
            f"and memory of kind {phyr.kind!r} cannot be bounced",
            number=number,
            paddr=paddr,
            length=length,
        )

    def unmap(self, dma: Phyr, direction: Direction) -> None:
        """Copy back what the device wrote, and free the pages.

        Raises:
            Exception: An error of the memory. Everything else is copied back, and the pages are
                freed.
            BaseException: An interrupt. This method can then be called again, for the rest.
        """
        if id(dma) not in self._mapped:
            return
        # An interrupt keeps the copies, so that a second call finds the device's data.
        attempt((partial(self.sync_for_cpu, dma, direction), partial(self._release, dma)))

    def _release(self, dma: Phyr) -> None:
        """Free each copy once, even if an exception comes in between."""
        copies = self._copies(dma)
        try:
            attempt(copies.pop().release for _ in range(len(copies)))
        except BaseException as failure:
            if not is_interrupt(failure):
                del self._mapped[id(dma)]
            raise
        # After an interrupt the remaining copies are kept.
        del self._mapped[id(dma)]

    def sync_for_device(self, dma: Phyr, direction: Direction) -> None:
        """Copy the CPU's writes to the bounce pages, unless the device only writes."""
        if direction is not Direction.FROM_DEVICE:
            for staged in self._copies(dma):
                staged.to_device()

    def sync_for_cpu(self, dma: Phyr, direction: Direction) -> None:
        """Copy the device's writes from the bounce pages, unless the device only reads."""
        if direction is not Direction.TO_DEVICE:
            attempt(staged.to_cpu for staged in self._copies(dma))

    def __repr__(self) -> str:
        """Show the reach, and how many mappings have copies."""
        mapped = f"{len(self._mapped)} mappings with copies"
        return f"Bounce(dma_mask {self.dma_mask:#x}, {self.routes!r}, {mapped})"

    def _copies(self, dma: Phyr) -> list[Copy]:
        return self._mapped[id(dma)][1] if id(dma) in self._mapped else []
