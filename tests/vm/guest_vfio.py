"""Checks of mapping and of the edu device: type1, iommufd, no IOMMU."""

import mmap
import time

from backends import BOTH, edu_moves_bytes, edu_of, iommufd, noiommu
from harness import (
    EDU,
    IOMMUS,
    PAGE,
    Checks,
    Edu,
    expected,
    huge,
    pages_of,
    raises,
    runs_of,
    scattered,
    traced,
)

import phyr
from phyr import PinError, pci
from phyr._devices import uapi
from phyr.iommu import dma_map
from phyr.iommufd import Ioas
from phyr.vfio import NoIommu, Type1

checks = Checks()


def driver_is_told_the_list(backend: Type1 | Ioas, buffer: mmap.mmap) -> dict[str, float]:
    """Map a buffer and compare: list, page map and trace."""
    asked = []

    def ioctl(fd: int, number: int, argument: int | bytearray = 0) -> int:
        asked.append(number)
        return real(fd, number, argument)

    with edu_of(backend), phyr.pin(buffer) as pinned:
        runs = runs_of(pages_of(pinned.uaddr, len(buffer)))
        assert [tuple(chunk) for chunk in pinned.phyr.chunks] == runs
        real, uapi.ioctl = uapi.ioctl, ioctl
        try:
            with traced() as trace:
                began = time.perf_counter()
                with dma_map(pinned.phyr, backend, BOTH) as mapping:
                    seconds = time.perf_counter() - began
                    ((iova, length),) = mapping.dma.chunks
                    assert length == len(buffer)
                    got = trace()
                assert got.maps == expected(iova, pinned.phyr)
                assert got.unmapped == 0
                assert trace().unmapped == len(buffer), trace()
        finally:
            uapi.ioctl = real
        assert len(asked) == 2, "one request to map, one to unmap"
        assert pinned.moved() is None
    return {"chunks": len(runs), "bytes": len(buffer), "map_ms": round(seconds * 1e3, 1)}


@checks.on(*IOMMUS)
def type1_driver_is_told_a_scattered_list() -> object:
    buffer = scattered(64 << 20)
    figures = driver_is_told_the_list(Type1(), buffer)
    assert figures["chunks"] > 10_000
    return figures


@checks.on(*IOMMUS)
def iommufd_driver_is_told_a_scattered_list() -> object:
    buffer = scattered(64 << 20)
    figures = driver_is_told_the_list(iommufd(), buffer)
    assert figures["chunks"] > 10_000
    return figures


@checks.on(*IOMMUS)
def type1_driver_is_told_a_list_of_huge_pages() -> object:
    return driver_is_told_the_list(Type1(), huge(4))


@checks.on(*IOMMUS)
def iommufd_driver_is_told_a_list_of_huge_pages() -> object:
    return driver_is_told_the_list(iommufd(), huge(4))


def large_pages_stay_large(backend: Type1 | Ioas) -> None:
    """A window lies as its memory does, modulo 2 MiB, so that the IOMMU can use large pages."""
    with edu_of(backend), phyr.pin(huge(2)) as pinned:
        with dma_map(pinned.phyr, backend, BOTH) as mapping:
            assert mapping.dma[0] % (2 << 20) == pinned.phyr[0] % (2 << 20) == 0
        part = pinned.phyr[0x5123:]
        with dma_map(part, backend, BOTH) as mapping:
            assert mapping.dma[0] % (2 << 20) == part[0] % (2 << 20) == 0x5123


@checks.on(*IOMMUS)
def type1_large_pages_stay_large() -> None:
    large_pages_stay_large(Type1())


@checks.on(*IOMMUS)
def iommufd_large_pages_stay_large() -> None:
    large_pages_stay_large(iommufd())


@checks.on(*IOMMUS)
def type1_edu_moves_bytes() -> None:
    edu_moves_bytes(Type1())


@checks.on(*IOMMUS)
def iommufd_edu_moves_bytes() -> None:
    edu_moves_bytes(iommufd())


@checks.on("none")
def noiommu_edu_moves_bytes() -> None:
    edu_moves_bytes(noiommu())


@checks.on("none")
def noiommu_by_sysfs_edu_moves_bytes() -> None:
    buffer = scattered(PAGE)
    buffer[:4] = b"mail"
    with (
        pci.bound(EDU, None) as function,
        NoIommu(sysfs=True) as backend,
        backend.open(function) as device,
        phyr.pin(buffer) as pinned,
        dma_map(pinned.phyr, backend, BOTH) as mapping,
    ):
        edu = Edu(device)
        edu.fetch(mapping.dma[0], 4)
        edu.store(mapping.dma[8], 4)
    assert buffer[:12] == b"mail\0\0\0\0mail"


@checks.on("none")
def noiommu_maps_a_list_to_itself() -> None:
    with edu_of(backend := noiommu()), phyr.pin(scattered(PAGE)) as pinned:
        with dma_map(pinned.phyr, backend, BOTH) as mapping:
            assert mapping.dma is pinned.phyr
        assert backend.map(pinned.phyr, BOTH) is pinned.phyr


@checks.on("none")
def noiommu_refuses_memory_that_may_move() -> None:
    with (
        edu_of(backend := noiommu()),
        phyr.pin(scattered(PAGE), method="mlock") as locked,
        raises(PinError, method="mlock"),
    ):
        dma_map(locked.phyr, backend, BOTH)
