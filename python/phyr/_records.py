"""Named tuples of the compiled module: chunks, descriptors, the simulation."""

from phyr._named import NamedTuple
from phyr._stats import Stats

TYPE_CHECKING = False  # a name that type checkers know, as of `typing`
if TYPE_CHECKING:
    from phyr._phyr import Descriptors

__all__ = [
    "Chunk",
    "Counters",
    "KhoRadix",
    "KhoVmalloc",
    "Leaf",
    "Prp",
    "Sgl",
    "Stats",
]


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


class Holder(NamedTuple):
    """A place that holds memory; see `Index.find`."""

    paddr: int
    """Address of the first byte that was asked for and is held."""
    length: int
    """Bytes."""
    list: int
    """Number of the list, in the order given to the index."""
    position: int
    """Position of that byte in the list."""


class Prp(NamedTuple):
    """The pointers of an NVMe command, and its PRP lists; see `phyr.desc.prp`."""

    prp1: int
    """The first pointer: the first byte of the transfer."""
    prp2: int
    """The second pointer: 0, the second page, or the first list page."""
    lists: "Descriptors"
    """The bytes to write to the list pages, one after the other."""


class Sgl(NamedTuple):
    """The descriptor of an NVMe command, and its segments; see `phyr.desc.sgl`."""

    sgl1: bytes
    """The 16 bytes of the command's descriptor."""
    segments: "Descriptors"
    """The bytes to write to the blocks of memory for segments, one after the other."""


class KhoVmalloc(NamedTuple):
    """A vmalloc area that a kernel hands over; see `phyr.desc.kho_vmalloc`."""

    head: bytes
    """The 16 bytes of ``struct kho_vmalloc``."""
    chunks: "Descriptors"
    """The bytes to write to the pages for chunks, one after the other."""


class KhoRadix(NamedTuple):
    """A set of memory that a kernel hands over; see `phyr.desc.kho_radix`."""

    root: int
    """The address of the tree's root."""
    nodes: bytes
    """The bytes to write to the pages for nodes, one after the other."""


class Counters(NamedTuple):
    """Counts of the calls to a `SimDomain` and of its work. A failed call counts as a call only."""

    map_calls: int
    """Calls of `map_pages`."""
    batch_calls: int
    """Calls of `map_batch`."""
    unmap_calls: int
    """Calls of `unmap_pages`."""
    ptes_written: int
    """Table entries filled: leaves, and entries that point to a table."""
    ptes_cleared: int
    """Table entries emptied."""
    table_pages: int
    """Pages that hold tables now, the root table included."""
    iotlb_hits: int
    """Translations that were found in the IOTLB."""
    iotlb_misses: int
    """Translations that needed a walk of the tables."""
    faults: int
    """Accesses that faulted."""


class Leaf(NamedTuple):
    """The translation of one address in a `SimDomain`."""

    iova: int
    """First address of the page."""
    paddr: int
    """Physical address of its first byte."""
    pgsize: int
    """Size of the page in bytes."""
    reads: bool
    """True if devices may read."""
    writes: bool
    """True if devices may write."""
    snoops: bool
    """True if accesses snoop the processor's caches."""
    accessed: bool
    """True if a device has accessed the page."""
    dirty: bool
    """True if a device has written to the page."""
