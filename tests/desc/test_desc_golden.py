"""Descriptors beside byte images that were written by hand."""

import pytest

from phyr import Phyr, desc
from support.desc_model import Controller, golden, write_prp_lists

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


def test_prp_list_chain() -> None:
    # One page that PRP1 points to, then 511 entries and a link, then 512 entries and no link.
    pages = [0x1000_0000 + 0x2000 * number for number in range(1 + 511 + 512)]
    blocks = [0x6_4000, 0x5_2000]
    image = golden("prp_list_chain.hex")
    assert write_prp_lists(pages[1:], blocks, 4096) == image
    buffer = Phyr.from_chunks([(page, 0x1000) for page in pages])[0x800:-0x400]
    prp1, prp2, lists = desc.prp(buffer, Phyr.from_pages(blocks))
    assert (prp1, prp2, bytes(lists)) == (0x1000_0800, 0x6_4000, image)
    controller = Controller(blocks, 4096, image)
    assert controller.follow_prps(prp1, prp2, len(buffer)) == [*buffer.chunks]
    assert desc.from_prp(prp1, prp2, len(buffer), controller.read) == buffer


def test_sgl() -> None:
    image = golden("sgl.hex")
    sgl1, segments = desc.sgl(PHYR, Phyr.from_pfns([100]))
    assert sgl1 + bytes(segments) == image
    memory = bytes(0x64000) + image[16:]
    assert desc.from_sgl(image[:16], lambda at, count: memory[at : at + count]) == PHYR


@pytest.mark.parametrize(("name", "nr_chunks"), [("two", 6), ("three", 10)])
def test_sgl_segments(name: str, nr_chunks: int) -> None:
    chunks = [
        (0x3800, 0x800),
        (0x9000, 0x1000),
        (0x7000, 0x1000),
        (0x1_0000_0000, 0x20_0000),
        (0x1_2000, 0x3000),
        (0x2_0000, 0x1000),
        (0xFFFF_FFFF_FFFF_F000, 0x1000),
        (0x4_0000, 0x2000),
        (0x3_0000, 0x1000),
        (0x5_0000, 0x10),
    ][:nr_chunks]
    blocks = [0x6_4000, 0x5_2040, 0x7_0080]
    image = golden(f"sgl_{name}_segments.hex")
    buffer = Phyr.from_chunks(chunks)
    lists = Phyr.from_chunks([(block, 64) for block in blocks], granule=64)
    sgl1, segments = desc.sgl(buffer, lists, segment_size=64)
    assert sgl1 + bytes(segments) == image
    controller = Controller(blocks, 64, image[16:])
    assert controller.follow_sgl(image[:16]) == chunks
    assert desc.from_sgl(image[:16], controller.read) == buffer


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
