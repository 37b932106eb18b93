"""A walker of Intel VT-d second-stage tables, in plain Python from the specification.

It shares nothing with phyr: all it takes of it is bytes, by `Memory.read`. Slow and plain.

Source:
    Intel Virtualization Technology for Directed I/O, Architecture Specification: the formats of
    the second-stage paging entries (SS-PML5E, SS-PML4E, SS-PDPE, SS-PDE, SS-PTE), access rights,
    accessed and dirty flags, and the appendix of fault reasons.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from phyr import Phyr
from phyr.sim import Memory

# An entry gives read by bit 0 and write by bit 1; with neither it is not present.
READ, WRITE = 0x1, 0x2
PAGE_SIZE = 0x80
ACCESSED, DIRTY = 0x100, 0x200
SNOOP = 0x800
ADDRESS = 0x000F_FFFF_FFFF_F000

# Bytes that one entry maps, or covers, by level: level 1 is the SS-PTE.
COVERS = {1: 4 << 10, 2: 2 << 20, 3: 1 << 30, 4: 512 << 30, 5: 256 << 40}

BEYOND, NO_WRITE, NO_READ, BAD_TABLE, RESERVED = 4, 5, 6, 7, 12


class Refused(Exception):  # noqa: N818 - no error: the answer of hardware
    """The walk ends in a fault, with this reason."""

    def __init__(self, reason: int) -> None:
        super().__init__(reason)
        self.reason = reason


class Leaf(NamedTuple):
    iova: int
    paddr: int
    size: int
    word: int


Reader = Callable[[int], int]


def reader(memory: Memory) -> Reader:
    """Return what reads one word of memory."""

    def read(paddr: int) -> int:
        return int.from_bytes(memory.read(Phyr.from_chunks([(paddr, 8)])), "little")

    return read


def is_leaf(word: int, level: int) -> bool:
    return level == 1 or (level in (2, 3) and bool(word & PAGE_SIZE))


def breaks_reserved(word: int, level: int, sizes: int) -> bool:
    """Return true if a present entry has a bit that must be zero."""
    if level == 1 or not word & PAGE_SIZE:
        return False
    if level in (4, 5) or not sizes & COVERS[level]:
        return True
    return bool(word & ADDRESS & (COVERS[level] - 1))


def translate(  # noqa: PLR0913 - what a walk depends on
    memory: Memory, root: int, levels: int, iova: int, *, write: bool, sizes: int = 0x40201000
) -> int:
    """Return the address that an access of a device reaches; raise `Refused`."""
    if iova >= 512 * COVERS[levels]:
        raise Refused(BEYOND)
    read, table = reader(memory), root
    for level in range(levels, 0, -1):
        word = read(table + iova // COVERS[level] % 512 * 8)
        if not word & (WRITE if write else READ):
            raise Refused(NO_WRITE if write else NO_READ)
        if breaks_reserved(word, level, sizes):
            raise Refused(RESERVED)
        target = word & ADDRESS
        if is_leaf(word, level):
            return target + iova % COVERS[level]
        if target >= memory.size:
            raise Refused(BAD_TABLE)
        table = target
    raise AssertionError


def tables(memory: Memory, root: int, levels: int) -> Iterator[tuple[int, int, int, list[int]]]:
    """Yield every table: level, address, first address it covers, and its words."""
    found = [(levels, root, 0)]
    while found:
        level, table, start = found.pop()
        raw = memory.read(Phyr.from_chunks([(table, 4096)]))
        words = [int.from_bytes(raw[at : at + 8], "little") for at in range(0, 4096, 8)]
        yield level, table, start, words
        for number, word in enumerate(words):
            if word & (READ | WRITE) and not is_leaf(word, level):
                found.append((level - 1, word & ADDRESS, start + number * COVERS[level]))


def leaves(memory: Memory, root: int, levels: int) -> list[Leaf]:
    """Return every leaf there is, by its address."""
    return sorted(
        Leaf(start + number * COVERS[level], word & ADDRESS, COVERS[level], word)
        for level, _, start, words in tables(memory, root, levels)
        for number, word in enumerate(words)
        if word & (READ | WRITE) and is_leaf(word, level)
    )
