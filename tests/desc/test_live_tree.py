"""The tree of what a kernel keeps, beside a C program whose structs are the kernel's."""

import random

import pytest

from phyr import AlignmentError, FormatError, GapError, MismatchError, Phyr, RangeError, desc
from support.handover import ALL, LISTS, PAGE, c, later, lines, memory, table, words

SEEDS = range(8)
RUN = tuple[int, int]


def blocks(chunks: list[RUN], most: int) -> list[RUN]:
    """Return aligned blocks of a power of two of pages, as (address, order)."""
    result = []
    for start, length in chunks:
        at, end = start // PAGE, (start + length) // PAGE
        while at < end:
            order = most
            while at % (1 << order) or at + (1 << order) > end:
                order -= 1
            result.append((at * PAGE, order))
            at += 1 << order
    return result


def some_set(seed: int) -> list[RUN]:
    """Return ranges of pages that do not touch, in no order."""
    rng = random.Random(seed)  # noqa: S311 - cases, not secrets
    at, runs = 0, []
    for _ in range(200):
        at += rng.choice([1, 2, 64, 1 << 12, 1 << 21])
        length = rng.choice([1, 1, 2, 3, 8, 100, 513, 1 << 12])
        runs.append((at * PAGE, length * PAGE))
        at += length
    rng.shuffle(runs)
    return runs


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("most", [0, 10, 20])
def test_a_tree_is_that_of_the_structs(seed: int, most: int) -> None:
    runs = some_set(seed)
    expected = sorted(blocks(runs, most), key=lambda block: (-block[1], block[0]))
    lists = Phyr.from_chunks([(LISTS, 1 << 26)])
    root, nodes = desc.kho_radix(Phyr.from_chunks(runs), lists, max_order=most)
    assert root == LISTS
    assert table(c("read-radix", LISTS, root, given=nodes)) == expected
    # The program adds nodes in the order of the keys, so even the bytes are the same.
    assert c("write-radix", LISTS, given=lines(*expected)) == nodes
    assert desc.from_kho_radix(root, memory(nodes)) == Phyr.from_chunks(sorted(runs))


def test_a_tree_grown_in_any_order_is_read() -> None:
    runs = some_set(3)
    image = c("write-radix", LISTS, given=lines(*blocks(runs, 10)))
    assert desc.from_kho_radix(LISTS, memory(image)) == Phyr.from_chunks(sorted(runs))


def test_trees_at_the_ends_of_memory() -> None:
    lists = Phyr.from_chunks([(LISTS, 1 << 20)])
    for chunks in (
        [],
        [(0, PAGE)],
        [(0, 1 << 63)],
        [(1 << 63, (1 << 63) - PAGE)],
        [((1 << 64) - PAGE, PAGE)],
    ):
        phyr = Phyr.from_chunks(chunks)
        root, nodes = desc.kho_radix(phyr, lists, max_order=51)
        assert desc.from_kho_radix(root, memory(nodes)) == phyr
    assert desc.kho_radix(Phyr.from_pfns([]), lists).nodes == bytes(PAGE)


@pytest.mark.parametrize("page_size", [1 << 13, 1 << 15, 1 << 16])
def test_a_tree_of_larger_pages(page_size: int) -> None:
    lists = Phyr.from_chunks([(LISTS, 1 << 24)])
    phyr = Phyr.from_chunks((page_size * n * n, page_size * n) for n in range(2, 30))
    root, nodes = desc.kho_radix(phyr, lists, page_size=page_size)
    assert desc.from_kho_radix(root, memory(nodes), page_size=page_size) == phyr


def test_what_a_tree_cannot_hold() -> None:
    lists, one = Phyr.from_chunks([(LISTS, 6 * PAGE)]), Phyr.from_pfns([2])
    faults: list[tuple[type[Exception], str, Phyr, Phyr, int]] = [
        (
            FormatError,
            "0x1000 bytes of memory at 0x7000 come twice",
            Phyr.from_pfns([7, 3, 7]),
            lists,
            10,
        ),
        (AlignmentError, "length 0x800", one[:0x800], lists, 10),
        (AlignmentError, "first address 0x2800", one[0x800:], lists, 10),
        (
            GapError,
            "inside `phyr`",
            Phyr.from_chunks([(0x1000, 0x400), (0x3000, 0xC00)], granule=512),
            lists,
            10,
        ),
        (RangeError, "0x6000 bytes of blocks", one, lists[:-PAGE], 10),
        (RangeError, "bytes of blocks", Phyr.from_chunks([(0, 1 << 63)]), lists, 0),
        (FormatError, "list address is 0x0", one, Phyr.from_chunks([(0, 6 * PAGE)]), 10),
        (FormatError, "order is 0x34", one, lists, 52),
        (MismatchError, "device 2", Phyr.from_pfns([3], kind="mmio:2"), lists, 0),
    ]
    for error, message, phyr, pages, order in faults:
        with pytest.raises(error, match=message):
            desc.kho_radix(phyr, pages, max_order=order)
    with pytest.raises(RangeError, match="page size 0x1"):
        desc.kho_radix(one, lists, page_size=1)


def tree(*keys: int) -> bytearray:
    """Return a tree with the bits of any keys set."""
    nodes: dict[tuple[int, int], int] = {(5, 0): 0}
    image = bytearray(PAGE)
    for key in keys:
        here = 0
        for level in range(5, 0, -1):
            shift = 15 + (level - 1) * 9
            place = (level - 1, key >> shift)
            if place not in nodes:
                nodes[place] = len(image)
                image += bytes(PAGE)
            at = here + (key >> shift) % 512 * 8
            image[at : at + 8] = words(LISTS + nodes[place])
            here = nodes[place]
        image[here + key % 0x8000 // 8] |= 1 << key % 8
    return image


TREE_FAULTS = {
    "no marker": (tree(0), "record 0: key is 0x0"),
    "2^64 bytes": (tree(1), "record 0: key is 0x1"),
    "order below 0": (tree(1 << 52 | 7, 1 << 53), "record 1: key is 0x20000000000000"),
    "bits above": (tree(1 << 59 | 5), "record 0: key is 0x800000000000005"),
    "twice": (tree(1 << 52 | 0x201, 1 << 43 | 1), "0x1000 bytes of memory at 0x201000 come twice"),
    "node askew": (words(0, 0, LISTS + 8).ljust(PAGE, b"\0"), "links to 0x100000008"),
    "itself": (words(LISTS).ljust(PAGE, b"\0"), "a circle"),
    "itself, often": (words(*[LISTS] * 512), "a circle"),
}


@pytest.mark.parametrize("fault", TREE_FAULTS)
def test_wrong_trees_are_refused(fault: str) -> None:
    image, message = TREE_FAULTS[fault]
    with pytest.raises(FormatError, match=message):
        desc.from_kho_radix(LISTS, memory(bytes(image)))


def test_a_leaf_in_two_places_is_refused() -> None:
    image = tree(1 << 52 | 7)
    table_at = len(image) - 2 * PAGE
    image[table_at + 8 : table_at + 16] = image[table_at : table_at + 8]
    with pytest.raises(FormatError, match="circle"):
        desc.from_kho_radix(LISTS, memory(bytes(image)))


def test_pages_of_16_kib_have_no_tree() -> None:
    # 3 tables of 11 bits and a leaf of 17 cover 50 bits; the marker of a single page is bit 50.
    with pytest.raises(FormatError, match="page size is 0x4000"):
        desc.kho_radix(Phyr.from_pfns([4]), Phyr.from_pfns([8]), page_size=1 << 14)
    with pytest.raises(FormatError, match="page size is 0x4000"):
        desc.from_kho_radix(LISTS, later, page_size=1 << 14)


def test_a_tree_without_an_end_ends() -> None:
    def read(address: int, length: int) -> bytes:
        return words(*(address * 512 + PAGE * slot & ALL for slot in range(1, length // 8 + 1)))

    with pytest.raises(FormatError, match="more than 0x10000000"):
        desc.from_kho_radix(PAGE, read, max_length=1 << 28)


def test_a_tree_the_reader_cannot_have() -> None:
    with pytest.raises(FormatError, match="links to 0x0"):
        desc.from_kho_radix(0, memory(b""))
    with pytest.raises(FormatError, match="record 1: "):
        desc.from_kho_radix(LISTS, memory(bytes(tree(1 << 52 | 1, 1 << 52 | 3))), granule=1 << 13)
    with pytest.raises(RangeError, match="page size 0x2"):
        desc.from_kho_radix(LISTS, memory(b""), page_size=2)
    with pytest.raises(RuntimeError, match="later"):
        desc.from_kho_radix(LISTS, later)
