"""Lists from the bytes of others, hostile ones included."""

import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import AlignmentError, FormatError, HiddenPagesError, Phyr, RangeError, desc
from support.desc_model import ALL, VMEMMAP

if TYPE_CHECKING:
    from collections.abc import Callable


def entry(link: int, length: int = 4096, dma: tuple[int, int] = (0, 0)) -> bytes:
    """Return a scatterlist entry of offset 0."""
    return struct.pack("<QIIQII", link, 0, length, *dma, 0)


def page(pfn: int) -> int:
    """Return the pointer to a struct page."""
    return VMEMMAP + pfn * 64


def test_a_scatterlist_that_never_ends_is_an_error() -> None:
    with pytest.raises(FormatError, match="does not end within its 1 records"):
        desc.from_scatterlist(entry(page(1)), vmemmap=VMEMMAP)
    with pytest.raises(FormatError, match="does not end within its 0 records"):
        desc.from_scatterlist(b"", vmemmap=VMEMMAP)
    circle = entry(page(1)) + entry(0x8000 | 1)
    with pytest.raises(FormatError, match="lead on after 2 records"):
        desc.from_scatterlist(circle, vmemmap=VMEMMAP, address=0x8000)
    with pytest.raises(FormatError, match="lead on after 1 records"):
        desc.from_scatterlist(entry(1), vmemmap=VMEMMAP)


@pytest.mark.parametrize("link", [0x7FE0, 0x8010, 0x8040, ALL & ~3])
def test_a_link_out_of_the_table_is_an_error(link: int) -> None:
    with pytest.raises(FormatError, match=f"record 1 links to {link:#x}, where no block is"):
        desc.from_scatterlist(entry(page(1)) + entry(link | 1), vmemmap=VMEMMAP, address=0x8000)


def test_a_pointer_to_no_struct_page_is_an_error() -> None:
    for link in (VMEMMAP + 32, VMEMMAP - 64):
        with pytest.raises(FormatError, match=f"record 0: page is {link:#x}"):
            desc.from_scatterlist(entry(link | 2), vmemmap=VMEMMAP)
        with pytest.raises(FormatError, match=f"record 0: page is {link:#x}"):
            desc.from_bio_vecs(struct.pack("<QII", link, 1, 0), vmemmap=VMEMMAP)
    with pytest.raises(FormatError, match="record 0: page is"):
        desc.from_bio_vecs(struct.pack("<QII", page((1 << 52) - 1), 1, 4096), vmemmap=VMEMMAP)


def test_the_dma_addresses_end_where_the_dma_length_is_0() -> None:
    table = entry(page(1), dma=(0x7000, 0x2000)) + entry(page(9), dma=(0, 0)) + entry(page(5) | 2)
    assert [*desc.from_scatterlist(table, vmemmap=VMEMMAP, dma=True).chunks] == [(0x7000, 0x2000)]
    assert len(desc.from_scatterlist(table, vmemmap=VMEMMAP).chunks) == 3


def test_records_are_whole_and_hold_bytes() -> None:
    readers: list[tuple[Any, dict[str, int]]] = [
        (desc.from_scatterlist, {"vmemmap": 0}),
        (desc.from_bio_vecs, {"vmemmap": 0}),
        (desc.from_iovecs, {"uaddr": 0}),
        (desc.from_phys_vecs, {}),
    ]
    for read, keywords in readers:
        with pytest.raises(FormatError, match="17 bytes are not whole records"):
            read(bytes(17), **keywords)
        with pytest.raises(FormatError, match=r"record 0: .*no bytes"):
            read(bytes(32), **keywords)
        with pytest.raises(RangeError, match="granule 3"):
            read(bytes(32), granule=3, **keywords)
    with pytest.raises(RangeError, match="page size"):
        desc.from_bio_vecs(bytes(16), vmemmap=0, page_size=1)


def test_what_a_list_cannot_hold_is_named_by_record() -> None:
    rows = struct.pack("<QQQQ", 0x1000, 0x10, 0x5000, 0x10)
    with pytest.raises(FormatError, match=r"record 1: .* ends inside a granule of 4096") as caught:
        desc.from_phys_vecs(rows)
    assert caught.value.index == 1
    assert desc.from_phys_vecs(rows, granule=16).length == 0x20
    with pytest.raises(FormatError, match="passes the end"):
        desc.from_phys_vecs(struct.pack("<QQ", ALL, 2))
    with pytest.raises(FormatError, match="record 0: iov_base is 0x10"):
        desc.from_iovecs(struct.pack("<QQ", 0x10, 0x10), 0x20)


@given(st.binary(max_size=320), st.integers(0, ALL), st.booleans())
def test_any_bytes_are_a_list_or_an_error(noise: bytes, base: int, dma: bool) -> None:  # noqa: FBT001
    noise = noise[: len(noise) // 32 * 32]
    readers: list[Callable[[], Phyr]] = [
        lambda: desc.from_scatterlist(noise, vmemmap=base, dma=dma, granule=1),
        lambda: desc.from_scatterlist(noise, vmemmap=0, address=base, dma=dma),
        lambda: desc.from_bio_vecs(noise, vmemmap=base, granule=1),
        lambda: desc.from_iovecs(noise, base, granule=1),
        lambda: desc.from_phys_vecs(noise, granule=1),
    ]
    for read in readers:
        with suppress(FormatError):
            read().validate()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 2)), max_size=12))
def test_any_links_end_or_are_an_error(rows: list[tuple[int, int, int]]) -> None:
    table = b"".join(
        entry(0x8000 + target * 32 | 1)
        if mark == 1
        else entry(page(target * 3) | mark, 4096 * size)
        for target, mark, size in rows
    )
    with suppress(FormatError):
        desc.from_scatterlist(table, vmemmap=VMEMMAP, address=0x8000).validate()


def test_ranges_are_inclusive_or_not() -> None:
    phyr = Phyr.from_chunks([(0x1000, 0x2000), (0x9000, 0x1000)])
    assert desc.from_ranges([(0x1000, 0x2FFF), (0x9000, 0x9FFF)]) == phyr
    assert desc.from_ranges([(0x1000, 0x3000), (0x9000, 0xA000)], inclusive=False) == phyr
    assert desc.from_ranges([(ALL, ALL)]).length == 1
    assert desc.from_ranges([(0x10, 0x1F)], granule=16, kind="mmio").kind == "mmio"
    with pytest.raises(RangeError, match="from 0x2 to last 0x1 has no bytes"):
        desc.from_ranges([(2, 1)])
    with pytest.raises(RangeError, match="from 0x2 to end 0x2 has no bytes"):
        desc.from_ranges([(2, 2)], inclusive=False)
    whole = "0x0 to last 0xffffffffffffffff has 0x10000000000000000 bytes, one more than a list"
    with pytest.raises(RangeError, match=whole):
        desc.from_ranges([(0, ALL)])
    with pytest.raises(
        RangeError, match="0x1000 to last 0x10000000000000fff leaves the 64-bit space"
    ):
        desc.from_ranges([(0x1000, ALL + 0x1000)])
    with pytest.raises(RangeError, match="-0x1000 to end 0x1000 leaves the 64-bit space"):
        desc.from_ranges([(-0x1000, 0x1000)], inclusive=False)
    with pytest.raises(AlignmentError):
        desc.from_ranges([(0x1000, 0x10FF), (0x3000, 0x30FF)])


def test_iomem_is_read_by_name() -> None:
    text = (
        "00000000-00000fff : Reserved\n"
        "00001000-0009fbff : System RAM\n"
        "000f0000-000fffff : System ROM\n"
        "00100800-001017ff : System RAM\n"
        "00200000-003fffff : System RAM (kmem)\n"
        "  00200000-002fffff : Kernel code\n"
        "100000000-1ffffffff : System RAMs\n"
    )
    found = [*desc.from_iomem(text).chunks]
    assert found == [(0x1000, 0x9E000), (0x20_0000, 0x20_0000)]
    assert [*desc.from_iomem(text, "Kernel code").chunks] == [(0x20_0000, 0x10_0000)]
    assert desc.from_iomem(text, "Nothing").length == 0
    assert desc.from_iomem(text, granule=1).length == 0x9EC00 + 0x1000 + 0x20_0000
    with pytest.raises(HiddenPagesError, match="CAP_SYS_ADMIN"):
        desc.from_iomem("00000000-00000000 : System RAM\n" * 3)
    with pytest.raises(FormatError, match="'nonsense' is not a line"):
        desc.from_iomem("nonsense\n")
    with pytest.raises(RangeError, match="granule 0 is not"):
        desc.from_iomem(text, granule=0)
