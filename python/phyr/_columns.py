"""The columns of a plan, and the reasons of a fault, for the simulation."""

from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer

__all__ = ["Columns", "FaultReason"]


class Columns(Protocol):
    """A plan as columns: call *i* maps ``pgcounts[i]`` pages of ``pgsizes[i]`` bytes.

    `phyr.iommu.Plan` is one, and so is any object with these four arrays or iterables of int.
    """

    @property
    def iovas(self) -> "Buffer | Iterable[int]":
        """I/O virtual address of the first page of each call."""
        ...

    @property
    def paddrs(self) -> "Buffer | Iterable[int]":
        """Physical address of the first page of each call."""
        ...

    @property
    def pgsizes(self) -> "Buffer | Iterable[int]":
        """Bytes in a page of each call."""
        ...

    @property
    def pgcounts(self) -> "Buffer | Iterable[int]":
        """Pages of each call."""
        ...


class FaultReason(IntEnum):
    """Why an access was not done.

    Source:
        Fault reasons of Intel VT-d for requests without PASID, Architecture Specification, appendix
        on fault reason encodings; 0 is none of them.
    """

    NO_MEMORY = 0
    """The address is translated, but there is no memory at the result."""
    BEYOND_WIDTH = 4
    """The address has more bits than the tables translate."""
    NO_WRITE = 5
    """A write, but an entry on the way does not permit writes, or is not present."""
    NO_READ = 6
    """A read, but an entry on the way does not permit reads, or is not present."""
    TABLE_POINTER = 7
    """An entry points to a table where there is no memory."""
    RESERVED_BITS = 12
    """An entry that is present has a reserved bit set."""
