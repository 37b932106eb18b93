"""PRPs and SGLs: a controller that follows them finds the buffer."""

import contextlib
import struct
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from phyr import AlignmentError, FormatError, Phyr, RangeError, desc
from phyr.iommu import DeviceLimits
from support.desc_model import (
    ALL,
    Controller,
    Range,
    buffers,
    golden,
    in_pieces,
    merged,
    segments,
    write_prp_lists,
)

PAGE_SIZES = st.integers(12, 16).map(lambda lg2: 1 << lg2)


def scattered(count: int, size: int) -> tuple[Phyr, list[int]]:
    """Return list pages that do not touch."""
    blocks = [0x1_0000_0000 + 2 * number * size for number in range(count)]
    return Phyr.from_chunks([(block, size) for block in blocks], granule=min(size, 4096)), blocks


@given(PAGE_SIZES.flatmap(lambda size: st.tuples(st.just(size), buffers(size, step=4))))
def test_prps_followed_by_a_controller_are_the_buffer(case: tuple[int, list[Range]]) -> None:
    page_size, chunks = case
    phyr = Phyr.from_chunks(chunks)
    lists, blocks = scattered(8, page_size)
    prp1, prp2, table = desc.prp(phyr, lists, page_size=page_size)
    controller = Controller(blocks, page_size, bytes(table))
    assert merged(controller.follow_prps(prp1, prp2, phyr.length)) == chunks
    back = desc.from_prp(prp1, prp2, phyr.length, controller.read, page_size=page_size)
    assert back == phyr


@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
@pytest.mark.parametrize("extra", [-1, 0, 1, 2])
@pytest.mark.parametrize("lists_needed", [0, 1, 2, 3])
def test_a_list_page_links_on_only_where_not_all_fits(
    page_size: int, extra: int, lists_needed: int
) -> None:
    slots = page_size // 8
    # Entries that just fill so many list pages, and some more or less.
    full = slots + (lists_needed - 1) * (slots - 1) if lists_needed else 1
    entries = max(full + extra, 0)
    pages = [number * 2 * page_size for number in range(1, entries + 2)]
    phyr = Phyr.from_chunks([(page, page_size) for page in pages])
    needed, left = 0, entries
    if entries > 1:
        needed = 1
        while left > slots:
            needed, left = needed + 1, left - (slots - 1)
    lists, blocks = scattered(needed, page_size)
    prp1, prp2, table = desc.prp(phyr, lists, page_size=page_size)
    assert len(table) == (entries + needed - 1 if needed else 0)
    assert table.nents == (entries if needed else 0)
    controller = Controller(blocks, page_size, bytes(table))
    assert [page for page, _ in controller.follow_prps(prp1, prp2, len(phyr))] == pages
    assert desc.from_prp(prp1, prp2, len(phyr), controller.read, page_size=page_size) == phyr
    if needed:
        too_few, _ = scattered(needed - 1, page_size)
        with pytest.raises(RangeError) as caught:
            desc.prp(phyr, too_few, page_size=page_size)
        assert caught.value.needed == needed * page_size
        assert caught.value.given == (needed - 1) * page_size


@pytest.mark.parametrize("entries", [1, 2, 512, 513, 514, 1023, 1024, 5000])
def test_prp_images_of_an_independent_writer(entries: int) -> None:
    pages = [(1000 + 3 * number) * 4096 for number in range(entries + 1)]
    lists, blocks = scattered(20, 4096)
    image = write_prp_lists(pages[1:], blocks, 4096)
    prp1, prp2, table = desc.prp(Phyr.from_pages(pages), lists)
    assert prp1 == pages[0]
    assert (prp2, bytes(table)) == ((pages[1], b"") if entries == 1 else (blocks[0], image))


@given(buffers(step=4), st.lists(st.integers(8, 600), min_size=1, max_size=4))
def test_prp_lists_filled_in_pieces_are_the_whole(chunks: list[Range], pieces: list[int]) -> None:
    table = desc.prp(Phyr.from_chunks(chunks), Phyr.from_pfns(range(16))).lists
    assert in_pieces(table.fill, pieces) == bytes(table)


def test_one_page_and_two_pages_need_no_list() -> None:
    assert desc.prp(Phyr.from_chunks([(0x1FFC, 4)]))[:2] == (0x1FFC, 0)
    assert desc.prp(Phyr.from_chunks([(0x1000, 0x1000)]))[:2] == (0x1000, 0)
    assert desc.prp(Phyr.from_chunks([(0x1FFC, 5)]))[:2] == (0x1FFC, 0x2000)
    assert desc.prp(Phyr.from_chunks([(0x1FFC, 0x1004)]))[:2] == (0x1FFC, 0x2000)
    with pytest.raises(RangeError, match="0x1000 bytes of blocks, and `lists` has 0x0") as caught:
        desc.prp(Phyr.from_chunks([(0x1FFC, 0x1005)]))
    error = caught.value
    assert (error.argument, error.needed, error.given) == ("lists", 0x1000, 0)


def test_what_a_prp_cannot_express_is_refused_by_name() -> None:
    with pytest.raises(AlignmentError, match="first address 0x1002 is not a multiple of 0x4"):
        desc.prp(Phyr.from_chunks([(0x1002, 8)]))
    hole = Phyr.from_chunks([(0x1000, 0x200), (0x5000, 0x200)], granule=512)
    with pytest.raises(AlignmentError, match="position 0x200, at address 0x1200"):
        desc.prp(hole)
    late = Phyr.from_chunks([(0x1000, 0x1000), (0x5200, 0x200)], granule=512)
    with pytest.raises(AlignmentError, match="position 0x1000, at address 0x5200") as caught:
        desc.prp(late)
    assert (caught.value.paddr, caught.value.position, caught.value.align) == (0x5200, 4096, 0x1000)
    small = Phyr.from_pfns([1, 3])
    with pytest.raises(AlignmentError, match="0x2000"):
        desc.prp(small, page_size=8192)
    with pytest.raises(RangeError, match="empty list"):
        desc.prp(Phyr.from_chunks([]))
    for page_size in (2048, 5000, 1 << 17):
        with pytest.raises(RangeError, match="not a power of two from 0x1000 to 0x10000"):
            desc.prp(small, page_size=page_size)
    three = Phyr.from_pfns([1, 3, 5])
    with pytest.raises(AlignmentError, match="list address 0x1010"):
        desc.prp(three, Phyr.from_chunks([(0x1010, 0x2000)]))
    with pytest.raises(AlignmentError):
        desc.prp(three, Phyr.from_chunks([(0x1000, 0x200), (0x3000, 0xE00)], granule=512))


@given(
    st.sampled_from([32, 64, 4096]),
    buffers(4),
    st.sampled_from([ALL, 4096, 8192]),
    st.lists(st.integers(16, 600), min_size=1, max_size=4),
)
def test_sgls_followed_by_a_controller_are_the_buffer(
    segment_size: int, chunks: list[Range], size: int, pieces: list[int]
) -> None:
    chunks = merged([(paddr % (1 << 50), length) for paddr, length in chunks])
    phyr = Phyr.from_chunks(chunks, granule=4)
    lists, blocks = scattered(64, segment_size)
    sgl1, table = desc.sgl(
        phyr, lists, segment_size=segment_size, limits=DeviceLimits(max_segment_size=size)
    )
    controller = Controller(blocks, segment_size, bytes(table))
    found = controller.follow_sgl(sgl1)
    assert found == segments(chunks, min(size, 0xFFFF_F000), ALL, 4096)
    assert desc.from_sgl(sgl1, controller.read, granule=4) == phyr
    assert in_pieces(table.fill, pieces) == bytes(table)


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 511, 512, 2000])
def test_sgl_segments_say_which_is_the_last(count: int) -> None:
    phyr = Phyr.from_pfns([3 * number for number in range(count)])
    lists, blocks = scattered(10, 4096)
    sgl1, table = desc.sgl(phyr, lists)
    controller = Controller(blocks, 4096, bytes(table))
    assert controller.follow_sgl(sgl1) == [(3 * number * 4096, 4096) for number in range(count)]
    kinds = {1: 0x00, 2: 0x30, 255: 0x30, 256: 0x30}
    assert sgl1[15] == kinds.get(count, 0x20)
    if count > 1:
        with pytest.raises(RangeError, match="and `lists` has 0x0"):
            desc.sgl(phyr)


def test_an_sgl_takes_any_address_and_cuts_at_4_gib() -> None:
    sgl1, table = desc.sgl(Phyr.from_chunks([(7, 1)], granule=1))
    assert (sgl1, bytes(table)) == (struct.pack("<QIBBBB", 7, 1, 0, 0, 0, 0), b"")
    sgl1, table = desc.sgl(Phyr.from_chunks([(0x1000, 4 << 30)]), Phyr.from_pfns([9]))
    assert list(struct.iter_unpack("<QII", bytes(table))) == [
        (0x1000, 0xFFFF_F000, 0),
        (0x1_0000_0000, 0x1000, 0),
    ]
    assert desc.sgl(Phyr.from_chunks([]))[0] == bytes(16)
    with pytest.raises(RangeError, match="segment size 0x10 "):
        desc.sgl(Phyr.from_pfns([1]), segment_size=16)


def unread(address: int, length: int) -> bytes:
    """Fail: nothing is to be read."""
    raise AssertionError((address, length))


@pytest.mark.parametrize("read", [None, 5])
def test_memory_to_be_read_needs_a_function(read: object) -> None:
    text = f"read is {read}, not a function, and memory at 0x2000 is to be read"
    with pytest.raises(TypeError, match=text):
        desc.from_prp(0x1000, 0x2000, 0x3000, read)  # type: ignore[arg-type]
    assert desc.from_prp(0x1000, 0x2000, 0x2000, read).length == 0x2000  # type: ignore[arg-type]


def test_hostile_prps_are_refused_by_entry() -> None:
    with pytest.raises(FormatError, match="record 0: offset is 0x1001"):
        desc.from_prp(0x1001, 0, 10, unread)
    with pytest.raises(FormatError, match="record 1: offset is 0x2008"):
        desc.from_prp(0x1000, 0x2008, 0x2000, unread)
    with pytest.raises(FormatError, match="list is 0x2004"):
        desc.from_prp(0x1000, 0x2004, 0x3000, unread)
    with pytest.raises(FormatError, match="record 3: offset is 0x7010"):
        desc.from_prp(0x1000, 0x2000, 0x3000, lambda _at, _n: struct.pack("<QQ", 0x3000, 0x7010))

    def circle(_address: int, length: int) -> bytes:
        return struct.pack("<Q", 0x2000) * (length // 8)

    with pytest.raises(FormatError, match="lead on after 511 records"):
        desc.from_prp(0x1000, 0x2000, ALL, circle)
    with pytest.raises(ValueError, match=r"read\(0x2000, 16\) returned 3 bytes"):
        desc.from_prp(0x1000, 0x2000, 0x3000, lambda _at, _n: b"abc")
    with pytest.raises(ZeroDivisionError):
        desc.from_prp(0x1000, 0x2000, 0x3000, lambda _at, _n: bytes(1 // 0))
    with pytest.raises(RangeError, match="page size"):
        desc.from_prp(0, 0, 0, unread, page_size=5)
    assert desc.from_prp(0x1000, 0, 0, unread).length == 0


def test_a_prp_list_may_start_inside_a_page() -> None:
    memory = bytearray(0x4000)
    struct.pack_into("<QQ", memory, 0x1FF0, 0x5000, 0x3000)  # one entry, and the next list
    struct.pack_into("<QQ", memory, 0x3000, 0x9000, 0x7000)
    found = desc.from_prp(0xF000, 0x1FF0, 0x3800, lambda at, count: memory[at : at + count])
    assert [*found.chunks] == [
        (0xF000, 0x1000),
        (0x5000, 0x1000),
        (0x9000, 0x1000),
        (0x7000, 0x800),
    ]


def block(address: int, length: int, kind: int) -> bytes:
    """Return an SGL descriptor: 0 data, 0x20 segment, 0x30 last segment."""
    return struct.pack("<QI3xB", address, length, kind)


def memory(*descriptors: bytes) -> Callable[[int, int], bytes]:
    """Return a reader of memory that starts with these."""
    return lambda at, count: b"".join(descriptors)[at : at + count]


def test_hostile_sgls_are_refused_by_descriptor() -> None:
    with pytest.raises(FormatError, match="15 bytes are not whole records of 16"):
        desc.from_sgl(bytes(15), unread)
    with pytest.raises(FormatError, match="record 0: identifier is 0x10"):
        desc.from_sgl(block(0, 1, 0x10), unread)
    with pytest.raises(FormatError, match="record 0: length is 0x0"):
        desc.from_sgl(block(0, 0, 0x30), unread)
    with pytest.raises(FormatError, match="24 bytes are not whole"):
        desc.from_sgl(block(0, 24, 0x30), unread)
    with pytest.raises(FormatError, match="record 1: identifier is 0x30"):
        desc.from_sgl(block(0, 32, 0x20), memory(block(0, 16, 0x30), block(0x1000, 1, 0)))
    with pytest.raises(FormatError, match="record 1: identifier is 0x20"):
        desc.from_sgl(block(0, 16, 0x30), memory(block(0, 16, 0x20)))
    with pytest.raises(FormatError, match="lead on"):
        desc.from_sgl(block(0, 16, 0x20), memory(block(0, 16, 0x20)))
    with pytest.raises(FormatError, match=r"record 2: .*granule of 4096"):
        desc.from_sgl(block(0, 32, 0x30), memory(block(0x1000, 8, 0), block(0x3000, 8, 0)))
    both = desc.from_sgl(block(0, 32, 0x30), memory(block(5, 0, 0), block(0x3000, 8, 0)))
    assert [*both.chunks] == [(0x3000, 8)]
    assert desc.from_sgl(bytes(16), unread).length == 0


# A segment at 0 of two data blocks and a link to one at 48 of two more.
CHAIN = memory(
    block(0x1000, 0x1000, 0),
    block(0x5000, 0x2000, 0),
    block(48, 32, 0x30),
    block(0x9000, 0x1000, 0),
    block(0x3000, 0x800, 0),
)


@pytest.mark.parametrize("max_length", [None, 0x4800, 0x4801, 4 << 30, ALL])
def test_an_sgl_of_no_more_than_max_length_is_read(max_length: int | None) -> None:
    found = desc.from_sgl(block(0, 48, 0x20), CHAIN, max_length=max_length)
    assert found.length == 0x4800


@pytest.mark.parametrize(
    ("max_length", "index", "length"),
    [
        (0, 1, 0x1000),
        (0xFFF, 1, 0x1000),
        (0x1000, 2, 0x3000),
        (0x3000, 4, 0x4000),
        (0x47FF, 5, 0x4800),
    ],
)
def test_an_sgl_of_more_than_max_length_is_refused_at_the_first_block_beyond(
    max_length: int, index: int, length: int
) -> None:
    why = f"record {index}: {length:#x} bytes of data in all, more than {max_length:#x}"
    with pytest.raises(FormatError, match=why) as caught:
        desc.from_sgl(block(0, 48, 0x20), CHAIN, max_length=max_length)
    error = caught.value
    assert (error.index, error.length, error.max_length) == (index, length, max_length)


def test_max_length_of_an_sgl_is_a_number() -> None:
    assert desc.from_sgl(bytes(16), unread, max_length=0).length == 0
    with pytest.raises(FormatError, match="record 0: 0x1 bytes of data in all, more than 0x0"):
        desc.from_sgl(block(0, 1, 0), unread, max_length=0)
    for wrong in (-1, 1 << 64):
        with pytest.raises(RangeError, match="not a number from 0"):
            desc.from_sgl(bytes(16), unread, max_length=wrong)


def test_sgl_segments_in_a_circle_are_noticed_though_they_hold_data() -> None:
    # The last of three segments leads back to the first.
    links = [block(64, 64, 0x20), block(128, 64, 0x20), block(0, 64, 0x20)]
    a, b, c = ([block(0x1000 * page, 0x1000, 0) for page in (at, 3, 5)] for at in (7, 9, 11))
    read = memory(*a, links[0], *b, links[1], *c, links[2])
    for max_length in (None, ALL, 1 << 40):
        with pytest.raises(FormatError, match=r"lead on after [2-5][0-9] records"):
            desc.from_sgl(links[2], read, max_length=max_length)
    with pytest.raises(FormatError, match="record 13: 0xa000 bytes of data"):
        desc.from_sgl(links[2], read, max_length=0x9FFF)


@pytest.mark.parametrize("max_length", [None, 0x1000, ALL])
@pytest.mark.parametrize("length", [1, 15, 17, 24, 4095, 0xFFFF_FFFF])
def test_a_later_sgl_segment_that_is_not_whole_descriptors_is_refused(
    length: int, max_length: int | None
) -> None:
    for kind in (0x20, 0x30):
        read = memory(block(0x1000, 0x1000, 0), block(32, length, kind))
        with pytest.raises(FormatError, match=f"{length} bytes are not whole records of 16"):
            desc.from_sgl(block(0, 32, 0x20), read, max_length=max_length)


@pytest.mark.parametrize("max_length", [None, 0x1000, ALL])
def test_a_later_sgl_segment_of_no_descriptors_is_refused(max_length: int | None) -> None:
    for kind in (0x20, 0x30):
        read = memory(block(0x1000, 0x1000, 0), block(32, 0, kind))
        with pytest.raises(FormatError, match="record 2: length is 0x0"):
            desc.from_sgl(block(0, 32, 0x20), read, max_length=max_length)


@pytest.mark.parametrize("max_length", [None, 0x1000])
def test_an_sgl_that_leads_on_without_data_is_refused(max_length: int | None) -> None:
    def read(address: int, length: int) -> bytes:
        # Blocks of no bytes, and a link to a place not seen before.
        return bytes(length - 16) + block(address + 4096, 4096, 0x20)

    with pytest.raises(FormatError, match=r"after 10485\d\d records, in a circle or without data"):
        desc.from_sgl(block(0, 4096, 0x20), read, max_length=max_length)


def test_a_byte_of_data_now_and_then_does_not_lead_an_sgl_on() -> None:
    def read(address: int, length: int) -> bytes:
        data = block(2 * address, 1, 0)
        return data + bytes(length - 32) + block(address + 4096, 4096, 0x20)

    with pytest.raises(FormatError, match="records, in a circle or without data") as caught:
        desc.from_sgl(block(0, 4096, 0x20), read, granule=1)
    # Of 256 descriptors, one is data, and makes up for one that is not.
    records = caught.value.records
    assert isinstance(records, int)
    assert 1 << 20 < records < (1 << 20) * 257 // 254 + 512


def test_an_sgl_without_end_stops_at_max_length() -> None:
    reads = 0

    def read(address: int, length: int) -> bytes:
        nonlocal reads
        reads += 1
        ones = [block(2 * address + 2 * at, 1, 0) for at in range(0, length - 16, 16)]
        return b"".join(ones) + block(address + 4096, 4096, 0x20)

    with pytest.raises(FormatError, match="0x2711 bytes of data in all, more than 0x2710"):
        desc.from_sgl(block(0, 4096, 0x20), read, max_length=10_000, granule=1)
    assert reads == 1 + 10_000 // 255


def test_a_segment_as_long_as_its_length_can_say_is_not_read_at_once() -> None:
    asked = []

    def read(address: int, length: int) -> bytes:
        asked.append((address, length))
        return block(0x1000, 0x1000, 0) * (length // 16)

    with pytest.raises(FormatError, match="record 2: 0x2000 bytes of data"):
        desc.from_sgl(block(0, 0xFFFF_FFF0, 0x30), read, max_length=0x1000)
    assert asked == [(0, 4096)]


def test_prp_lists_that_only_lead_on_are_refused() -> None:
    def read(address: int, length: int) -> bytes:
        # A list that starts at the last entry of its page holds a link only.
        assert length == 8
        return struct.pack("<Q", address + 4096)

    with pytest.raises(FormatError, match="records, in a circle or without data"):
        desc.from_prp(0, 0x1FF8, 1 << 30, read)


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=64, max_size=256), st.data())
def test_any_bytes_are_an_sgl_or_an_error(sgl1: bytes, noise: bytes, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([0x00, 0x20, 0x30, sgl1[15]]))
    reads = 0

    def read(address: int, length: int) -> bytes:
        nonlocal reads
        reads += 1
        assume(reads < 1000)
        start = address % len(noise)
        return (noise[start:] + noise * (length // len(noise) + 1))[:length]

    max_length = data.draw(st.none() | st.integers(0, ALL))
    with contextlib.suppress(FormatError):
        found = desc.from_sgl(
            sgl1[:10] + bytes(5) + bytes([kind]), read, max_length=max_length, granule=1
        )
        found.validate()
        assert max_length is None or found.length <= max_length


def test_the_image_in_golden_is_followed_too() -> None:
    image = golden("sgl.hex")
    controller = Controller([0x64000], 4096, image[16:])
    assert controller.follow_sgl(image[:16]) == [(0x3800, 0x1800), (0x9000, 0x1000), (0x7000, 16)]
