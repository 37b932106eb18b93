"""A domain that is right, to compare others with."""

from phyr._arguments import pair, whole
from phyr.errors import MappedError, NotMappedError
from phyr.iommu import Prot


class TableDomain:
    """A domain made of a dict of smallest pages: slow, simple, and right.

    Args:
        pgsize_bitmap: Supported page sizes.
        aperture: First and last address.
        reserved: Ranges that must not be used.
    """

    def __init__(
        self,
        pgsize_bitmap: int = 1 << 12 | 1 << 21 | 1 << 30,
        aperture: tuple[int, int] = (0, 2**48 - 1),
        reserved: tuple[tuple[int, int], ...] = (),
    ) -> None:
        """Begin with nothing mapped."""
        self.pgsize_bitmap = whole("pgsize_bitmap", pgsize_bitmap)
        self.aperture = pair("aperture", aperture)
        self.reserved = reserved
        # Address of each page to (address it maps to, size, protection).
        self.table: dict[int, tuple[int, int, Prot]] = {}

    def __repr__(self) -> str:
        """Show what it can map, and how much it has mapped."""
        first, last = self.aperture
        sizes = f"pgsize_bitmap {self.pgsize_bitmap:#x}"
        return f"TableDomain({len(self.table)} pages, aperture {first:#x} to {last:#x}, {sizes})"

    def map_pages(self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: Prot) -> None:
        """Map pages that are all inside the aperture and not mapped yet."""
        last = iova + pgsize * pgcount - 1
        if iova < self.aperture[0] or last > self.aperture[1]:
            raise ValueError(f"{iova:#x} to {last:#x} is outside the aperture")
        if self.iova_to_phys(iova) is not None or any(
            iova <= page <= last for page in list(self.table)
        ):
            raise MappedError(f"something in {iova:#x} to {last:#x} is mapped already", iova=iova)
        for at in range(0, pgsize * pgcount, pgsize):
            self.table[iova + at] = (paddr + at, pgsize, prot)

    def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
        """Unmap pages of exactly this size."""
        pages = range(iova, iova + pgsize * pgcount, pgsize)
        for page in pages:
            if self.table.get(page, (0, 0, 0))[1] != pgsize:
                if self.iova_to_phys(page) is not None:
                    raise MappedError(f"a page at {page:#x} is not of {pgsize:#x} bytes", iova=page)
                raise NotMappedError(f"nothing is mapped at {page:#x}", iova=page)
        for page in pages:
            del self.table[page]

    def iova_to_phys(self, iova: int) -> int | None:
        """Look up each page size."""
        for lg2 in range(self.pgsize_bitmap.bit_length()):
            page = iova >> lg2 << lg2
            paddr, pgsize, _ = self.table.get(page, (0, 0, 0))
            if pgsize == 1 << lg2:
                return paddr + iova - page
        return None
