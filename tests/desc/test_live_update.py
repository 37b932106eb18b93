"""Folios, vmalloc areas and dma-bufs, beside a C program whose structs are the kernel's."""

import random

import pytest

from phyr import AlignmentError, FormatError, GapError, MismatchError, Phyr, RangeError, desc
from support.desc_model import golden
from support.handover import ALL, LISTS, PAGE, c, later, lines, memory, table, words

SEEDS = range(8)


def some_pfns(seed: int, count: int, order: int = 0) -> list[int]:
    """Return page numbers of blocks, some of them neighbours, none twice and none 0."""
    rng = random.Random(seed)  # noqa: S311 - cases, not secrets
    chosen: dict[int, None] = {}
    while len(chosen) < count:
        first = rng.randrange(1, 1 << rng.choice([16, 24, 36]))
        for block in range(first, first + rng.choice([1, 1, 2, 5])):
            chosen[block << order] = None
    return list(chosen)[:count]


def some_list(seed: int, count: int, order: int = 0) -> Phyr:
    return Phyr.from_chunks((pfn * PAGE, PAGE << order) for pfn in some_pfns(seed, count, order))


def folio(pfn: int, index: int, flags: int = 3) -> bytes:
    return words(pfn | flags << 52, index)


# Folios of a memfd


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("order", [0, 3, 9])
def test_folios_are_those_of_the_struct(seed: int, order: int) -> None:
    phyr = some_list(seed, 300, order)
    array = bytes(desc.memfd_folios(phyr, folio_size=PAGE << order))
    pfns = some_pfns(seed, 300, order)
    expected = [(pfn, 3, index << order) for index, pfn in enumerate(pfns)]
    assert table(c("read-memfd", given=array)) == expected
    assert c("write-memfd", given=lines(*expected)) == array
    assert desc.from_memfd_folios(array, len(phyr)) == phyr


def test_folios_of_all_sizes_are_read() -> None:
    orders = [9, 9, 0, 0, 1, 2, 3, 4, 4, 9]
    rng = random.Random(1)  # noqa: S311 - cases, not secrets
    chunks, rows, index = [], [], 0
    for order in orders:
        pfn = rng.randrange(1, 1 << 30) << order
        rows.append((pfn, rng.randrange(4), index))
        chunks.append((pfn * PAGE, PAGE << order))
        index += 1 << order
    array = c("write-memfd", given=lines(*rows))
    whole = Phyr.from_chunks(chunks)
    assert desc.from_memfd_folios(array, len(whole)) == whole
    # The last folio ends after the file.
    assert desc.from_memfd_folios(array, len(whole) - 0x1F_0123) == whole[:-0x1F_0123]


def test_a_file_may_end_inside_a_page_or_be_empty() -> None:
    phyr = Phyr.from_chunks([(0x7000, 0x1000), (0x3000, 0x123)])
    array = bytes(desc.memfd_folios(phyr, flags=1))
    assert array == folio(7, 0, 1) + folio(3, 1, 1)
    assert desc.from_memfd_folios(array, 0x1123) == phyr
    assert len(desc.memfd_folios(Phyr.from_pfns([]))) == 0
    assert desc.from_memfd_folios(b"", 0) == Phyr.from_pfns([])


def test_folios_of_larger_pages() -> None:
    phyr = Phyr.from_chunks([(0x7_0000, 0x1_0000), (0x2_0000, 0x8000)], granule=1 << 16)
    array = bytes(desc.memfd_folios(phyr, folio_size=1 << 16, page_size=1 << 16))
    assert array == folio(7, 0) + folio(2, 1)
    assert desc.from_memfd_folios(array, 0x1_8000, page_size=1 << 16, granule=1 << 16) == phyr


def test_every_page_number_of_52_bits() -> None:
    last = (1 << 52) - 1
    assert desc.from_memfd_folios(folio(last, 0), PAGE)[PAGE - 1] == ALL
    assert bytes(desc.memfd_folios(Phyr.from_pfns([last]))) == folio(last, 0)


FOLIO_FAULTS = {
    "cut": (folio(7, 0)[:15], PAGE, "15 bytes are not whole records of 16"),
    "flags": (folio(7, 0, 4), PAGE, "record 0: flags is 0x4"),
    "page 0": (folio(7, 0) + folio(0, 1), 2 * PAGE, "record 1: pfn is 0x0"),
    "not from 0": (folio(7, 1), 2 * PAGE, "record 0: index is 0x1"),
    "backward": (folio(7, 0) + folio(9, 1) + folio(8, 1), 8 * PAGE, "record 1: gap .* is 0x0"),
    "descends": (folio(8, 0) + folio(9, 1) + folio(8, 0), 8 * PAGE, "record 1: gap .* is 0x0"),
    "hole": (folio(8, 0) + folio(9, 3), 4 * PAGE, "record 0: gap .* is 0x3"),
    "askew in the file": (
        folio(8, 0) + folio(8, 1) + folio(8, 3),
        4 * PAGE,
        "record 1: gap .* is 0x2",
    ),
    "askew in memory": (folio(7, 0) + folio(8, 2), 4 * PAGE, "record 0: pfn is 0x7"),
    "last askew": (folio(7, 0), 2 * PAGE, "record 0: pfn is 0x7"),
    "past the file": (folio(7, 0) + folio(8, 1), PAGE, "record 1: index is 0x1"),
    "no file": (folio(7, 0), 0, "record 0: index is 0x0"),
    "no folio": (b"", 1, "the records cover 0x0 bytes, not 0x1"),
}


@pytest.mark.parametrize("fault", FOLIO_FAULTS)
def test_wrong_folios_are_refused(fault: str) -> None:
    data, size, message = FOLIO_FAULTS[fault]
    with pytest.raises(FormatError, match=message):
        desc.from_memfd_folios(data, size)


def test_folios_that_no_list_can_hold() -> None:
    with pytest.raises(FormatError, match="record 0: pfn is 0x1000000000000"):
        desc.from_memfd_folios(folio(1 << 48, 0), 1 << 16, page_size=1 << 16)
    with pytest.raises(FormatError, match="record 1: "):
        desc.from_memfd_folios(folio(1, 0) + folio(5, 1), 2 * PAGE, granule=1 << 13)
    with pytest.raises(RangeError, match="page size 0x800"):
        desc.from_memfd_folios(b"", 0, page_size=0x800)


def test_what_folios_cannot_hold() -> None:
    two = Phyr.from_pfns([2, 3, 9])
    with pytest.raises(FormatError, match="record 1: pfn is 0x0, which stands for none"):
        desc.memfd_folios(Phyr.from_pfns([7, 0]))
    with pytest.raises(FormatError, match="flags is 0x4"):
        desc.memfd_folios(two, flags=4)
    with pytest.raises(FormatError, match="flags is 0x10000"):
        desc.memfd_folios(two, flags=1 << 16)
    with pytest.raises(GapError):
        desc.memfd_folios(two, folio_size=2 * PAGE)
    with pytest.raises(AlignmentError, match="first address 0x3000"):
        desc.memfd_folios(Phyr.from_pfns([3]), folio_size=2 * PAGE)
    with pytest.raises(MismatchError):
        desc.memfd_folios(Phyr.from_pfns([3], kind="mmio:2"))
    for sizes in ({"folio_size": 2048}, {"folio_size": 3 * PAGE}, {"page_size": 1 << 17}):
        with pytest.raises(RangeError, match="size"):
            desc.memfd_folios(two, **sizes)


def test_golden() -> None:
    phyr = Phyr.from_chunks([(0x2020_0000, 2 << 20), (0x40_0000, 2 << 20)])
    image = golden("memfd_luo_folio_ser.hex")
    assert bytes(desc.memfd_folios(phyr, folio_size=2 << 20)) == image
    assert desc.from_memfd_folios(image, len(phyr)) == phyr
    area, image = Phyr.from_pfns([7, 3, 9]), golden("kho_vmalloc.hex")
    start, chunks = desc.kho_vmalloc(area, Phyr.from_pfns([100]))
    assert start + bytes(chunks)[:40] == image
    assert (
        desc.from_kho_vmalloc(image[:16], memory(image[16:].ljust(PAGE, b"\0"), 0x6_4000)) == area
    )


# The pages of a vmalloc area


@pytest.mark.parametrize("count", [1, 2, 510, 511, 512, 1021, 1022, 1023, 3000])
@pytest.mark.parametrize("order", [0, 9])
def test_an_area_is_that_of_the_structs(count: int, order: int) -> None:
    phyr = some_list(count, count, order)
    lists = Phyr.from_chunks([(LISTS, (count // 511 + 1) * PAGE)])
    head, chunks = desc.kho_vmalloc(phyr, lists, order=order)
    image = bytes(chunks)
    assert (len(chunks), chunks.nents) == (len(image) // 8, count)
    said = c("read-vmalloc", LISTS, head.hex(), given=image).splitlines()
    assert said.pop() == (b"flags 3" if order else b"flags 1")
    addresses = [pfn * PAGE for pfn in some_pfns(count, count, order)]
    assert table(b"\n".join(said)) == [(address, 1 << order) for address in addresses]
    written = c("write-vmalloc", LISTS, order, given=lines(*((address,) for address in addresses)))
    assert written == head + image
    assert desc.from_kho_vmalloc(head, memory(image)) == phyr
    # Piece by piece, whatever the pieces.
    for size in (8, 24, 4104, 1 << 20):
        chunks.rewind()
        ring, all_pieces = bytearray(size), bytearray()
        while written_bytes := chunks.fill(ring):
            all_pieces += ring[:written_bytes]
        assert all_pieces == image


def test_chunks_in_pages_that_are_no_neighbours() -> None:
    phyr = Phyr.from_pfns(range(1, 2001, 2))
    lists = Phyr.from_pages([0x9000, 0x5000])
    head, chunks = desc.kho_vmalloc(phyr, lists)
    image = bytes(chunks)
    assert image[:8] == words(0x5000)
    read = {0x9000: image[:PAGE], 0x5000: image[PAGE:]}
    assert desc.from_kho_vmalloc(head, lambda address, _: read[address]) == phyr


def test_an_area_of_larger_pages() -> None:
    phyr = Phyr.from_chunks(((n << 17) + (1 << 16), 1 << 16) for n in range(9000))
    lists = Phyr.from_chunks([(LISTS, 2 << 16)])
    head, chunks = desc.kho_vmalloc(phyr, lists, page_size=1 << 16)
    assert len(chunks) == 2 * 8192
    assert desc.from_kho_vmalloc(head, memory(bytes(chunks)), page_size=1 << 16) == phyr


def test_what_an_area_cannot_hold() -> None:
    lists, one = Phyr.from_pfns([100]), Phyr.from_pfns([2])
    faults: list[tuple[type[Exception], str, Phyr, Phyr, int]] = [
        (RangeError, "empty", Phyr.from_pfns([]), lists, 0),
        (FormatError, "address is 0x0, which stands for none", Phyr.from_pfns([0]), lists, 0),
        (FormatError, "list address is 0x0, which stands for none", one, Phyr.from_pfns([0]), 0),
        (AlignmentError, "length 0x800", one[:0x800], lists, 0),
        (AlignmentError, "first address 0x2800", one[0x800:], lists, 0),
        (AlignmentError, "length 0x1000", one, lists, 1),
        (GapError, "inside `phyr`", Phyr.from_pfns([2, 9]), lists, 1),
        (RangeError, "0x2000 bytes of blocks", Phyr.from_pfns(range(2, 1024, 2)), lists, 0),
        (FormatError, "order is 0x20", one, lists, 32),
        (FormatError, "order is 0xffffffff", one, lists, 1 << 40),
        (MismatchError, "device 2", Phyr.from_pfns([3], kind="mmio:2"), lists, 0),
        (FormatError, "more than 0xffffffff000", Phyr.from_chunks([(1 << 44, 1 << 44)]), lists, 0),
    ]
    for error, message, phyr, pages, order in faults:
        with pytest.raises(error, match=message):
            desc.kho_vmalloc(phyr, pages, order=order)
    with pytest.raises(RangeError, match="page size 0x1"):
        desc.kho_vmalloc(one, lists, page_size=1)


def head(first: int, pages: int, flags: int = 1, order: int = 0) -> bytes:
    return words(first, pages | flags << 32 | order << 48)


def chunk(following: int, *addresses: int) -> bytes:
    return words(following, *addresses).ljust(PAGE, b"\0")


FULL = [number << 13 for number in range(1, 512)]
AREA_FAULTS = {
    "cut": (b"", b"", "0 bytes are not whole records of 16"),
    "flags": (head(LISTS, 1, 4), chunk(0, PAGE), "flags is 0x4"),
    "order": (head(LISTS, 1, 1, 32), chunk(0, PAGE), "order is 0x20"),
    "parts of blocks": (head(LISTS, 3, 3, 1), chunk(0, PAGE), "total pages is 0x3"),
    "no pages": (head(LISTS, 0), chunk(0), "total pages is 0x0"),
    "no chunk": (head(0, 1), b"", "does not end within its 0 records"),
    "askew": (head(LISTS + 8, 1), chunk(0), "record 0 links to 0x100000008"),
    "too few": (head(LISTS, 2), chunk(0, PAGE), "does not end within its 1 records"),
    "too many": (head(LISTS, 1), chunk(0, PAGE, 3 * PAGE), "record 1: 0x2000 bytes of data in all"),
    "inside a page": (head(LISTS, 1), chunk(0, 0x1008), "record 0: address is 0x1008"),
    "inside a block": (head(LISTS, 2, 3, 1), chunk(0, 0x1000), "record 0: address is 0x1000"),
    "goes on early": (
        head(LISTS, 2),
        chunk(LISTS + PAGE, PAGE) + chunk(0, 9 * PAGE),
        "not full is 0x100001000",
    ),
    "itself": (head(LISTS, 1 << 30), chunk(LISTS, *FULL), "in a circle"),
    "circle": (
        head(LISTS, 1 << 30),
        chunk(LISTS + PAGE, *FULL) + chunk(LISTS, *FULL),
        "in a circle",
    ),
    "one too many later": (
        head(LISTS, 511),
        chunk(LISTS + PAGE, *FULL) + chunk(0, PAGE),
        "record 511: ",
    ),
    "last block": (head(LISTS, 2, 3, 1), chunk(0, ALL - 0xFFF), "address is 0xfffffffffffff000"),
}


@pytest.mark.parametrize("fault", AREA_FAULTS)
def test_wrong_areas_are_refused(fault: str) -> None:
    start, image, message = AREA_FAULTS[fault]
    with pytest.raises(FormatError, match=message):
        desc.from_kho_vmalloc(start, memory(image))


def test_an_area_the_reader_cannot_have() -> None:
    with pytest.raises(FormatError, match="record 1: "):
        desc.from_kho_vmalloc(head(LISTS, 2), memory(chunk(0, 0x1000, 0x3000)), granule=1 << 13)
    with pytest.raises(RangeError, match="page size 0x2"):
        desc.from_kho_vmalloc(head(LISTS, 1), memory(b""), page_size=2)
    with pytest.raises(RuntimeError, match="later"):
        desc.from_kho_vmalloc(head(LISTS, 1), later)


# The array of a dma-buf


@pytest.mark.parametrize("kind", ["ram", "mmio:4"])
@pytest.mark.parametrize("seed", SEEDS)
def test_an_array_is_that_of_the_structs(seed: int, kind: str) -> None:
    rng = random.Random(seed)  # noqa: S311 - cases, not secrets
    granule = rng.choice([1, 512, PAGE, 1 << 16])
    at, ranges = 0, []
    for _ in range(300):
        # A gap before each, of any size; the last is far above 4 GiB.
        at += granule * rng.choice([1, 7, 1 << rng.randrange(24)])
        ranges.append((at, granule * rng.choice([1, 2, 511, rng.randrange(1, 1 << 20)])))
        at += ranges[-1][1]
    rng.shuffle(ranges)
    phyr = Phyr.from_chunks(ranges, granule=granule, kind=kind)
    for form in (phyr, phyr.freeze()):
        array = bytes(desc.dma_buf_vecs(form))
        assert table(c("read-dma-buf", given=array)) == ranges
        assert c("write-dma-buf", given=lines(*ranges)) == array
    assert desc.from_dma_buf_vecs(array, phyr.length, granule=granule, kind=kind) == phyr
    # Runs in two records of one array, as an exporter may write them.
    halves = [
        half
        for paddr, length in ranges
        for half in ((paddr, granule), (paddr + granule, length - granule))
        if half[1]
    ]
    array = c("write-dma-buf", given=lines(*halves))
    assert desc.from_dma_buf_vecs(array, phyr.length, granule=granule, kind=kind) == phyr


def test_the_last_bytes_of_the_address_space_are_in_an_array() -> None:
    ranges = [(ALL - 0xFFF, PAGE), (0, 1 << 40)]
    array = c("write-dma-buf", given=lines(*ranges))
    phyr = Phyr.from_chunks(ranges)
    assert bytes(desc.dma_buf_vecs(phyr)) == array
    assert desc.from_dma_buf_vecs(array, phyr.length) == phyr


def test_a_dma_buf_is_an_array_of_phys_vec() -> None:
    phyr = Phyr.from_chunks([(0x20_0000, 0x3000), (0x9000, 0x1000)], kind="mmio:4")
    array = bytes(desc.dma_buf_vecs(phyr))
    assert array == words(0x20_0000, 0x3000, 0x9000, 0x1000)
    assert desc.from_dma_buf_vecs(array, len(phyr), kind="mmio:4") == phyr
    # Neighbours may be two records.
    assert desc.from_dma_buf_vecs(words(PAGE, PAGE, 2 * PAGE, PAGE), 2 * PAGE) == Phyr.from_pfns(
        [1, 2]
    )


def test_what_the_array_leaves_open_is_refused() -> None:
    faults = {
        words(PAGE, 0): (0, "record 0: chunk 0x1000\\+0x0 has no bytes"),
        words(PAGE, PAGE): (PAGE + 1, "the records cover 0x1000 bytes, not 0x1001"),
        words(3 * PAGE, PAGE): (PAGE - 1, "the records cover 0x1000 bytes, not 0xfff"),
        words(PAGE, PAGE, 4 * PAGE, PAGE, PAGE, PAGE): (
            3 * PAGE,
            "0x1000 bytes of memory at 0x1000 come twice",
        ),
        words(PAGE, 9 * PAGE, 2 * PAGE, PAGE): (
            10 * PAGE,
            "0x1000 bytes of memory at 0x2000 come twice",
        ),
        words(PAGE): (PAGE, "8 bytes are not whole records of 16"),
        words(ALL - 0xFFF, 0x1001): (0x1001, "record 0: "),
    }
    for data, (length, message) in faults.items():
        with pytest.raises(FormatError, match=message):
            desc.from_dma_buf_vecs(data, length)
    with pytest.raises(FormatError, match="come twice"):
        desc.dma_buf_vecs(Phyr.from_pfns([7, 3, 7]))


# Bytes


def test_a_tebibyte_in_runs_of_eight_pages() -> None:
    """1/1024 of it, at random places; every figure is in proportion."""
    rng = random.Random(8)  # noqa: S311 - cases, not secrets
    runs = rng.sample(range(1, 1 << 24), 1 << 15)
    phyr = Phyr.from_chunks((run << 16, 8 * PAGE) for run in runs)
    assert len(phyr) << 10 == 1 << 40
    lists = Phyr.from_chunks([(LISTS, 1 << 30)])
    tebibyte = {
        "memfd": desc.memfd_folios(phyr).nbytes << 10,
        "vmalloc": desc.kho_vmalloc(phyr, lists).chunks.nbytes << 10,
        "dma-buf": desc.dma_buf_vecs(phyr).nbytes << 10,
        "phyr": phyr.stats().storage << 10,
        "frozen": len(phyr.freeze().to_bytes()) << 10,
    }
    mib = {name: size / (1 << 20) for name, size in tebibyte.items()}
    assert mib["memfd"] == 4096
    assert 2048 < mib["vmalloc"] <= 2056
    assert mib["dma-buf"] == 512
    assert 256 < mib["phyr"] < 260
    assert 100 < mib["frozen"] < 132
