"""A kernel of two devices to run Type1, Ioas and NoIommu on, and buffers to map."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from phyr import Phyr
from phyr._devices import uapi
from phyr._phyr import held
from phyr.iommu import Direction, Owner
from phyr.iommufd import Ioas
from phyr.pci.device import OPEN
from phyr.vfio import NoIommu, Type1
from support.fake_vfio import FakeKernel

PHYR = str(Path(uapi.__file__).parents[1])
ONE, TWO = "0000:00:04.0", "0000:00:05.0"
PAGE = 4096
UADDR = 0x7F00_0000_0000
BOTH = Direction.BIDIRECTIONAL
Mapper: TypeAlias = Type1 | Ioas
Backend: TypeAlias = Mapper | NoIommu
MAPPERS = pytest.mark.parametrize("make", [Type1, Ioas])
ALL = pytest.mark.parametrize("make", [Type1, Ioas, NoIommu])


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKernel]:
    """Stand in for a kernel with two devices; check that the test left nothing open or mapped."""
    fake = FakeKernel(tmp_path, monkeypatch)
    fake.add(ONE, 4, "nvme")
    fake.add(TWO, 5, "vfio-pci")
    yield fake
    assert fake.open_files == []
    assert OPEN == {}
    assert fake.maps == {}


class Pin:
    """An owner as pins have it."""

    def __init__(self, method: str | None = None) -> None:
        self.method = method
        self.holds = 0

    def hold(self) -> None:
        self.holds += 1

    def release(self) -> None:
        self.holds -= 1


def buffer_of(*pfns: int, uaddr: int = UADDR, owner: Owner | None = None) -> Phyr:
    """Return the list of a buffer, as a pin gives it."""
    return held(Phyr.from_pfns(pfns), owner, uaddr)


def mapped(kernel: FakeKernel) -> list[tuple[int, int, int, int]]:
    """Return what is mapped: I/O address, user address, length, access."""
    return sorted((iova, *one) for iova, one in kernel.maps.items())
