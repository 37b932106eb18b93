"""The methods of a DMA backend, an IOMMU domain and a memory. Any class with them will do.

Nothing has to be inherited: these are `typing.Protocol`. Type checkers check them, and `isinstance`
checks the names of methods.
"""

from collections.abc import Sequence
from enum import Enum, IntFlag
from typing import Protocol, runtime_checkable

from phyr._arguments import wrong
from phyr._phyr import Builder, Phyr, Plan

__all__ = [
    "BatchDomain",
    "CpuMemory",
    "Direction",
    "DmaBackend",
    "ExposingBackend",
    "IommuDomain",
    "Limits",
    "Owner",
    "PagePool",
    "Prot",
    "SyncBackend",
]


class Direction(Enum):
    """The direction of the data.

    Source:
        ``enum dma_data_direction``, include/linux/dma-direction.h, Linux.
    """

    BIDIRECTIONAL = 0
    TO_DEVICE = 1
    FROM_DEVICE = 2


class Prot(IntFlag):
    """The accesses that a device may make to mapped pages, and the kind of the pages.

    Examples:
        >>> Prot.of(Direction.FROM_DEVICE, "ram")
        <Prot.WRITE: 2>
        >>> Prot.of(Direction.BIDIRECTIONAL, "mmio:3")
        <Prot.READ|WRITE|MMIO: 19>

    Source:
        ``IOMMU_READ`` and so on, include/linux/iommu.h, Linux; the numbers are the same.
    """

    READ = 1
    WRITE = 2
    CACHE = 4
    NOEXEC = 8
    MMIO = 16

    @classmethod
    def of(cls, direction: Direction, kind: str) -> "Prot":
        """Return the accesses that a transfer in `direction` needs, for a list of this kind.

        Raises:
            RangeError: There is no such kind.
            TypeError: `direction` is no `Direction`, or `kind` no text.
        """
        prots = _OF_RAM if kind in ("ram", "user") else _OF_MMIO
        if prots is _OF_MMIO:
            Builder(1, kind)  # refuses a kind that is none
        if direction is Direction.TO_DEVICE:
            return prots[0]
        if direction is Direction.FROM_DEVICE:
            return prots[1]
        if direction is Direction.BIDIRECTIONAL:
            return prots[2]
        raise wrong("direction", direction, "a Direction")


# To the device, from it, both ways. Joining flags takes longer than the rest of a mapping.
_OF_RAM = (Prot.READ, Prot.WRITE, Prot.READ | Prot.WRITE)
_OF_MMIO = tuple(prot | Prot.MMIO for prot in _OF_RAM)


@runtime_checkable
class DmaBackend(Protocol):
    """How one device's bus sees physical memory.

    `Direct`, `BusOffset`, `Paging` and `Bounce` are backends, and your own class can be one.

    Use it through `dma_map`, which keeps what has to be undone.
    """

    def map(self, phyr: Phyr, direction: Direction) -> Phyr:
        """Return the bus addresses of `phyr`, byte for byte: a list of the same length.

        If bus addresses equal physical ones, return `phyr` itself. A method that raises must leave
        nothing mapped. If it cannot, it sets the attribute `still_mapped` of the exception to true;
        then the list's owner is not released.
        """
        ...

    def unmap(self, dma: Phyr, direction: Direction) -> None:
        """Undo the `map` that returned this `dma` object. Must not fail.

        It is called a second time, for the rest, if the first call was interrupted, such as by
        `KeyboardInterrupt`, or was short of memory. It then raises `phyr.NotMappedError` if nothing
        was left. If it fails otherwise, or panics, the list counts as still mapped, and the list's
        owner is not released.

        It is also called for a wrong result of `map`: no list, or a list of another length.
        """
        ...


@runtime_checkable
class SyncBackend(DmaBackend, Protocol):
    """A backend whose device works on a copy, which is updated on demand."""

    def sync_for_device(self, dma: Phyr, direction: Direction) -> None:
        """Make the CPU's writes visible to the device."""
        ...

    def sync_for_cpu(self, dma: Phyr, direction: Direction) -> None:
        """Make the device's writes visible to the CPU."""
        ...


@runtime_checkable
class ExposingBackend(DmaBackend, Protocol):
    """A backend that knows how far a device can reach beyond a list: see `Mapping.exposed`."""

    def exposed(self, dma: Phyr) -> int:
        """Return the bytes beyond the list in the pages that `map` mapped for `dma`."""
        ...


class Owner(Protocol):
    """An object that keeps memory in place, such as a pin.

    A mapping holds it until it is unmapped.
    """

    def hold(self) -> None:
        """Promise to keep the memory in place until `release`, or raise."""
        ...

    def release(self) -> None:
        """Take back one `hold`. Must not fail."""
        ...


class IommuDomain(Protocol):
    """An I/O address space: a page table and its owner.

    `Paging` joins a domain to an allocator of I/O virtual addresses. It calls the domain with the
    largest pages and the longest runs that fit.
    """

    @property
    def pgsize_bitmap(self) -> int:
        """Supported page sizes; bit *n* set means ``1 << n`` bytes. The lowest is the granule."""
        ...

    @property
    def aperture(self) -> tuple[int, int]:
        """First and last I/O virtual address that can be mapped."""
        ...

    @property
    def reserved(self) -> Sequence[tuple[int, int]]:
        """First and last address of each range that must not be used, in any order."""
        ...

    def map_pages(self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: Prot) -> None:
        """Map `pgcount` pages of `pgsize` bytes at `iova` to those at `paddr`: all, or raise.

        A call that raises must map none of them. Both addresses are multiples of `pgsize`, which is
        one of the supported sizes.
        """
        ...

    def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
        """Unmap `pgcount` pages of `pgsize` bytes at `iova`. Must not fail.

        The pages were mapped at this size, by one call or by several calls next to each other. If
        nothing is mapped there, raise, for example `phyr.NotMappedError`, and unmap nothing. For a
        part of a larger page, raise and unmap nothing, or unmap just that part.
        """
        ...

    def iova_to_phys(self, iova: int) -> int | None:
        """Return the physical address that `iova` is mapped to, or None."""
        ...


@runtime_checkable
class BatchDomain(IommuDomain, Protocol):
    """A domain that takes a whole plan in one call: each call in Python takes microseconds."""

    def map_batch(self, plan: Plan, prot: Prot) -> None:
        """Map all of `plan`: its columns are `iovas`, `paddrs`, `pgsizes` and `pgcounts`.

        A call that raises must map nothing.
        """
        ...


class CpuMemory(Protocol):
    """Physical memory that the CPU can read and write through a list."""

    def read(self, phyr: Phyr) -> bytes:
        """Return the bytes under `phyr`, as many as it has."""
        ...

    def write(self, phyr: Phyr, data: bytes) -> None:
        """Store `data`, of exactly the list's length, under `phyr`."""
        ...


class PagePool(Protocol):
    """A source of whole pages of memory."""

    def alloc(self, size: int, *, below: int | None = None, align: int = 4096) -> Phyr:
        """Return a list of `size` bytes at multiples of `align`, all below `below`.

        Raises:
            Exception: There is no such memory. The pool chooses the exception.
        """
        ...

    def free(self, phyr: Phyr) -> None:
        """Free a list that `alloc` returned. Must not fail."""
        ...


class Limits(Protocol):
    """The limits of a device for one descriptor; `phyr.iommu.DeviceLimits` has them."""

    @property
    def dma_mask(self) -> int:
        """Highest address that the device can put out."""
        ...

    @property
    def max_segment_size(self) -> int:
        """Most bytes in a segment."""
        ...

    @property
    def seg_boundary_mask(self) -> int:
        """No segment crosses a multiple of this plus one."""
        ...

    @property
    def virt_boundary_mask(self) -> int:
        """Inside a list, segments start and end at multiples of this plus one."""
        ...
