"""The pieces that a list is made of, as Python sees them."""

from typing import NamedTuple

__all__ = ["Chunk", "Stats"]


class Chunk(NamedTuple):
    """One maximal run of physical memory.

    Examples:
        >>> paddr, length = Chunk(0x20_0000, 2 << 20)
        >>> hex(paddr), length
        ('0x200000', 2097152)
    """

    paddr: int
    """Physical address of the first byte."""
    length: int
    """Bytes, at least one."""


class Stats(NamedTuple):
    """What a list holds and what it costs; see `Phyr.stats`."""

    length: int
    """Bytes described."""
    nr_chunks: int
    """Chunks, trimmed ones included."""
    nr_entries: int
    """Packed words, the second word of a long odd run included."""
    nr_nodes: int
    """Nodes of storage; 0 for a list that needs no heap."""
    largest: int
    """Bytes of the largest chunk."""
    storage: int
    """Bytes of heap that the list keeps alive, of which other views may share every one."""
