"""A bus that sees physical addresses: a list is its own mapping."""

from phyr._phyr import Phyr, shift
from phyr.iommu.protocols import Direction

__all__ = ["Direct"]


class Direct:
    """A device without address translation. O(1); allocates nothing and returns the same list.

    Examples:
        >>> phyr = Phyr.from_pfns([7])
        >>> Direct().map(phyr, Direction.TO_DEVICE) is phyr
        True
    """

    __slots__ = ()

    def map(self, phyr: Phyr, _direction: Direction) -> Phyr:
        """Return `phyr` itself.

        Raises:
            MismatchError: The list has user addresses, which no bus has.
        """
        return shift(phyr, 0)  # the list itself; refuses user addresses

    def unmap(self, dma: Phyr, direction: Direction) -> None:
        """Do nothing."""

    def __repr__(self) -> str:
        """Show the call that makes one."""
        return "Direct()"
