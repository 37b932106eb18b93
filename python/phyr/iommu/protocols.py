"""What a DMA backend, an IOMMU domain and a memory do; any class that does it is one.

Nothing needs to be inherited: these are `typing.Protocol`, checked by type checkers and, for the
names of methods, by `isinstance`.
"""

from collections.abc import Sequence
from enum import Enum, IntFlag
from typing import Protocol, runtime_checkable

from phyr._phyr import Phyr, Plan

__all__ = [
    "BatchDomain",
    "Direction",
    "DmaBackend",
    "ExposingBackend",
    "IommuDomain",
    "Limits",
    "Memory",
    "Owner",
    "PagePool",
    "Prot",
    "SyncBackend",
]


class Direction(Enum):
    """Which way the data goes.

    Source:
        ``enum dma_data_direction``, include/linux/dma-direction.h, Linux.
    """

    BIDIRECTIONAL = 0
    TO_DEVICE = 1
    FROM_DEVICE = 2


class Prot(IntFlag):
    """What a device may do with mapped pages, and what they are.

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
        """Return what a transfer in `direction` needs of a list of this kind."""
        prot = {
            Direction.BIDIRECTIONAL: cls.READ | cls.WRITE,
            Direction.TO_DEVICE: cls.READ,
            Direction.FROM_DEVICE: cls.WRITE,
        }[direction]
        return prot if kind == "ram" else prot | cls.MMIO


@runtime_checkable
class DmaBackend(Protocol):
    """How one device's bus sees physical memory: `Direct`, `BusOffset`, `Paging`, `Bounce`, yours.

    Use it through `dma_map`, which remembers what to undo.
    """

    def map(self, phyr: Phyr, direction: Direction) -> Phyr:
        """Return the bus addresses of `phyr`, byte for byte: a list of the same length.

        Where the bus sees physical addresses that is `phyr` itself. Whoever raises here has left
        nothing mapped, or sets the attribute `still_mapped` of the exception to true: the list's
        owner is not let go then.
        """
        ...

    def unmap(self, dma: Phyr, direction: Direction) -> None:
        """Undo a `map` that returned `dma`, this very object. Does not fail.

        Called a second time if it was interrupted, with `KeyboardInterrupt` say, or memory was
        short, for what is left; `phyr.NotMappedError` then says that nothing was. Whoever fails all
        the same, or panics, is taken not to have unmapped it: the list's owner is not let go.

        Also called for what `map` returned against the rules: no list, or one of another length.
        """
        ...


@runtime_checkable
class SyncBackend(DmaBackend, Protocol):
    """A backend whose device works on a copy, which is brought up to date on demand."""

    def sync_for_device(self, dma: Phyr, direction: Direction) -> None:
        """Let the device see what the CPU wrote."""
        ...

    def sync_for_cpu(self, dma: Phyr, direction: Direction) -> None:
        """Let the CPU see what the device wrote."""
        ...


@runtime_checkable
class ExposingBackend(DmaBackend, Protocol):
    """A backend that tells how much a device can reach beyond a list: see `Mapping.exposed`."""

    def exposed(self, dma: Phyr) -> int:
        """Return the bytes beyond the list, in the pages of a `map` that returned `dma`."""
        ...


class Owner(Protocol):
    """What keeps memory in place: a pin, say. A mapping holds it for as long as it lives."""

    def hold(self) -> None:
        """Promise to keep the memory in place until `release`, or raise."""
        ...

    def release(self) -> None:
        """Take back one `hold`. Does not fail."""
        ...


class IommuDomain(Protocol):
    """An I/O address space: a page table that somebody keeps.

    `Paging` joins one to an allocator of I/O virtual addresses, and calls it with the largest pages
    and the longest runs that fit.
    """

    @property
    def pgsize_bitmap(self) -> int:
        """Supported page sizes; bit *n* set means ``1 << n`` bytes, the lowest is the granule."""
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

        Whoever raises has mapped none of them. Both addresses are multiples of `pgsize`, which is
        one of the supported sizes.
        """
        ...

    def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
        """Unmap `pgcount` pages of `pgsize` bytes at `iova`. Does not fail.

        They were mapped at this size, by one call or by several next to each other. Whoever finds
        nothing mapped raises, `phyr.NotMappedError` for one, and unmaps nothing. Whoever is asked
        for part of a larger page all the same raises and unmaps nothing, or unmaps just that part.
        """
        ...

    def iova_to_phys(self, iova: int) -> int | None:
        """Return the physical address that `iova` is mapped to, or None."""
        ...


@runtime_checkable
class BatchDomain(IommuDomain, Protocol):
    """A domain that takes a whole plan in one call, since a call in Python costs microseconds."""

    def map_batch(self, plan: Plan, prot: Prot) -> None:
        """Map all of `plan`: its columns are `iovas`, `paddrs`, `pgsizes` and `pgcounts`.

        Whoever raises has mapped none of it.
        """
        ...


class Memory(Protocol):
    """Physical memory that the CPU can read and write through a list."""

    def read(self, phyr: Phyr) -> bytes:
        """Return the bytes under `phyr`, as many as it has."""
        ...

    def write(self, phyr: Phyr, data: bytes) -> None:
        """Store `data`, of exactly the list's length, under `phyr`."""
        ...


class PagePool(Protocol):
    """Where whole pages of memory come from and go back to."""

    def alloc(self, size: int, *, below: int | None = None, align: int = 4096) -> Phyr:
        """Return a list of `size` bytes: multiples of `align`, and no byte at `below` or above.

        Raises:
            Exception: There is no such memory; what exactly is the pool's to choose.
        """
        ...

    def free(self, phyr: Phyr) -> None:
        """Take back a list that `alloc` returned. Does not fail."""
        ...


class Limits(Protocol):
    """What a device can take in one descriptor; `phyr.iommu.DeviceLimits` is one."""

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
