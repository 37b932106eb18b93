"""What `phyr.desc` returns beside bytes."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from phyr._phyr import Descriptors

__all__ = ["Prp", "Sgl"]


class Prp(NamedTuple):
    """The pointers of an NVMe command, and its PRP lists; see `phyr.desc.prp`."""

    prp1: int
    """The first pointer: the first byte of the transfer."""
    prp2: int
    """The second: 0, the second page, or the first list page."""
    lists: "Descriptors"
    """What to write to the list pages, one after the other."""


class Sgl(NamedTuple):
    """The descriptor of an NVMe command, and its segments; see `phyr.desc.sgl`."""

    sgl1: bytes
    """The 16 bytes of the command's descriptor."""
    segments: "Descriptors"
    """What to write to the blocks of memory for segments, one after the other."""
