"""The physical memory under a buffer, in eight bytes a chunk.

`Phyr` is the list, `Builder` makes one, `FrozenPhyr` keeps one in half the bytes, `pin` makes the
list of a buffer and keeps its pages in place, `alloc` gives buffers for it.

Modules, loaded when they are first used: `phyr.pagemap` reads lists off a live process, `phyr.desc`
writes descriptors for devices and kernels, `phyr.iommu` maps a list for a device, `phyr.vfio`,
`phyr.iommufd` and `phyr.pci` drive real ones, `phyr.sim` is a simulated machine, `phyr.testing`
checks a backend of your own.
"""

import sys as _sys

from phyr._named import TYPE_CHECKING
from phyr._named import Sequence as _Sequence
from phyr._phyr import DEBUG as _DEBUG
from phyr._phyr import Builder, Chunks, Column, FrozenPhyr, Index, Phyr, __version__
from phyr.errors import (
    AlignmentError,
    AllocationError,
    ArrayError,
    ArrayTypeError,
    ClosedError,
    FaultError,
    FormatError,
    GapError,
    HiddenPagesError,
    IovaSpaceError,
    LimitError,
    MappedError,
    MismatchError,
    NoMemoryError,
    NotMappedError,
    PhyrError,
    PinError,
    PositionError,
    ProcessGoneError,
    RangeError,
    UnmappedError,
    VfioError,
)

if TYPE_CHECKING:  # pragma: no cover - see `__getattr__`
    from phyr import (  # noqa: F401 - see `_WINGS`
        desc,
        iommu,
        iommufd,
        pagemap,
        pci,
        sim,
        testing,
        vfio,
    )
    from phyr._include import include
    from phyr._records import Chunk, Holder
    from phyr._stats import Stats
    from phyr.allocating import Allocation, alloc
    from phyr.pinning import Pinned, pin
    from phyr.pinning.cache import PinCache
    from phyr.pinning.pool import DmaPool

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
    "DmaPool",
    "FaultError",
    "FormatError",
    "FrozenPhyr",
    "GapError",
    "HiddenPagesError",
    "Holder",
    "Index",
    "IovaSpaceError",
    "LimitError",
    "MappedError",
    "MismatchError",
    "NoMemoryError",
    "NotMappedError",
    "Phyr",
    "PhyrError",
    "PinCache",
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
    "include",
    "pin",
]

# A column is an array, and no `Sequence`: data frames take those item by item, and guess a type.
_Sequence.register(Chunks)

# Loaded on first use, because importing them takes longer than all the rest.
_WINGS = {"desc", "iommu", "iommufd", "pagemap", "pci", "sim", "testing", "vfio"}
_LATE = {
    "Allocation": "phyr.allocating",
    "Chunk": "phyr._records",
    "DmaPool": "phyr.pinning.pool",
    "Holder": "phyr._records",
    "PinCache": "phyr.pinning.cache",
    "Pinned": "phyr.pinning",
    "Stats": "phyr._stats",
    "alloc": "phyr.allocating",
    "include": "phyr._include",
    "pin": "phyr.pinning",
}

if not TYPE_CHECKING:  # who checks types knows the names

    def __getattr__(name: str) -> object:
        """Import a wing, or a name of `_LATE`, on first use."""
        if name not in _WINGS and name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # Without `importlib`: it takes long, and a file, where there may be no descriptor left.
        module = f"phyr.{name}" if name in _WINGS else _LATE[name]
        __import__(module)
        if name in _WINGS:
            return _sys.modules[module]
        value = globals()[name] = getattr(_sys.modules[module], name)
        return value

    def __dir__() -> list[str]:
        """Return all names, including those that are loaded later."""
        return sorted({*globals(), *_LATE, *_WINGS})


if _DEBUG:  # pragma: no cover - the tests run the optimised build
    import warnings

    warnings.warn("this is a debug build of phyr, many times slower", stacklevel=2)

del TYPE_CHECKING
