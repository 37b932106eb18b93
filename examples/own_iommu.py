"""An IOMMU of your own: a class with six attributes, checked and used. Runs anywhere."""

from phyr import Phyr
from phyr.iommu import Direction, Paging, Prot, dma_map
from phyr.testing import check_domain


class MyIommu:
    """A page table as a dict from 4 KiB page to 4 KiB page, for a device of 32 bits."""

    pgsize_bitmap = 1 << 12 | 1 << 21
    aperture = (0x1000, 0xFFFF_FFFF)
    reserved = ((0xFEE0_0000, 0xFEEF_FFFF),)

    def __init__(self) -> None:
        self.pages: dict[int, int] = {}

    def map_pages(self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: Prot) -> None:
        new = {iova + at: paddr + at for at in range(0, pgsize * pgcount, 4096)}
        if not self.pages.keys().isdisjoint(new):
            raise ValueError(f"{iova:#x} is taken")
        self.pages |= new

    def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
        for at in range(0, pgsize * pgcount, 4096):
            del self.pages[iova + at]

    def iova_to_phys(self, iova: int) -> int | None:
        page = self.pages.get(iova & -4096)
        return None if page is None else page + iova % 4096


check_domain(MyIommu)
domain = MyIommu()
phyr = Phyr.from_chunks([(0x7800, 0x800), (0x4000_0000, 4 << 20), (0x3000, 0x1000)])
with dma_map(phyr, Paging(domain), Direction.TO_DEVICE) as mapping:
    print(mapping.dma, "through", len(domain.pages), "pages")
    assert domain.iova_to_phys(mapping.dma[5000]) == phyr[5000]
assert not domain.pages
