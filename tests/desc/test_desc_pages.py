"""Page lists, map requests and splits, beside what brute force finds."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import AlignmentError, FormatError, Phyr, RangeError, desc
from support.desc_model import ALL, Range, best_pgsize, buffers, in_pieces, runs

K4, K8, K64, M2, G1 = 1 << 12, 1 << 13, 1 << 16, 1 << 21, 1 << 30


@st.composite
def regions(draw: st.DrawFn) -> tuple[list[Range], int]:
    """Draw a buffer, and an I/O virtual address that often agrees with it in some low bits."""
    unit = draw(st.sampled_from([K4, K8, K64, M2]))
    chunks = draw(buffers(unit) | runs(unit, most=4))
    length = sum(length for _, length in chunks)
    low = draw(st.sampled_from([K4, K8, K64, M2, G1]))
    base = draw(st.integers(0, 1 << 40)) * low
    return chunks, min(base + chunks[0][0] % low, ALL - length)


@given(regions(), st.integers(0, ALL) | st.sampled_from([K4 | M2 | G1, ALL, K8 | K64]))
def test_best_pgsize_is_what_trying_all_sizes_finds(
    region: tuple[list[Range], int], bitmap: int
) -> None:
    chunks, iova = region
    phyr = Phyr.from_chunks(chunks)
    best = desc.best_pgsize(phyr, bitmap, iova)
    assert best == best_pgsize(chunks, bitmap, iova)
    if best:
        # Each byte of the region is found through the page list.
        table = list(memoryview(desc.page_list(phyr, best)))
        va = iova
        for paddr, length in chunks:
            for step in {0, length // 2, length - 1}:
                at = va + step
                assert table[at // best - iova // best] + at % best == paddr + step
            va += length
        assert len(table) == (va - 1) // best - iova // best + 1


def test_a_short_tail_does_not_hold_the_size_back() -> None:
    phyr = Phyr.from_chunks([(M2, 4096 * M2), (1 << 40, K4)])
    assert desc.best_pgsize(phyr, K4 | M2, 1 << 41) == M2
    assert len(desc.page_list(phyr, M2)) == 4097


def test_addresses_that_agree_only_modulo_8_kib_take_no_more() -> None:
    phyr = Phyr.from_chunks([(0x20_2000, M2)])
    assert desc.best_pgsize(phyr, K4 | K8 | K64 | M2, 0x4000_0000) == K8
    assert desc.best_pgsize(phyr, K4 | K64 | M2, 0x4000_0000) == K4
    assert desc.best_pgsize(phyr, K64 | M2, 0x4000_0000) == 0


def test_sizes_below_4_kib_are_left_out() -> None:
    phyr = Phyr.from_chunks([(0x1000, 0x1000)])
    assert desc.best_pgsize(phyr, 512 | 1024, 0x1000) == 0
    assert desc.best_pgsize(phyr, 512 | K4, 0x1000) == K4
    assert desc.best_pgsize(phyr, 512 | K4, 0x1200) == 0


def test_runs_that_touch_count_as_one() -> None:
    phyr = Phyr.from_chunks([(M2, K4), (M2 + K4, M2 - K4)])
    assert desc.best_pgsize(phyr, K4 | M2, M2) == M2


def test_the_top_of_either_space_does_not_overflow() -> None:
    top = (1 << 64) - M2
    phyr = Phyr.from_chunks([(top, M2)])
    assert desc.best_pgsize(phyr, K4 | M2, top) == M2
    assert desc.best_pgsize(phyr, ALL, top) == M2
    assert desc.best_pgsize(phyr, ALL, 0) == M2
    assert desc.best_pgsize(Phyr.from_chunks([]), K4 | M2, ALL) == K4
    with pytest.raises(RangeError, match=r"0xffffffffffffffff \+ 0x1fffff passes the end"):
        desc.best_pgsize(phyr, K4, ALL)
    whole = Phyr.from_chunks([(0, ALL - 8191)])
    assert desc.best_pgsize(whole, ALL, 0) == 1 << 63
    assert [*memoryview(desc.page_list(whole, 1 << 63))] == [0, 1 << 63]
    assert [*memoryview(desc.page_list(phyr, M2))] == [top]


@given(buffers(), st.sampled_from(["little", "big"]), st.integers(0, 4095))
def test_a_page_list_is_every_block_that_is_touched(
    chunks: list[Range], byteorder: str, flags: int
) -> None:
    table = desc.page_list(
        Phyr.from_chunks(chunks),
        K4,
        flags=flags,
        byteorder=byteorder,  # type: ignore[arg-type]
    )
    expected = [
        block * K4 + flags
        for paddr, length in chunks
        for block in range(paddr // K4, (paddr + length - 1) // K4 + 1)
    ]
    code = "<" if byteorder == "little" else ">"
    assert bytes(table) == struct.pack(f"{code}{len(expected)}Q", *expected)
    assert in_pieces(table.fill, [24, 8000]) == bytes(table)


def test_a_page_list_refuses_what_it_cannot_hold() -> None:
    phyr = Phyr.from_pfns([1, 3])
    with pytest.raises(AlignmentError, match="0x2000"):
        desc.page_list(phyr, K8)
    for page_size in (0, 3, 5000):
        with pytest.raises(RangeError, match="not a power of two"):
            desc.page_list(phyr, page_size)
    with pytest.raises(FormatError, match="flags is 0x1000"):
        desc.page_list(phyr, K4, flags=K4)
    with pytest.raises(RangeError, match="middle"):
        desc.page_list(phyr, K4, byteorder="middle")  # type: ignore[arg-type]


@given(runs())
def test_requests_cover_the_buffer_once_and_are_as_few_as_can_be(chunks: list[Range]) -> None:
    uaddr = 0x7F00_0000_0000
    plan = list(struct.iter_unpack("<QQQ", desc.map_requests(Phyr.from_chunks(chunks), uaddr)))
    assert [(iova, length) for iova, _, length in plan] == chunks
    for _, start, length in plan:
        assert start == uaddr
        uaddr += length


@given(runs(), st.integers(0, 7), st.integers(0, 2**32 - 1))
def test_ioctl_structs_hold_the_same_requests(chunks: list[Range], flags: int, ioas: int) -> None:
    phyr, uaddr = Phyr.from_chunks(chunks), 0x7F00_0000_0000
    plan = list(struct.iter_unpack("<QQQ", desc.map_requests(phyr, uaddr)))
    vfio = desc.vfio_maps(phyr, uaddr, flags=flags)
    assert list(struct.iter_unpack("<IIQQQ", vfio)) == [
        (32, flags, vaddr, iova, length) for iova, vaddr, length in plan
    ]
    maps = desc.ioas_maps(phyr, uaddr, ioas_id=ioas, flags=flags)
    assert list(struct.iter_unpack("<IIIIQQQ", maps)) == [
        (40, flags, ioas, 0, vaddr, length, iova) for iova, vaddr, length in plan
    ]


def test_the_fields_of_ioctl_structs_have_32_bits() -> None:
    phyr = Phyr.from_pfns([1])
    with pytest.raises(FormatError, match="flags is 0x100000000"):
        desc.vfio_maps(phyr, 0, flags=1 << 32)
    with pytest.raises(FormatError, match="flags is 0x100000000"):
        desc.ioas_maps(phyr, 0, flags=1 << 32, ioas_id=1)
    with pytest.raises(FormatError, match="ioas_id is 0x100000000"):
        desc.ioas_maps(phyr, 0, ioas_id=1 << 32)


def test_only_vfio_limits_the_number_of_requests() -> None:
    phyr = Phyr.from_pfns(range(0, 2 * 65_536, 2))
    with pytest.raises(RangeError, match="65536 requests pass the limit of 65535"):
        desc.vfio_maps(phyr, 0)
    assert len(desc.vfio_maps(phyr, 0, max_requests=65_536)) == 65_536
    assert len(desc.ioas_maps(phyr, 0, ioas_id=1)) == 65_536


def test_a_linear_window_is_one_request() -> None:
    window = Phyr.from_chunks([(1 << 40, G1)])
    assert list(struct.iter_unpack("<QQQ", desc.map_requests(window, M2))) == [(1 << 40, M2, G1)]


def test_the_limit_on_requests_is_known_before_the_first() -> None:
    phyr = Phyr.from_pfns(range(0, 2 * 65_536, 2))
    assert len(desc.map_requests(phyr[4096:], 0)) == 65_535
    with pytest.raises(RangeError, match="65536 requests pass the limit of 65535") as caught:
        desc.map_requests(phyr, 0)
    assert (caught.value.nr_requests, caught.value.max_requests) == (65_536, 65_535)
    assert len(desc.map_requests(phyr, 0, max_requests=65_536)) == 65_536


def test_a_request_is_whole_pages_of_the_iommu() -> None:
    phyr = Phyr.from_pfns([1, 2, 5, 6])
    for args, why in [
        ((phyr[1:], 0), "iova 0x1001"),
        ((phyr, 1), "uaddr 0x1 "),
        ((phyr[:-1], 0), "length 0x3fff"),
    ]:
        with pytest.raises(AlignmentError, match=why):
            desc.map_requests(*args)
    with pytest.raises(AlignmentError, match="0x1000"):
        desc.map_requests(phyr, 0, page_size=K8)
    with pytest.raises(AlignmentError, match="position 0x2000"):
        desc.map_requests(Phyr.from_pfns([2, 3, 5, 6]), 0, page_size=K8)
    with pytest.raises(RangeError, match="passes the end"):
        desc.map_requests(phyr, ALL - 4095)
    with pytest.raises(RangeError, match="not a power of two"):
        desc.map_requests(phyr, 0, page_size=0)


@given(buffers(), st.lists(st.integers(0, 9000), max_size=8), st.integers(0, 9000))
def test_parts_are_the_slices_without_the_empty_ones(
    chunks: list[Range], lengths: list[int], start: int
) -> None:
    phyr = Phyr.from_chunks(chunks)
    if any(lengths) and start + sum(lengths) > phyr.length:
        with pytest.raises(RangeError):
            desc.split(phyr, lengths, start=start)
        return
    expected = []
    for length in lengths:
        if length:
            expected.append(phyr[start : start + length])
        start += length
    assert desc.split(phyr, lengths, start=start - sum(lengths)) == expected


def test_a_part_past_2_64_is_outside() -> None:
    with pytest.raises(RangeError, match="outside"):
        desc.split(Phyr.from_pfns([1]), [4096, ALL])
