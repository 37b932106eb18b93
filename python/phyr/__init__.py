"""The physical memory under a buffer, in eight bytes a chunk.

`Phyr` is the list, `Builder` makes one, `pin` makes that of a buffer and keeps its pages in place,
`alloc` gives buffers for it, `phyr.pagemap` reads lists off a live process, and `phyr.desc` writes
what devices and kernels read.
"""

import typing as _typing
from collections.abc import Sequence as _Sequence
from importlib import import_module as _import_module

from phyr._chunk import Chunk, Stats
from phyr._phyr import DEBUG as _DEBUG
from phyr._phyr import Builder, Chunks, Column, Phyr, __version__
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

if _typing.TYPE_CHECKING:  # pragma: no cover - see `__getattr__`
    from phyr.allocating import Allocation, alloc
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

# What not everybody needs, and would make up most of the time that importing takes.
_LATE = {
    "Allocation": "phyr.allocating",
    "Pinned": "phyr.pinning",
    "alloc": "phyr.allocating",
    "pin": "phyr.pinning",
}

if not _typing.TYPE_CHECKING:  # who checks types knows the names

    def __getattr__(name: str) -> object:
        """Import a name of `_LATE` when it is first asked for."""
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(_import_module(_LATE[name]), name)
        return value

    def __dir__() -> list[str]:
        """Return all names, those of `_LATE` as well."""
        return sorted({*globals(), *_LATE})


if _DEBUG:  # pragma: no cover - the tests run the optimised build
    import warnings

    warnings.warn("this is a debug build of phyr, many times slower", stacklevel=2)
