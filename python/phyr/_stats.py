"""The named tuple of `Phyr.stats`, apart from the others: `phyr map` needs this one only."""

from phyr._named import NamedTuple

__all__ = ["Stats"]


class Stats(NamedTuple):
    """Counts of what a list holds and of the memory that it uses; see `Phyr.stats`."""

    length: int
    """Bytes described."""
    nr_chunks: int
    """Chunks, including trimmed ones."""
    nr_entries: int
    """Packed words. A long odd chunk has two."""
    nr_nodes: int
    """Nodes of storage; 0 for a list that needs no heap."""
    largest: int
    """Bytes of the largest chunk."""
    storage: int
    """Bytes of heap that the list keeps alive. Other lists may share them."""
