"""The bus sees physical addresses: a list is its own mapping."""

from phyr._phyr import Phyr
from phyr.iommu.protocols import Direction

__all__ = ["Direct"]


class Direct:
    """A device without translation. O(1), nothing allocated, the very same list.

    Examples:
        >>> phyr = Phyr.from_pfns([7])
        >>> Direct().map(phyr, Direction.TO_DEVICE) is phyr
        True
    """

    __slots__ = ()

    def map(self, phyr: Phyr, _direction: Direction) -> Phyr:
        """Return `phyr` itself."""
        return phyr

    def unmap(self, dma: Phyr, direction: Direction) -> None:
        """Do nothing."""

    def __repr__(self) -> str:
        """Show what makes one."""
        return "Direct()"
