"""A page table of an IOMMU, as iommufd makes it: for a device, with the mappings of an `Ioas`.

```text
Ioas     |---- mapping ----|      |-- mapping --|       what is mapped where
PageTable    the same, in a form for one kind of IOMMU; it can note the pages that devices wrote
```
"""

import errno
import os
import re
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from struct import Struct

from phyr._devices import uapi
from phyr._devices.closing import Closing
from phyr._devices.uapi import Request, ask, refused
from phyr._phyr import Builder, Phyr
from phyr.errors import AlignmentError, MismatchError
from phyr.pci.device import Device

__all__ = ["PageTable", "attach", "destroy"]

# id
_DESTROY = Request("IOMMU_DESTROY", 0x3B80, Struct("=I"))
# flags, dev_id, pt_id, out_hwpt_id, reserved, data_type, data_len, data_uptr, fault_id, reserved
_HWPT_ALLOC = Request("IOMMU_HWPT_ALLOC", 0x3B89, Struct("=7IQII"))
# flags, hwpt_id, reserved
_SET_TRACKING = Request("IOMMU_HWPT_SET_DIRTY_TRACKING", 0x3B8B, Struct("=III"))
# hwpt_id, flags, reserved, iova, length, page_size, data
_GET_BITMAP = Request("IOMMU_HWPT_GET_DIRTY_BITMAP", 0x3B8C, Struct("=III4Q"))
# flags, pt_id
_ATTACH = Request("VFIO_DEVICE_ATTACH_IOMMUFD_PT", 0x3B77, Struct("=II"))
_TRACKING = 1 << 1
_NO_CLEAR = 1


def attach(device_fd: int, number: int, **numbers: object) -> None:
    """Let a device see memory by an address space or a page table, by its number."""
    ask(device_fd, _ATTACH, 0, number, **numbers)


def destroy(fd: int, number: int) -> None:
    """Destroy an object of iommufd. If it is still in use, leave it: closing the file ends it."""
    with suppress(OSError):
        uapi.ioctl(fd, _DESTROY.number, _DESTROY.pack(number))


class PageTable(Closing):
    """A page table of an IOMMU; what `Ioas.page_table` returns.

    It has all mappings of its address space, those that come later included. A context manager:
    at its end its devices see memory by the address space again, and it is destroyed.

    Source:
        ``IOMMU_HWPT_ALLOC`` and its neighbours, include/uapi/linux/iommufd.h, Linux.
    """

    def __init__(
        self, fd: int, ioas: int, device: int, granule: Callable[[], int], *, tracks: bool
    ) -> None:
        """Only an `Ioas` makes one."""
        self._fd, self._ioas, self._granule = fd, ioas, granule
        self._devices: list[Device] = []
        self.tracks = tracks
        """True if it was made to keep track of dirty memory."""
        flags = _TRACKING if tracks else 0
        numbers = {"ioas": ioas, "device": device}
        self._process = os.getpid()
        reply = ask(fd, _HWPT_ALLOC, flags, device, ioas, 0, 0, 0, 0, 0, 0, 0, **numbers)
        self.number = reply[3]
        """The kernel's number of it."""
        self.closed = False

    def __repr__(self) -> str:
        """Show its numbers."""
        tracking = ", tracks dirty memory" if self.tracks else ""
        closed = ", closed" if self.closed else ""
        return f"PageTable({self.number} of address space {self._ioas}{tracking}{closed})"

    def attach(self, device: Device) -> None:
        """Let a device that the address space opened see memory by this table.

        Raises:
            VfioError: The kernel refused: the table was made for another IOMMU, say. Or the device
                is closed.
        """
        self._check_open("attach")
        if device.closed:
            raise refused(OSError(errno.ENODEV, ""), "page table", address=device.address)
        attach(device.fd, self.number, address=device.address, page_table=self.number)
        self._devices = [*(each for each in self._devices if not each.closed), device]

    def track(self, *, on: bool) -> None:
        """Begin to keep track of dirty memory, with all of it clean, or end.

        Raises:
            VfioError: The kernel refused: the table was not made for that.
        """
        self._check_open("track")
        ask(self._fd, _SET_TRACKING, int(on), self.number, 0, page_table=self.number)

    def dirty_bitmap(
        self, iova: int, length: int, *, page_size: int | None = None, clear: bool = True
    ) -> bytearray:
        """Return which pages devices wrote to: bit *n* is the page ``iova + n * page_size``.

        The first page is bit 0 of the first byte. A page that a device writes to meanwhile is in
        this bitmap or in the next.

        Args:
            iova: I/O virtual address of the first page.
            length: Bytes, all of them mapped.
            page_size: Bytes that a bit stands for; the IOMMU's smallest page by default.
            clear: Also count all of it as clean from now on.

        Raises:
            AlignmentError: These are not whole pages.
            VfioError: The kernel refused: something there is not mapped, say.
        """
        self._check_open("read")
        page_size = page_size or self._granule()
        if length < 1 or page_size & (page_size - 1) or (iova | length) & (page_size - 1):
            raise AlignmentError(
                f"{iova:#x}+{length:#x} is not whole pages of {page_size:#x} bytes",
                iova=iova,
                length=length,
                align=page_size,
            )
        nr_pages = length // page_size
        bits = array("Q", bytes(-(-nr_pages // 64) * 8))
        where = bits.buffer_info()[0]
        flags = 0 if clear else _NO_CLEAR
        numbers = {"iova": iova, "length": length, "page_table": self.number}
        ask(self._fd, _GET_BITMAP, self.number, flags, 0, iova, length, page_size, where, **numbers)
        return bytearray(bits.tobytes()[: -(-nr_pages // 8)])

    def dirty(
        self,
        dma: Phyr,
        phyr: Phyr | None = None,
        *,
        page_size: int | None = None,
        clear: bool = True,
    ) -> Phyr:
        """Return the parts of a mapping that devices wrote to, as a list.

        Args:
            dma: A mapping's list of one chunk, such as `dma` of a `Mapping`.
            phyr: The memory that is mapped there: the list then names that memory. Without it, the
                list names I/O virtual addresses. It keeps nothing pinned.
            page_size: As of `dirty_bitmap`.
            clear: As of `dirty_bitmap`.

        Raises:
            MismatchError: The mapping has several chunks, or `phyr` has another length.
            VfioError: As of `dirty_bitmap`.
        """
        source = dma if phyr is None else phyr
        if len(dma.chunks) > 1 or source.length != dma.length:
            raise MismatchError(
                f"{source!r} is not what is mapped at {dma!r}, which is to be one chunk"
            )
        builder = Builder(source.granule, source.kind)
        if dma:
            page_size = page_size or self._granule()
            first = dma[0] & -page_size
            length = dma[0] + dma.length - first + page_size - 1 & -page_size
            bits = self.dirty_bitmap(first, length, page_size=page_size, clear=clear)
            before = dma[0] - first
            for start, end in _runs(bits, page_size):
                builder.extend(source[max(start - before, 0) : min(end - before, dma.length)])
        return builder.finish()

    def _check_open(self, name: str) -> None:
        if self.closed or not self._is_ours:
            number = errno.EBADF if self.closed else errno.ECHILD
            raise refused(OSError(number, ""), f"{name} page table", page_table=self.number)

    def close(self) -> None:
        """Give its devices back to the address space, and destroy it. Again, it does nothing."""
        if not self.closed and self._is_ours:
            for device in self._devices:
                if device.closed:
                    continue
                # A device that was removed from the machine sees no memory.
                with suppress(OSError):
                    attach(device.fd, self._ioas)
            destroy(self._fd, self.number)
        self.closed = True


def _runs(bits: bytearray, page_size: int) -> Iterator[tuple[int, int]]:
    """Yield where each run of set bits starts and ends, in bytes of memory."""
    # One character a bit, the first one first: this is as fast as counting gets without a loop.
    text = f"{int.from_bytes(bits, 'little'):b}"[::-1]
    for run in re.finditer("1+", text):
        yield run.start() * page_size, run.end() * page_size
