"""Devices through iommufd: the kernel's newer interface to its IOMMUs, as a backend.

`Ioas` does what `phyr.vfio.Type1` does, without containers and groups. It needs Linux 6.6 or newer
with ``CONFIG_IOMMUFD`` and ``CONFIG_VFIO_DEVICE_CDEV``.

``docs/real-devices.md`` says what to enable, and which dangers there are. Linux only.
"""

import errno
import os
from array import array
from contextlib import ExitStack
from mmap import PAGESIZE
from struct import Struct
from typing import ClassVar

from phyr._devices import uapi
from phyr._devices.address_space import AddressSpace
from phyr._devices.uapi import Request, ask, refused
from phyr.iommu.protocols import Prot
from phyr.pci.device import Device, Region
from phyr.pci.function import Function
from phyr.vfio.device import open_device

__all__ = ["Ioas"]

# flags, out_ioas_id
_IOAS_ALLOC = Request("IOMMU_IOAS_ALLOC", 0x3B81, Struct("=II"))
# ioas_id, num_iovas, reserved, allowed_iovas, out_iova_alignment
_IOVA_RANGES = Request("IOMMU_IOAS_IOVA_RANGES", 0x3B84, Struct("=IIIQQ"))
# flags, ioas_id, reserved, user_va, length, iova
_IOAS_MAP = Request("IOMMU_IOAS_MAP", 0x3B85, Struct("=IIIQQQ"))
# flags, ioas_id, fd, start, length, iova
_IOAS_MAP_FILE = Request("IOMMU_IOAS_MAP_FILE", 0x3B8F, Struct("=IIiQQQ"))
# ioas_id, iova, length
_IOAS_UNMAP = Request("IOMMU_IOAS_UNMAP", 0x3B86, Struct("=IQQ"))
# flags, iommufd, out_devid
_BIND = Request("VFIO_DEVICE_BIND_IOMMUFD", 0x3B76, Struct("=IiI"))
# flags, pt_id
_ATTACH = Request("VFIO_DEVICE_ATTACH_IOMMUFD_PT", 0x3B77, Struct("=II"))
_FIXED, _WRITEABLE, _READABLE = 1, 2, 4
# The kernel names only the smallest page. Windows are also aligned for these larger pages.
_LARGE = 1 << 21 | 1 << 30
_TOP = 2**64 - 1


class Ioas(AddressSpace):
    """An I/O address space of iommufd: a backend for `phyr.iommu.dma_map` that opens devices.

    Several devices may share it. A mapping stays when a device is closed, until `close`. Memory
    can be mapped before the first device. Threads may share it.

    Args:
        dma_mask: Highest address that the devices can put out, ``2**32 - 1`` for 32 bits.
        guard: Bytes after each mapping, at least, that stay unmapped: a device that runs over the
            end of one faults, instead of reaching the next.

    Raises:
        RangeError: `guard` is negative.
        VfioError: The kernel has no iommufd, or rights are missing.

    Source:
        include/uapi/linux/iommufd.h and drivers/iommu/iommufd, Linux.
    """

    method: ClassVar[str] = "iommufd"
    """The method of pinning, because mapping here pins memory; see `phyr.pin`."""

    def __init__(self, *, dma_mask: int = _TOP, guard: int = 0) -> None:
        """Open one."""
        super().__init__(dma_mask, guard)
        with ExitStack() as stack:
            self._fd = uapi.open_file(uapi.DEV / "iommu")
            stack.callback(uapi.close, self._fd)
            _, self.number = ask(self._fd, _IOAS_ALLOC, 0, 0)
            """The kernel's number of this address space."""
            self._renew()
            self._stack.push(stack.pop_all())
        self.closed = False

    @property
    def fd(self) -> int:
        """The file of ``/dev/iommu``, for requests that phyr does not make. Not yours to close."""
        return self._fd

    def map_file(self, fd: int, offset: int, length: int, prot: int) -> int:
        """Map a part of a memfd, such as a virtual machine's memory; return its I/O address.

        The program need not have it mapped. The kernel pins the memory until `unmap_user`.

        Args:
            fd: Of a memfd.
            offset: Of the first byte in it.
            length: Bytes. Both are multiples of the IOMMU's granule.
            prot: What devices may do, as a `phyr.iommu.Prot`.

        Raises:
            AlignmentError: That is no whole granules.
            IovaSpaceError: No room is left.
            VfioError: The kernel refused: Linux 6.12 has no such request. Or this is a fork.

        Source:
            ``IOMMU_IOAS_MAP_FILE``, include/uapi/linux/iommufd.h, Linux.
        """
        return self._map_whole(
            offset, length, lambda iova: self._ask_file(fd, offset, length, iova, prot)
        )

    def _ask_file(self, fd: int, offset: int, length: int, iova: int, prot: int) -> None:
        numbers = {"offset": offset, "length": length, "iova": iova}
        flags = _flags(prot)
        ask(self._fd, _IOAS_MAP_FILE, flags, self.number, fd, offset, length, iova, **numbers)

    def _info(self) -> tuple[int, list[tuple[int, int]]]:
        room = 16
        while True:
            pairs = array("Q", bytes(16 * room))
            argument = _IOVA_RANGES.pack(self.number, room, 0, pairs.buffer_info()[0], 0)
            try:
                uapi.ioctl(self._fd, _IOVA_RANGES.number, argument)
            except OSError as failure:
                _, count, *_ = _IOVA_RANGES.fields.unpack_from(argument, 4)
                if failure.errno != errno.EMSGSIZE or count <= room:
                    raise refused(failure, _IOVA_RANGES.name, ioas=self.number) from None
                room = count
            else:
                _, count, _, _, granule = _IOVA_RANGES.fields.unpack_from(argument, 4)
                numbers = pairs[: 2 * count]
                ranges = list(zip(numbers[::2], numbers[1::2], strict=True))
                # Without a device any address can be mapped. With a device only whole pages can.
                granule = max(granule, PAGESIZE)
                return granule | _LARGE & -granule, ranges

    def _attach(self, function: Function) -> Device:
        names = sorted((function.path / "vfio-dev").glob("vfio*"))
        if not names:
            failure = OSError(errno.ENODEV, "")
            raise refused(failure, "find cdev", address=function.address, driver=function.driver)
        path = uapi.DEV / "vfio" / "devices" / names[0].name
        with ExitStack() as stack:
            fd = uapi.open_file(path, address=function.address)
            stack.callback(uapi.close, fd)
            ask(fd, _BIND, 0, self._fd, 0, address=function.address)
            ask(fd, _ATTACH, 0, self.number, address=function.address)
            stack.pop_all()
        return open_device(function.address, fd)

    def _ask_region(self, region: Region, offset: int, length: int, iova: int, prot: int) -> None:
        # The kernel keeps the memory by itself once it is mapped.
        fd = region.export(offset, length)
        try:
            self._ask_file(fd, 0, length, iova, prot)
        finally:
            os.close(fd)

    def _ask(self, uaddr: int, length: int, iova: int, prot: int) -> None:
        flags = _flags(prot)
        numbers = {"uaddr": uaddr, "length": length, "iova": iova}
        ask(self._fd, _IOAS_MAP, flags, self.number, 0, uaddr, length, iova, **numbers)

    def _undoing(self, iova: int, length: int) -> bytearray:
        return _IOAS_UNMAP.pack(self.number, iova, length)

    def _undo(self, request: bytearray) -> None:
        uapi.ioctl(self._fd, _IOAS_UNMAP.number, request)


def _flags(prot: int) -> int:
    """Return the flags of a map request, at an address that is ours to choose."""
    flags = _FIXED
    flags |= _READABLE if prot & Prot.READ else 0
    flags |= _WRITEABLE if prot & Prot.WRITE else 0
    return flags
