"""The physical memory under a buffer, in eight bytes a chunk.

`Phyr` is the list, `Builder` makes one, `pin` makes that of a buffer and keeps its pages in place,
`alloc` gives buffers for it, `phyr.pagemap` reads lists off a live process, and `phyr.desc` writes
what devices and kernels read.
"""

from collections.abc import Sequence as _Sequence

from phyr._chunk import Chunk, Stats
from phyr._phyr import DEBUG as _DEBUG
from phyr._phyr import Builder, Chunks, Column, Phyr, __version__
from phyr.allocating import Allocation, alloc
from phyr.errors import (
    AlignmentError,
    AllocationError,
    ArrayError,
    ArrayTypeError,
    ClosedError,
    FaultError,
    FormatError,
    HiddenPagesError,
    IovaSpaceError,
    LimitError,
    MappedError,
    MismatchError,
    NoMemoryError,
    PhyrError,
    PinError,
    PositionError,
    ProcessGoneError,
    RangeError,
    UnmappedError,
    VfioError,
)
from phyr.pinning import Pinned, pin

__all__ = [
    "AlignmentError",
    "Allocation",
    "AllocationError",
    "ArrayError",
    "ArrayTypeError",
    "Builder",
    "Chunk",
    "Chunks",
    "ClosedError",
    "Column",
    "FaultError",
    "FormatError",
    "HiddenPagesError",
    "IovaSpaceError",
    "LimitError",
    "MappedError",
    "MismatchError",
    "NoMemoryError",
    "Phyr",
    "PhyrError",
    "PinError",
    "Pinned",
    "PositionError",
    "ProcessGoneError",
    "RangeError",
    "Stats",
    "UnmappedError",
    "VfioError",
    "__version__",
    "alloc",
    "pin",
]

_Sequence.register(Chunks)
_Sequence.register(Column)

if _DEBUG:  # pragma: no cover - the tests run the optimised build
    import warnings

    warnings.warn("this is a debug build of phyr, many times slower", stacklevel=2)
