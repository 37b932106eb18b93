"""Pins for the tests: what is right of one, and that nothing is left behind."""

import gc
import mmap
import sys
from collections.abc import Iterator

import pytest

import phyr
from support.live import PAGE
from support.pages import addresses, pinned_bytes, private, status, where


@pytest.fixture
def nothing_is_left_behind() -> Iterator[None]:
    """Check that as much is pinned and locked after a test as before it."""
    gc.collect()
    # Otherwise the collector looks at all that other tests left, after each test.
    gc.freeze()
    before = pinned_bytes(), status("VmLck")
    yield
    gc.collect()
    assert (pinned_bytes(), status("VmLck")) == before


def check(pinned: phyr.Pinned, buffer: object) -> None:
    """Compare a pin with an independent reading of the page map."""
    uaddr, length = where(buffer)
    assert (pinned.uaddr, pinned.length, pinned.phyr.length) == (uaddr, length, length)
    pinned.phyr.validate()
    firsts = [0, *range(-uaddr % PAGE or PAGE, length, PAGE), length - 1]
    assert [pinned.phyr[at] for at in firsts] == addresses(uaddr, length)
    assert pinned.phyr.uaddr == uaddr
    assert pinned.moved() is None


AREA = private(24 * PAGE) if sys.platform == "linux" else mmap.mmap(-1, 24 * PAGE)


class FakeBackend:
    """A backend that maps, and pins nothing; it counts."""

    method = "iommufd"

    def __init__(self) -> None:
        self.mapped: dict[int, tuple[int, int, int]] = {}

    @property
    def lost(self) -> set[int]:
        """The addresses that stay mapped until the backend is closed."""
        return set(self.mapped)

    def map_user(self, uaddr: int, length: int, prot: int) -> int:
        self.mapped[0x1000 * (len(self.mapped) + 1)] = (uaddr, length, prot)
        return 0x1000 * len(self.mapped)

    def unmap_user(self, iova: int) -> None:
        del self.mapped[iova]
