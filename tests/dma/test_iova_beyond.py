"""Windows at addresses that no allocator has."""

import pytest

from phyr import RangeError
from phyr.iommu import IovaAllocator


@pytest.mark.parametrize("iova", [-1, 0x1000, (1 << 64) - 1, 1 << 64, 1 << 65])
def test_what_is_no_window_is_not_freed(iova: int) -> None:
    iovas = IovaAllocator((0, 0xFFFF))
    iovas.alloc(0x1000)
    with pytest.raises(RangeError, match="no window starts at") as caught:
        iovas.free(iova)
    assert caught.value.iova == iova
    assert len(iovas) == 1
