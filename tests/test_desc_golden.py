"""Descriptors beside byte images that were written by hand."""

from desc_model import golden
from phyr import Phyr, desc

PHYR = Phyr.from_chunks([(0x3800, 0x1800), (0x9000, 0x1000), (0x7000, 0x10)])
VMEMMAP = 0xFFFF_EA00_0000_0000
UADDR = 0x7F00_0000_0000


def test_scatterlist() -> None:
    image = golden("scatterlist.hex")
    assert bytes(desc.scatterlist(PHYR, vmemmap=VMEMMAP)) == image
    assert desc.from_scatterlist(image, vmemmap=VMEMMAP) == PHYR


def test_scatterlist_chain() -> None:
    pages = Phyr.from_pfns(range(0, 2 * 129, 2))
    table = bytes(desc.scatterlist(pages, vmemmap=VMEMMAP, address=0xFFFF_8880_0010_0000))
    assert table[126 * 32 :] == golden("scatterlist_chain.hex")


def test_bio_vec() -> None:
    image = golden("bio_vec.hex")
    assert bytes(desc.bio_vecs(PHYR, vmemmap=VMEMMAP)) == image
    assert desc.from_bio_vecs(image, vmemmap=VMEMMAP) == PHYR


def test_iovec() -> None:
    image = golden("iovec.hex")
    assert bytes(desc.iovecs(PHYR, UADDR)) == image
    assert desc.from_iovecs(image, UADDR) == PHYR


def test_phys_vec() -> None:
    image = golden("phys_vec.hex")
    assert bytes(desc.phys_vecs(PHYR)) == image
    assert desc.from_phys_vecs(image) == PHYR


def test_prp_list() -> None:
    image = golden("prp_list.hex")
    prp1, prp2, lists = desc.prp(PHYR, Phyr.from_pfns([100]))
    assert (prp1, prp2, bytes(lists)) == (0x3800, 0x64000, image)
    memory = bytes(0x64000) + image
    read = desc.from_prp(0x3800, 0x64000, len(PHYR), lambda at, count: memory[at : at + count])
    assert read == PHYR


def test_sgl() -> None:
    image = golden("sgl.hex")
    sgl1, segments = desc.sgl(PHYR, Phyr.from_pfns([100]))
    assert sgl1 + bytes(segments) == image
    memory = bytes(0x64000) + image[16:]
    assert desc.from_sgl(image[:16], lambda at, count: memory[at : at + count]) == PHYR


def test_mtt() -> None:
    phyr = Phyr.from_chunks([(0x20_0000, 0x40_0000), (0x1000_0000, 0x20_0000)])
    table = desc.page_list(phyr, 2 << 20, flags=3, byteorder="big")
    assert bytes(table) == golden("mtt.hex")


def test_map_requests() -> None:
    assert bytes(desc.map_requests(Phyr.from_pfns([3, 4, 9]), UADDR)) == golden("map_requests.hex")


def test_vfio_dma_map() -> None:
    assert bytes(desc.vfio_maps(Phyr.from_pfns([3, 4, 9]), UADDR)) == golden("vfio_dma_map.hex")


def test_iommu_ioas_map() -> None:
    table = desc.ioas_maps(Phyr.from_pfns([3, 4, 9]), UADDR, ioas_id=0x1234)
    assert bytes(table) == golden("iommu_ioas_map.hex")
