"""An IOMMU: one entry of I/O virtual addresses, however fragmented the memory is."""

from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial

from phyr._arguments import having, listing, whole, wrong
from phyr._phyr import Builder, Phyr, Unmapping, alignment, plan_map, settled
from phyr.errors import AlignmentError, NotMappedError, RangeError
from phyr.iommu._failures import attempt, is_abrupt, note, noting
from phyr.iommu._windows import allocator_of
from phyr.iommu.bounce import Copy, Staging
from phyr.iommu.iova import IovaAllocator
from phyr.iommu.linear import map_plans, unmap_walks
from phyr.iommu.protocols import Direction, IommuDomain, Prot

__all__ = ["Otherwise", "Paging"]

_TOP = 2**64 - 1
_OF_A_DOMAIN = ("pgsize_bitmap", "aperture", "reserved")


class Otherwise(Enum):
    """How to map a list whose chunks end inside pages of the domain.

    It cannot be mapped linearly.
    """

    ERROR = "error"
    """Refuse it and name the chunk."""
    LIST = "list"
    """Map each chunk on its own: a new list. The device can then reach all of each page.

    A domain with `map_batch` gets one batch for each chunk.
    """


@dataclass(eq=False, slots=True)
class _Mapped:
    """The parts of a mapping that `unmap` undoes."""

    dma: Phyr
    window: int
    exposed: int
    """Bytes beyond the list in the pages that are mapped."""
    walks: list[Unmapping]
    copy: Copy | None
    begun: bool = False
    """Undoing has begun, so some of it may be unmapped already."""


class Paging:
    """A device behind an IOMMU: any domain, and an allocator of I/O virtual addresses.

    The result is one entry, at an address chosen so that large pages can be used. The domain is
    called with the largest pages and the longest runs that fit, or once with the whole plan if it
    has `map_batch`.

    Args:
        domain: The I/O address space.
        iovas: The allocator of addresses. By default it is made from the domain's aperture and
            reserved ranges. All `Paging` of one domain share one allocator.
        dma_mask: Highest address that the device can use.
        otherwise: How to map a list if the domain's pages are too large for it: an `Otherwise`, or
            a `Staging` whose pages replace the whole list.
        strict: Refuse a list if the domain's pages hold bytes beyond it, which the device could
            reach as well.

    Raises:
        MismatchError: Another allocator than `iovas` already manages the domain's addresses. Or,
            without `iovas`, that allocator was made for another aperture or other reserved ranges
            than the domain has now.
        TypeError: `domain` is no `IommuDomain`, or another argument not of its type.

    Examples:
        >>> from phyr.testing import TableDomain
        >>> phyr = Phyr.from_pages([0x9000, 0x3000, 0x5000], offset=0x80)
        >>> Paging(TableDomain()).map(phyr, Direction.TO_DEVICE)
        Phyr(0x2f80 bytes, granule 4096, 1 chunk: 0x1080+0x2f80)
    """

    def __init__(
        self,
        domain: IommuDomain,
        *,
        iovas: IovaAllocator | None = None,
        dma_mask: int = _TOP,
        otherwise: Otherwise | Staging = Otherwise.ERROR,
        strict: bool = False,
    ) -> None:
        """Store the parts."""
        having("domain", domain, ("map_pages", "unmap_pages"), "an IommuDomain", _OF_A_DOMAIN)
        if iovas is not None:
            having("iovas", iovas, ("alloc_for_pages", "free"), "an IovaAllocator")
        if not isinstance(otherwise, (Otherwise, Staging)):
            raise wrong("otherwise", otherwise, "an Otherwise or a Staging")
        dma_mask = whole("dma_mask", dma_mask)
        self.domain = domain
        self.iovas = allocator_of(domain, iovas, self)
        self.dma_mask = dma_mask
        self.otherwise = otherwise
        self.strict = strict
        # Keyed by `id(dma)`; keeping `dma` keeps the id from being reused.
        self._mapped: dict[int, _Mapped] = {}

    def map(self, phyr: Phyr, direction: Direction) -> Phyr:
        """Map `phyr` and return its window.

        Raises:
            AlignmentError: A chunk ends inside a page of the domain, and `otherwise` does not help.
                Or `strict` is set, and pages hold `exposed` bytes beyond the list.
            FormatError: `phyr` lies in a file or in memory of others, and its words are not those
                of a list.
            IovaSpaceError: There is no room for the window.
            Exception: An error of the domain, with a note that names the call; nothing is mapped
                then.
            TypeError: `phyr` is no list, or `direction` no `Direction`.
        """
        listing("phyr", phyr)
        if not phyr:
            return phyr
        phyr = settled(phyr)
        prot = Prot.of(direction, phyr.kind)
        bitmap = self.domain.pgsize_bitmap
        where = alignment(phyr, bitmap)
        try:
            # A linear window is possible at every place or at none.
            plan_map(phyr, where[1], bitmap)
        except AlignmentError:
            if self.otherwise is Otherwise.LIST:
                return self._map_list(phyr, prot)
            # A device's own memory is never copied.
            if not isinstance(self.otherwise, Staging) or phyr.kind != "ram":
                raise
        else:
            if self.strict:
                plan_map(phyr, where[1], bitmap, strict=True)
            return self._map_linear(phyr, where, prot, None)
        self._refuse_exposed(phyr, self._whole(phyr[0], phyr.length) - phyr.length)
        copy = self.otherwise.stage(phyr, align=max(self._granule(), phyr.granule))
        where = alignment(copy.copy, bitmap)
        return self._map_linear(copy.copy, where, prot, copy)

    def unmap(self, dma: Phyr, direction: Direction) -> None:
        """Unmap a window.

        Raises:
            NotMappedError: `dma` is not a list that `map` returned and that is still mapped.
            Exception: An error of the domain, although domains promise not to fail. All other pages
                are unmapped then. The window is not used again, because the device may still reach
                it.
            BaseException: An interrupt, or `MemoryError`.

        After any of these but the first, this method can be called again for the rest.
        """
        if not dma:
            return
        mapped = self._mapped.get(id(dma))
        if mapped is None:
            raise NotMappedError(f"{dma!r} is not mapped here")
        # An interrupt changes nothing here, so that a second call finds the device's data.
        attempt((partial(self.sync_for_cpu, dma, direction), partial(self._undo, mapped)))

    def sync_for_device(self, dma: Phyr, direction: Direction) -> None:
        """Copy the CPU's writes to the copied pages, unless the device only writes."""
        copy = self._copy(dma)
        if copy and direction is not Direction.FROM_DEVICE:
            copy.to_device()

    def sync_for_cpu(self, dma: Phyr, direction: Direction) -> None:
        """Copy the device's writes from the copied pages, unless the device only reads."""
        copy = self._copy(dma)
        if copy and direction is not Direction.TO_DEVICE:
            copy.to_cpu()

    def exposed(self, dma: Phyr) -> int:
        """Return the bytes beyond the list in the mapped pages, which the device can reach too.

        Raises:
            NotMappedError: `dma` is not a list that `map` returned and that is still mapped.
        """
        if not dma:
            return 0
        mapped = self._mapped.get(id(dma))
        if mapped is None:
            raise NotMappedError(f"{dma!r} is not mapped here")
        return mapped.exposed

    def __repr__(self) -> str:
        """Show the domain and the number of mappings."""
        return f"Paging({self.domain!r}, {len(self._mapped)} mappings)"

    def _granule(self) -> int:
        """Return the bytes in the smallest page of the domain."""
        return self.domain.pgsize_bitmap & -self.domain.pgsize_bitmap

    def _alloc(self, phyr: Phyr, length: int, align: int, residue: int) -> int:
        """Return a window. If there is no room, align it less."""
        return self.iovas.alloc_for_pages(
            length,
            self.domain.pgsize_bitmap,
            align=align,
            least=max(self._granule(), phyr.granule),
            residue=residue,
            # A list of this granule must be able to hold every address.
            last=min(self.dma_mask, phyr.granule * 2**52 - 1),
        )

    def _whole(self, paddr: int, length: int) -> int:
        """Return the number of bytes in the domain's pages that hold a range."""
        granule = self._granule()
        return (paddr % granule + length + granule - 1) & -granule

    def _refuse_exposed(self, phyr: Phyr, exposed: int) -> None:
        """Raise if `strict` is set and the device could reach bytes beyond a list."""
        if self.strict and exposed:
            raise AlignmentError(
                f"whole pages of {self._granule():#x} show the device {exposed:#x} bytes beyond "
                f"{phyr!r}",
                exposed=exposed,
                align=self._granule(),
                paddr=phyr[0],
                last=phyr[-1],
            )

    def _map_linear(
        self, phyr: Phyr, where: tuple[int, int], prot: Prot, copy: Copy | None
    ) -> Phyr:
        head = phyr[0] & (self._granule() - 1)
        length = self._whole(phyr[0], phyr.length)
        align, residue = where
        return self._map_all(phyr, (length, align, residue - head), [(phyr, head)], prot, copy)

    def _map_list(self, phyr: Phyr, prot: Prot) -> Phyr:
        """Map the pages under each chunk, one after the other, in one window."""
        granule = self._granule()
        pieces = []
        length = position = 0
        for chunk in phyr.chunks:
            head = chunk.paddr & (granule - 1)
            pieces.append((phyr[position : position + chunk.length], length + head))
            position += chunk.length
            length += self._whole(*chunk)
        self._refuse_exposed(phyr, length - phyr.length)
        where = (length, max(granule, phyr.granule), 0)
        return self._map_all(phyr, where, pieces, prot, None)

    def _map_all(
        self,
        phyr: Phyr,
        where: tuple[int, int, int],
        pieces: list[tuple[Phyr, int]],
        prot: Prot,
        copy: Copy | None,
    ) -> Phyr:
        """Map lists, each at its offset in a new window. Return the list of their addresses.

        `where` is what the window needs: length, align and residue, as for `_alloc`.
        """
        length, align, residue = where
        window = dma = None
        try:
            window = self._alloc(phyr, length, align, residue)
            builder = Builder(phyr.granule, phyr.kind)
            for piece, at in pieces:
                builder.append(window + at, piece.length)
            dma = builder.finish()
            bitmap = self.domain.pgsize_bitmap
            plans = [plan_map(piece, window + at, bitmap) for piece, at in pieces]
            walks = [Unmapping(plan) for plan in plans]
            # Stored before the calls, because nothing may fail after them.
            self._mapped[id(dma)] = _Mapped(dma, window, length - dma.length, walks, copy)
            map_plans(self.domain, plans, walks, prot)
        except BaseException as failure:
            self._mapped.pop(id(dma), None)
            if not getattr(failure, "still_mapped", False):
                with noting(failure, "giving back the window and what stands in"):
                    self._give_back(window, copy)
            raise
        return dma

    def _undo(self, mapped: _Mapped) -> None:
        found, mapped.begun = mapped.begun, True
        try:
            unmap_walks(self.domain, mapped.walks, found=found)
        except BaseException as failure:
            if not is_abrupt(failure):
                note(failure, f"unmapping {mapped.dma!r}, whose window is not used again")
            raise
        # From here on an interrupt can lose addresses or bounce pages, but nothing is mapped.
        del self._mapped[id(mapped.dma)]
        try:
            self._give_back(mapped.window, mapped.copy)
        except MemoryError:
            with suppress(RangeError):  # of a window that was given back
                self._give_back(mapped.window, mapped.copy)
            raise

    def _give_back(self, window: int | None, copy: Copy | None) -> None:
        """Free the window, if any, and the copied pages. No device can reach them any more."""
        try:
            if window is not None:
                self.iovas.free(window)
        finally:
            if copy:
                copy.release()

    def _copy(self, dma: Phyr) -> Copy | None:
        mapped = self._mapped.get(id(dma))
        return mapped.copy if mapped else None
