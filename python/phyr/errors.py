"""Exceptions of phyr: one root, and children that are also the built-in that a caller expects.

The numbers in the message are attributes of the exception, under the names in the message.
"""

__all__ = [
    "AlignmentError",
    "AllocationError",
    "ArrayError",
    "ArrayTypeError",
    "ClosedError",
    "FaultError",
    "FormatError",
    "GapError",
    "HiddenPagesError",
    "IovaSpaceError",
    "LimitError",
    "MappedError",
    "MismatchError",
    "NoMemoryError",
    "NotMappedError",
    "PhyrError",
    "PinError",
    "PositionError",
    "ProcessGoneError",
    "RangeError",
    "UnmappedError",
    "VfioError",
]


class PhyrError(Exception):
    """Root of all exceptions of phyr.

    Keyword arguments become attributes: the numbers in the message.

    Examples:
        >>> raise_me = PhyrError("chunk 0x1000+0x10 is short", paddr=0x1000)
        >>> hex(raise_me.paddr)
        '0x1000'
    """

    def __init__(self, *args: object, **numbers: object) -> None:
        """Store the numbers as attributes."""
        super().__init__(*args)
        self.__dict__.update(numbers)

    def __getattr__(self, name: str) -> object:
        """Raise `AttributeError`. Type checkers see from this method that attributes vary."""
        msg = f"{type(self).__name__!r} object has no attribute {name!r}"
        raise AttributeError(msg)


class AlignmentError(PhyrError, ValueError):
    """An address, a length or a boundary is not a multiple of a size that it must be a multiple of.

    `align` is that size in bytes. If a function takes several lists or addresses, `argument` names
    the wrong one.
    """


class GapError(AlignmentError):
    """A boundary inside a list is not a multiple of the size that descriptors require.

    `align` is that size in bytes. `argument` names the list: ``"phyr"`` is the data, ``"lists"``
    the memory for descriptors.
    """


class RangeError(PhyrError, ValueError):
    """A number is out of range: an address, a length, an offset, a granule."""


class MismatchError(PhyrError, ValueError):
    """Two lists have different granules or kinds, or the kind of a list does not fit."""


class PositionError(PhyrError, IndexError):
    """A position or a number is outside the list.

    Its numbers are `position` and `length`, in bytes; for a chunk `number` and `nr_chunks`; for an
    item of a column `number` and `nr_items`.
    """


class FormatError(PhyrError, ValueError):
    """Bytes are not a serialised list or not valid descriptors, or were changed."""


class ArrayError(PhyrError, ValueError):
    """An array of numbers cannot be used: not contiguous, negative numbers, unequal lengths."""


class ArrayTypeError(PhyrError, TypeError):
    """The items of an array are not integers, or the object is not an array."""


class ClosedError(PhyrError, ValueError):
    """A page map, memory, a pool or a cache of pins was used after it was closed."""


class HiddenPagesError(PhyrError, PermissionError):
    """The kernel hides page numbers, or the whole page map, from this process."""


class ProcessGoneError(PhyrError, ProcessLookupError):
    """The process does not exist, or it ended while it was read."""


class PinError(PhyrError, OSError):
    """Memory cannot be pinned, or cannot be unpinned yet; `errno` and the message say why."""


class UnmappedError(PhyrError, ValueError):
    """A mapping was used after it was unmapped."""


class IovaSpaceError(PhyrError, MemoryError):
    """There is no room for a window among the I/O virtual addresses."""


class LimitError(PhyrError, ValueError):
    """A device cannot take a chunk, even if it is cut into segments."""


class NoMemoryError(PhyrError, MemoryError):
    """There is no free memory for the request, simulated or of this machine."""


class AllocationError(PhyrError, ValueError):
    """Pages to be freed are not allocated, or pages to be reserved are not free."""


class MappedError(PhyrError, ValueError):
    """An address to map is mapped already, or a page to unmap is part of a larger one."""


class NotMappedError(PhyrError, ValueError):
    """Nothing is mapped at an address of a domain, or a backend has not mapped a list."""


class FaultError(PhyrError, OSError):
    """A device could not access an address; `errno` is ``EFAULT``.

    `dma_addr` is the first address that could not be accessed. `reason` is the number of the cause
    (see `phyr.sim.FaultReason`). `transferred` is the number of bytes transferred before it.
    `is_write` is true for writes.
    """


class VfioError(PhyrError, OSError):
    """The kernel refused a request to VFIO, iommufd or a PCI function; `errno` says why.

    `request` is the name of the request. Its numbers are attributes too.
    """
