"""A scattered list, and an owner that counts: for the tests of mappings."""

from phyr import Phyr, PhyrError
from phyr.iommu import Direction

BOTH = Direction.BIDIRECTIONAL


def scattered() -> Phyr:
    return Phyr.from_pages([0x9000, 0x3000, 0x5000, 0x6000, 0x1000])[0x123:0x4321]


class Pin:
    """Memory that is pinned, and how many mappings it has."""

    def __init__(self, *, gone: bool = False) -> None:
        self.gone = gone
        self.count = [0]

    def hold(self) -> None:
        if self.gone:
            raise PhyrError("unpinned")
        self.count[0] += 1

    def release(self) -> None:
        self.count[0] -= 1

    @property
    def mappings(self) -> int:
        return self.count[0]
