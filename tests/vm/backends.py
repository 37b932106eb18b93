"""The backends that checks of VFIO use, or skip, and the edu device by one of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from harness import EDU, PAGE, Edu, Skip, scattered

import phyr
from phyr import pci
from phyr.iommu import Direction, dma_map
from phyr.iommufd import Ioas
from phyr.vfio import NoIommu, Type1

Backend: TypeAlias = Type1 | Ioas | NoIommu
BOTH = Direction.BIDIRECTIONAL


def iommufd() -> Ioas:
    """Return an address space, or skip where the kernel has none."""
    if not Path("/dev/iommu").exists():
        raise Skip("this kernel has no iommufd")
    return Ioas()


def noiommu() -> NoIommu:
    """Return VFIO without IOMMU, or skip where the kernel has none."""
    if not Path("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode").exists():
        raise Skip("this kernel has no VFIO without IOMMU")
    return NoIommu()


@contextmanager
def edu_of(backend: Backend) -> Iterator[Edu]:
    """Open the edu device through a backend."""
    with pci.bound(EDU, "vfio-pci") as function, backend, backend.open(function) as device:
        yield Edu(device)


def pattern(seed: int, length: int) -> bytes:
    """Return bytes that differ from place to place."""
    return bytes((seed + at * 7 + at // 251) & 0xFF for at in range(length))


def edu_moves_bytes(backend: Backend) -> None:
    """Copy from here to there through the device, at odd places, and compare all of the buffer."""
    buffer = scattered(32 * PAGE, seed=3)
    buffer[:] = before = pattern(1, len(buffer))
    source, target, length = 5 * PAGE + 0x123, 20 * PAGE + 0x456, 0x789
    with edu_of(backend) as edu, phyr.pin(buffer) as pinned:
        part = pinned.phyr[source : source + length]
        with dma_map(part, backend, Direction.TO_DEVICE) as mapping:
            for dma_addr, there in mapping.dma.chunks:
                edu.fetch(dma_addr, there)
        part = pinned.phyr[target : target + length]
        with dma_map(part, backend, Direction.FROM_DEVICE) as mapping:
            for dma_addr, there in mapping.dma.chunks:
                edu.store(dma_addr, there)
    moved = before[source : source + length]
    assert buffer[:] == before[:target] + moved + before[target + length :]
