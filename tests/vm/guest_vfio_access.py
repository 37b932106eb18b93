"""Checks of what a device may not do."""

from pathlib import Path

from backends import BOTH, edu_of, iommufd, pattern
from harness import EDU, IOMMUS, PAGE, Checks, faults, kind, log, raises, scattered, uaddr_of

import phyr
from phyr import LimitError
from phyr.iommu import Direction, Prot, dma_map
from phyr.iommufd import Ioas
from phyr.vfio import Type1

checks = Checks()


def stray_write_faults(backend: Type1 | Ioas) -> None:
    """Let the device write around the mapping, and into what it may only read."""
    buffer = scattered(3 * PAGE)
    buffer[:] = before = pattern(5, len(buffer))
    with edu_of(backend) as edu, phyr.pin(buffer) as pinned, log() as said:
        page = pinned.phyr[PAGE : 2 * PAGE]
        with dma_map(page, backend, Direction.TO_DEVICE) as mapping:
            dma_addr = mapping.dma[0]
            edu.fetch(dma_addr, 64)
            for stray in (dma_addr - PAGE, dma_addr + PAGE, dma_addr):
                edu.store(stray, 64)
        # It is no longer there at all.
        edu.store(dma_addr, 64)
        assert buffer[:] == before
        strays = {dma_addr - PAGE, dma_addr, dma_addr + PAGE}
        if kind() == "intel":
            assert faults(said, EDU, strays) >= strays


@checks.on(*IOMMUS)
def type1_stray_write_faults() -> None:
    stray_write_faults(Type1())


@checks.on(*IOMMUS)
def iommufd_stray_write_faults() -> None:
    stray_write_faults(iommufd())


def what_is_mapped_from_device_is_read(backend: Type1 | Ioas) -> dict[str, bool]:
    """Let the device read what it may only write; tell whether it got the bytes."""
    buffer = scattered(2 * PAGE)
    buffer[: 2 * PAGE] = bytes(2 * PAGE)
    buffer[:64] = secret = pattern(9, 64)
    with edu_of(backend) as edu, phyr.pin(buffer) as pinned:
        one, other = pinned.phyr[:PAGE], pinned.phyr[PAGE:]
        with (
            dma_map(one, backend, Direction.FROM_DEVICE) as source,
            dma_map(other, backend, BOTH) as target,
        ):
            # The device's own buffer is overwritten first, so it holds no secret.
            edu.fetch(target.dma[0], 64)
            edu.fetch(source.dma[0], 64)
            edu.store(target.dma[0], 64)
        got = buffer[PAGE : PAGE + 64] == secret
        # `enforces_write_only` is right, or None for kernels between those that are tested.
        assert backend.enforces_write_only is not got
    return {"read": got}


@checks.on(*IOMMUS)
def type1_device_reads_what_it_may_only_write() -> object:
    return what_is_mapped_from_device_is_read(Type1())


@checks.on(*IOMMUS)
def iommufd_device_reads_what_it_may_only_write() -> object:
    return what_is_mapped_from_device_is_read(iommufd())


def addresses_are_of_the_kernels_ranges(backend: Type1 | Ioas) -> None:
    """Ranges are told, and the interrupts' own is not among them."""
    with edu_of(backend):
        ranges = backend.ranges
        assert not any(first <= 0xFEE0_0000 <= last for first, last in ranges)
        buffer = scattered(PAGE)
        low = backend.map_user(uaddr_of(buffer), PAGE, Prot.READ)
        assert any(first <= low <= last for first, last in ranges)


@checks.on(*IOMMUS)
def type1_addresses_are_of_the_kernels_ranges() -> None:
    addresses_are_of_the_kernels_ranges(Type1())


@checks.on(*IOMMUS)
def iommufd_addresses_are_of_the_kernels_ranges() -> None:
    addresses_are_of_the_kernels_ranges(iommufd())


@checks.on(*IOMMUS)
def narrow_device_gets_low_addresses() -> None:
    backend = Type1(dma_mask=0x1_0000)
    with edu_of(backend), phyr.pin(scattered(32 * PAGE)) as pinned:
        first = backend.map(pinned.phyr[: 14 * PAGE], BOTH)
        assert first[len(first) - 1] <= 0x1_0000
        with raises(phyr.IovaSpaceError, last=0x1_0000):
            backend.map(pinned.phyr, BOTH)


@checks.on(*IOMMUS)
def entry_limit_is_an_error_that_names_it() -> None:
    limit = Path("/sys/module/vfio_iommu_type1/parameters/dma_entry_limit")
    before = limit.read_text()
    limit.write_text("3")
    try:
        with edu_of(backend := Type1()), phyr.pin(scattered(4 * PAGE)) as pinned:
            assert backend.entry_limit == 3
            pages = [pinned.phyr[at : at + PAGE] for at in range(0, 4 * PAGE, PAGE)]
            mapped = [backend.map(page, BOTH) for page in pages[:3]]
            with raises(LimitError, limit=3, mapped=3):
                backend.map(pages[3], BOTH)
            backend.unmap(mapped[1], BOTH)
            backend.map(pages[3], BOTH)
    finally:
        limit.write_text(before)
