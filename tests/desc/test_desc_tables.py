"""Scatterlists and vectors: what is written is what an independent reader finds."""

import struct
import timeit
from array import array
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import AlignmentError, ArrayError, LimitError, MismatchError, Phyr, RangeError, desc
from phyr.iommu import DeviceLimits
from support.desc_model import (
    ALL,
    VMEMMAP,
    Range,
    buffers,
    from_pages_segment,
    in_pieces,
    merged,
    segments,
    walk_scatterlist,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

ADDRESS = 0xFFFF_8880_1234_5000
MOST = 0xFFFF_F000

sizes = st.sampled_from([ALL, 1 << 32, 65536, 65535, 12288, 4096]) | st.integers(4096, 1 << 20)
boundaries = st.integers(12, 64).map(lambda lg2: (1 << lg2) - 1)


def pairs(table: desc.Descriptors) -> list[Range]:
    """Return the records of two words each."""
    return list(struct.iter_unpack("<QQ", bytes(table)))


@given(buffers(), sizes, boundaries)
def test_segments_are_as_long_as_the_limits_allow(
    chunks: list[Range], size: int, boundary: int
) -> None:
    table = desc.phys_vecs(
        Phyr.from_chunks(chunks),
        limits=DeviceLimits(max_segment_size=size, seg_boundary_mask=boundary),
    )
    assert pairs(table) == segments(chunks, size, boundary)
    assert table.nents == len(table) == len(segments(chunks, size, boundary))


@given(buffers(), sizes, boundaries)
def test_a_scatterlist_walked_back_is_the_buffer(
    chunks: list[Range], size: int, boundary: int
) -> None:
    table = desc.scatterlist(
        Phyr.from_chunks(chunks),
        vmemmap=VMEMMAP,
        address=ADDRESS,
        limits=DeviceLimits(max_segment_size=size, seg_boundary_mask=boundary),
    )
    found = [(paddr, length) for paddr, length, _, _ in walk_scatterlist(bytes(table), ADDRESS)]
    assert found == segments(chunks, min(size, MOST), boundary, 4096)
    assert merged(found) == chunks
    assert table.nents == len(found)


@given(
    st.lists(st.integers(0, 40) | st.integers(0, 1 << 40), min_size=1, max_size=60),
    st.integers(0, 4095),
    st.integers(4096, 40000),
)
def test_a_scatterlist_has_the_segments_of_sg_alloc_table_from_pages_segment(
    pfns: list[int], offset: int, size: int
) -> None:
    length = len(pfns) * 4096 - offset - min(100, 4095 - offset)
    phyr = Phyr.from_pfns(pfns, offset=offset, length=length)
    table = desc.scatterlist(phyr, vmemmap=VMEMMAP, limits=DeviceLimits(max_segment_size=size))
    found = [(paddr, count) for paddr, count, _, _ in walk_scatterlist(bytes(table), 0)]
    assert found == from_pages_segment(pfns, offset, length, size)


@pytest.mark.parametrize("nents", [1, 127, 128, 129, 254, 255, 256, 381, 382, 383, 1000])
def test_blocks_hold_127_entries_and_a_link_and_the_last_block_is_full(nents: int) -> None:
    phyr = Phyr.from_pfns([2 * number for number in range(nents)])
    table = desc.scatterlist(phyr, vmemmap=VMEMMAP, address=ADDRESS)
    data = bytes(table)
    links = [at for at in range(0, len(data), 32) if data[at] & 1]
    # The rule of the kernel: a block that all remaining entries fit in has no link.
    expected: list[int] = []
    left = nents
    while left > 128:
        expected.append(len(expected) * 4096 + 4064)
        left -= 127
    assert links == expected
    assert (table.nents, len(table)) == (nents, nents + len(links))
    found = [paddr for paddr, _, _, _ in walk_scatterlist(data, ADDRESS)]
    assert found == [2 * number * 4096 for number in range(nents)]
    assert desc.from_scatterlist(data, vmemmap=VMEMMAP, address=ADDRESS) == phyr


@given(buffers())
def test_with_a_bus_offset_the_dma_fields_say_where_the_device_looks(chunks: list[Range]) -> None:
    shift = 0 if sum(chunks[-1]) > 1 << 63 or max(chunks)[0] > 1 << 63 else 1 << 40
    table = desc.scatterlist(Phyr.from_chunks(chunks), vmemmap=VMEMMAP, bus_offset=shift)
    for paddr, length, dma_address, dma_length in walk_scatterlist(bytes(table), 0):
        assert (dma_address, dma_length) == (paddr + shift, length)
    back = desc.from_scatterlist(table, vmemmap=VMEMMAP, dma=True)
    assert back == Phyr.from_chunks([(paddr + shift, length) for paddr, length in chunks])


@given(buffers(), sizes, boundaries)
def test_bio_vecs_walked_back_are_the_buffer(chunks: list[Range], size: int, boundary: int) -> None:
    phyr = Phyr.from_chunks(chunks)
    table = desc.bio_vecs(
        phyr,
        vmemmap=VMEMMAP,
        limits=DeviceLimits(max_segment_size=size, seg_boundary_mask=boundary),
    )
    found = [
        ((page - VMEMMAP) // 64 * 4096 + offset, length)
        for page, length, offset in struct.iter_unpack("<QII", bytes(table))
    ]
    assert found == segments(chunks, min(size, MOST), boundary, 4096)
    assert desc.from_bio_vecs(table, vmemmap=VMEMMAP) == phyr


@given(buffers(512), sizes)
def test_iovecs_and_phys_vecs_take_any_granule(chunks: list[Range], size: int) -> None:
    chunks = [(paddr % (1 << 60), length) for paddr, length in chunks]
    phyr = Phyr.from_chunks(chunks, granule=512)
    iovecs = desc.iovecs(phyr, 0x7F00_0000_0123, limits=DeviceLimits(max_segment_size=size))
    runs = merged(chunks)
    assert pairs(iovecs) == [
        (0x7F00_0000_0123 + paddr, length) for paddr, length in segments(runs, size)
    ]
    assert desc.from_iovecs(iovecs, 0x7F00_0000_0123, granule=512) == phyr
    assert desc.from_phys_vecs(desc.phys_vecs(phyr), granule=512) == phyr


@given(buffers(), st.integers(0, 4).map(lambda lg2: 4096 << lg2), sizes)
def test_a_virt_boundary_is_kept_or_refused(chunks: list[Range], unit: int, size: int) -> None:
    phyr = Phyr.from_chunks(chunks)
    fits = all(paddr % unit == 0 for paddr, _ in chunks[1:]) and all(
        sum(chunk) % unit == 0 for chunk in chunks[:-1]
    )
    if size < unit:
        with pytest.raises(RangeError):
            desc.phys_vecs(
                phyr, limits=DeviceLimits(max_segment_size=size, virt_boundary_mask=unit - 1)
            )
    elif fits:
        table = desc.phys_vecs(
            phyr, limits=DeviceLimits(max_segment_size=size, virt_boundary_mask=unit - 1)
        )
        found = pairs(table)
        assert found == segments(chunks, size, virt=unit - 1)
        assert merged(found) == chunks
        assert all(paddr % unit == 0 for paddr, _ in found[1:])
        assert all(sum(pair) % unit == 0 for pair in found[:-1])
        assert all(length <= size for _, length in found)
    else:
        with pytest.raises(AlignmentError) as caught:
            desc.phys_vecs(
                phyr, limits=DeviceLimits(max_segment_size=size, virt_boundary_mask=unit - 1)
            )
        assert caught.value.align == unit


@given(buffers(), sizes, st.lists(st.integers(32, 5000), min_size=1, max_size=5))
def test_a_table_filled_in_pieces_is_the_whole_table(
    chunks: list[Range], size: int, pieces: list[int]
) -> None:
    phyr = Phyr.from_chunks(chunks)
    table = desc.scatterlist(phyr, vmemmap=VMEMMAP, limits=DeviceLimits(max_segment_size=size))
    whole = table.tobytes()
    assert in_pieces(table.fill, pieces) == whole
    assert table.done == len(table)
    table.rewind()
    assert table.done == 0
    assert in_pieces(table.fill, [len(whole)]) == whole


def test_a_long_table_filled_in_pieces_is_the_whole_table() -> None:
    phyr = Phyr.from_pfns([number * 3 for number in range(50_000)])
    table = desc.scatterlist(phyr, vmemmap=VMEMMAP, address=ADDRESS)
    for pieces in ([4096], [32, 4096 + 31], [1 << 20], [1 << 24]):
        table.rewind()
        assert in_pieces(table.fill, pieces) == bytes(table)


def test_few_records_do_not_clear_memory_as_large_as_the_target() -> None:
    done, one = (desc.phys_vecs(Phyr.from_chunks([(0x1000, 0x1000)])) for _ in "ab")
    assert done.fill(bytearray(16)) == 16

    def seconds(table: desc.Descriptors, target: bytearray) -> float:
        def turn() -> None:
            table.fill(target)
            if table is one:
                table.rewind()

        return min(timeit.repeat(turn, number=20, repeat=50))

    for table in (done, one):
        assert seconds(table, bytearray(4 << 20)) < 4 * seconds(table, bytearray(16))


def test_the_segment_boundary_with_all_bits_set_is_none() -> None:
    phyr = Phyr.from_chunks([(0x1000, 1 << 40)])
    assert pairs(desc.phys_vecs(phyr, limits=DeviceLimits(seg_boundary_mask=ALL))) == [
        (0x1000, 1 << 40)
    ]


def test_a_chunk_that_ends_at_2_64_is_cut_like_any_other() -> None:
    start = (1 << 64) - (6 << 30)
    phyr = Phyr.from_chunks([(start, 6 << 30)])
    assert pairs(desc.phys_vecs(phyr)) == [(start, 6 << 30)]
    cut = [(start, MOST), (start + MOST, (6 << 30) - MOST)]
    table = desc.scatterlist(phyr, vmemmap=VMEMMAP)
    assert [(paddr, length) for paddr, length, _, _ in walk_scatterlist(bytes(table), 0)] == cut
    assert desc.from_scatterlist(table, vmemmap=VMEMMAP) == phyr
    assert desc.from_bio_vecs(desc.bio_vecs(phyr, vmemmap=VMEMMAP), vmemmap=VMEMMAP) == phyr
    halves = desc.phys_vecs(phyr, limits=DeviceLimits(seg_boundary_mask=(1 << 32) - 1))
    assert pairs(halves) == [(start, 2 << 30), (start + (2 << 30), 4 << 30)]


@pytest.mark.parametrize("length", [(4 << 30) - 4096, 4 << 30, (4 << 30) + 1, 100 << 30])
def test_chunks_of_4_gib_and_more_are_cut_at_pages(length: int) -> None:
    phyr = Phyr.from_chunks([(0x5000, length)])
    found = [
        (paddr, count)
        for paddr, count, _, _ in walk_scatterlist(
            bytes(desc.scatterlist(phyr, vmemmap=VMEMMAP)), 0
        )
    ]
    assert merged(found) == [(0x5000, length)]
    assert {count for _, count in found[:-1]} <= {MOST}


def test_numpy_reads_every_field_by_name() -> None:
    phyr = Phyr.from_pfns([3, 9, 10])
    array = np.asarray(desc.scatterlist(phyr, vmemmap=0, bus_offset=1 << 32))
    assert array["length"].tolist() == [4096, 8192]
    assert array["dma_address"].tolist() == [0x1_0000_3000, 0x1_0000_9000]
    assert np.asarray(desc.bio_vecs(phyr, vmemmap=0))["bv_page"].tolist() == [0xC0, 0x240]
    assert np.asarray(desc.page_list(phyr, 4096, byteorder="big")).tolist() == [
        0x3000,
        0x9000,
        0xA000,
    ]
    assert np.asarray(desc.map_requests(phyr, 0x8000))["uaddr"].tolist() == [0x8000, 0x9000]
    assert np.asarray(desc.vfio_maps(phyr, 0x8000))["vaddr"].tolist() == [0x8000, 0x9000]
    maps = np.asarray(desc.ioas_maps(phyr, 0x8000, ioas_id=5))
    assert maps["ioas_id"].tolist() == [5, 5]
    assert maps["iova"].tolist() == [0x3000, 0x9000]
    assert np.asarray(desc.sgl(phyr, phyr).segments)["identifier"].tolist() == [0, 0]


def test_an_empty_list_has_no_descriptors() -> None:
    empty = Phyr.from_chunks([])
    for table in (
        desc.scatterlist(empty, vmemmap=0),
        desc.bio_vecs(empty, vmemmap=0),
        desc.iovecs(empty, 0),
        desc.phys_vecs(empty),
        desc.page_list(empty, 4096),
        desc.map_requests(empty, 0),
        desc.vfio_maps(empty, 0),
        desc.ioas_maps(empty, 0, ioas_id=0),
    ):
        assert (len(table), table.nents, table.nbytes, bytes(table)) == (0, 0, 0, b"")
        assert table.fill(bytearray(64)) == 0


def test_what_cannot_be_says_why() -> None:
    phyr = Phyr.from_pfns([1, 5])
    device = Phyr.from_pfns([1], kind="mmio:7")
    for make in (desc.scatterlist, desc.bio_vecs):
        with pytest.raises(MismatchError, match="device 7 has no struct page"):
            make(device, vmemmap=0)
        with pytest.raises(RangeError, match="0x800"):
            make(phyr, vmemmap=0, limits=DeviceLimits(max_segment_size=0x800))
        with pytest.raises(RangeError, match="page size 0x200 "):
            make(phyr, vmemmap=0, page_size=512)
    assert len(desc.phys_vecs(device)) == 1
    with pytest.raises(RangeError, match="0x0 is too small"):
        desc.phys_vecs(phyr, limits=DeviceLimits(max_segment_size=0))
    with pytest.raises(RangeError, match="0x1000 is not one less"):
        desc.phys_vecs(phyr, limits=DeviceLimits(seg_boundary_mask=0x1000))
    with pytest.raises(RangeError, match="0xfff is below"):
        desc.phys_vecs(
            phyr, limits=DeviceLimits(seg_boundary_mask=0xFFF, virt_boundary_mask=0x1FFF)
        )
    with pytest.raises(AlignmentError, match="position 0x1000, at address 0x2000"):
        desc.phys_vecs(phyr, limits=DeviceLimits(virt_boundary_mask=0x3FFF))
    with pytest.raises(AlignmentError, match="block address 0x10"):
        desc.scatterlist(phyr, vmemmap=0, address=16)
    with pytest.raises(RangeError, match="passes the end"):
        desc.scatterlist(phyr, vmemmap=0, bus_offset=ALL)
    with pytest.raises(RangeError, match=r"0xffffffffffffff00 \+ 0x140 passes the end"):
        desc.bio_vecs(phyr, vmemmap=ALL - 255)
    with pytest.raises(RangeError, match="passes the end"):
        desc.iovecs(phyr, ALL - 0x5000)
    many = Phyr.from_pfns(range(0, 600, 2))
    with pytest.raises(RangeError, match="passes the end"):
        desc.scatterlist(many, vmemmap=0, address=ALL - 0x1FFF)
    assert len(desc.scatterlist(many, vmemmap=0, address=ALL - 0x2FFF)) == 302


def test_memory_to_fill_must_be_writable_contiguous_and_long_enough() -> None:
    table = desc.phys_vecs(Phyr.from_pfns([1, 5]))
    cases: list[tuple[Buffer, str]] = [
        (bytes(64), "not writable"),
        (memoryview(bytearray(64))[::2], "not C-contiguous"),
        (bytearray(15), "15 bytes have no room for a record of 16"),
    ]
    for buffer, why in cases:
        with pytest.raises(ValueError, match=why):
            table.fill(buffer)
    words = array("Q", bytes(64))
    assert table.fill(words) == 32
    assert words.tolist() == [0x1000, 0x1000, 0x5000, 0x1000, 0, 0, 0, 0]


def test_a_table_that_is_written_takes_memory_of_any_length() -> None:
    table = desc.phys_vecs(Phyr.from_pfns([1]))
    assert table.fill(bytearray(16)) == 16
    assert table.fill(bytearray(0)) == 0
    assert table.fill(bytearray(15)) == 0
    table.rewind()
    with pytest.raises(ArrayError, match="0 bytes have no room for a record of 16"):
        table.fill(bytearray(0))
    assert desc.phys_vecs(Phyr.from_pfns([])).fill(bytearray(0)) == 0


def test_what_is_lent_cannot_be_written_and_outlives_its_table() -> None:
    view = memoryview(desc.phys_vecs(Phyr.from_pfns([1, 5])))
    assert view.readonly
    assert (view.itemsize, view.shape, view.nbytes) == (16, (2,), 32)
    assert bytes(view)[:2] == b"\x00\x10"


def test_more_than_memory_is_an_error() -> None:
    table = desc.page_list(Phyr.from_chunks([(0, ALL - 8191)]), 4096)
    assert len(table) == (1 << 52) - 2
    with pytest.raises(MemoryError, match="36028797018963952 bytes"):
        bytes(table)
    with pytest.raises(MemoryError):
        table.tobytes()
    # How many there are is not known before they are made, but that they are too many is.
    cut = desc.phys_vecs(
        Phyr.from_chunks([(0, 1 << 62)]), limits=DeviceLimits(max_segment_size=0x3000)
    )
    for make in (memoryview, desc.Descriptors.tobytes):
        with pytest.raises(MemoryError, match=r"at least \d{16} bytes"):
            make(cut)
    buffer = bytearray(16)
    assert table.fill(buffer) == 16
    with pytest.raises(OverflowError, match="records are more than len"):
        len(desc.page_list(Phyr.from_chunks([(0, ALL - 8191)]), 1))


@pytest.mark.parametrize("mask", [0x2FFF, 0x3FFE, 0xFFF])
def test_descriptors_of_bus_addresses_stay_below_the_dma_mask(mask: int) -> None:
    phyr, lists = Phyr.from_pages([0x1000, 0x3000]), Phyr.from_pfns([100])
    limits = DeviceLimits(dma_mask=mask)
    makes: list[Callable[[DeviceLimits], object]] = [
        lambda limits: desc.phys_vecs(phyr, limits=limits),
        lambda limits: desc.sgl(phyr, lists, limits=limits),
        lambda limits: desc.scatterlist(phyr, vmemmap=0, bus_offset=0, limits=limits),
    ]
    number = 0 if mask < 0x1FFF else 1
    for make in makes:
        with pytest.raises(LimitError, match=f"chunk {number}, .* above the DMA mask {mask:#x}"):
            make(limits)
        assert make(DeviceLimits(dma_mask=0x3FFF))
    # The bus adds a constant: it is what the device puts out that counts.
    with pytest.raises(LimitError, match="chunk 0, 0x11000"):
        desc.scatterlist(phyr, vmemmap=0, bus_offset=0x1_0000, limits=limits)
    # No bus addresses, no mask.
    assert desc.scatterlist(phyr, vmemmap=0, limits=limits)
    assert desc.bio_vecs(phyr, vmemmap=0, limits=limits)
