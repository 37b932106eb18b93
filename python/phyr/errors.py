"""What phyr raises: one root, and children that are also the built-in a caller expects.

The numbers of the message are attributes of the exception, under the names the message gives them.
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
    """Root of every exception that phyr raises of its own.

    Keyword arguments become attributes: the numbers that the message speaks of.

    Examples:
        >>> raise_me = PhyrError("chunk 0x1000+0x10 is short", paddr=0x1000)
        >>> hex(raise_me.paddr)
        '0x1000'
    """

    def __init__(self, *args: object, **numbers: object) -> None:
        """Keep the numbers as attributes."""
        super().__init__(*args)
        self.__dict__.update(numbers)

    def __getattr__(self, name: str) -> object:
        """Say that a number is missing, as for any attribute (and tell type checkers they vary)."""
        msg = f"{type(self).__name__!r} object has no attribute {name!r}"
        raise AttributeError(msg)


class AlignmentError(PhyrError, ValueError):
    """An address, a length or a joint is not a multiple of what it must be a multiple of.

    Where a function takes several lists or addresses, `argument` names the one at fault.
    """


class GapError(AlignmentError):
    """A boundary inside a list is not a multiple of what descriptors ask for.

    `argument` names the list: ``"phyr"``, the data, or ``"lists"``, the memory for descriptors.
    """


class RangeError(PhyrError, ValueError):
    """A number lies outside what can be held: an address, a length, an offset, a granule."""


class MismatchError(PhyrError, ValueError):
    """Two lists cannot be joined: their granules or kinds differ, or the kind forbids the act."""


class PositionError(PhyrError, IndexError):
    """A position or a chunk number outside the list."""


class FormatError(PhyrError, ValueError):
    """Bytes that are not the list, or the descriptors, they are taken for, or no longer."""


class ArrayError(PhyrError, ValueError):
    """An array of numbers that cannot be taken: not contiguous, negative, of uneven length."""


class ArrayTypeError(PhyrError, TypeError):
    """An array whose items are not integers, or something that is no array at all."""


class ClosedError(PhyrError, ValueError):
    """A page map was used after it was closed."""


class HiddenPagesError(PhyrError, PermissionError):
    """The kernel hides page numbers, or the whole page map, from this process."""


class ProcessGoneError(PhyrError, ProcessLookupError):
    """The process is not there, or ended while it was read."""


class PinError(PhyrError, OSError):
    """Memory that cannot be pinned, or not let go of yet; `errno` and the message say why."""


class UnmappedError(PhyrError, ValueError):
    """A mapping was used after it was unmapped, as a closed file may not be."""


class IovaSpaceError(PhyrError, MemoryError):
    """No room is left among the I/O virtual addresses for what was asked."""


class LimitError(PhyrError, ValueError):
    """A chunk that a device cannot take, whatever it is split into."""


class NoMemoryError(PhyrError, MemoryError):
    """No free memory fits what was asked for: simulated, or the machine's own."""


class AllocationError(PhyrError, ValueError):
    """Pages to be freed are not allocated, or pages to be reserved are not free."""


class MappedError(PhyrError, ValueError):
    """An address to be mapped is mapped, or one to be unmapped is part of a larger page."""


class NotMappedError(PhyrError, ValueError):
    """Nothing is mapped there: at an address of a domain, or for a list that a backend unmaps."""


class FaultError(PhyrError, OSError):
    """A device's access was not done; `errno` is ``EFAULT``.

    `dma_addr` is the first address that was not reached, `reason` the number of the cause (see
    `phyr.sim.FaultReason`), `transferred` the bytes before it, which were; `is_write` tells writes.
    """


class VfioError(PhyrError, OSError):
    """The kernel refused what VFIO, iommufd or a PCI function was asked for; `errno` says why.

    `request` is the name of what was asked; its numbers are attributes too.
    """
