"""Windows of an I/O address space."""

from typing import NamedTuple

__all__ = ["Wanted", "Window"]


class Window(NamedTuple):
    """One request that the kernel granted."""

    length: int
    undo: bytearray
    """The request that unmaps. It is made before the mapping, so that unmapping needs no memory."""


class Wanted(NamedTuple):
    """A window that is to be made."""

    head: int
    """Bytes before the list."""
    length: int
    align: int
    residue: int
    """The address modulo `align`."""
