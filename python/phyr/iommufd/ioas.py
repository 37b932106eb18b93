"""An I/O address space of iommufd: the backend that maps, and opens devices."""

import errno
import os
from array import array
from contextlib import ExitStack
from mmap import PAGESIZE
from struct import Struct
from typing import ClassVar
from weakref import WeakSet

from phyr._devices import uapi
from phyr._devices.address_space import AddressSpace
from phyr._devices.uapi import Request, ask, refused
from phyr._devices.window import Wanted
from phyr._phyr import Phyr
from phyr.errors import NotMappedError
from phyr.iommu.protocols import Direction, Prot
from phyr.iommufd.page_table import PageTable, attach, destroy
from phyr.pci.device import Device, Region, is_open
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
# flags, dst_ioas_id, src_ioas_id, length, dst_iova, src_iova
_IOAS_COPY = Request("IOMMU_IOAS_COPY", 0x3B83, Struct("=IIIQQQ"))
# ioas_id, iova, length
_IOAS_UNMAP = Request("IOMMU_IOAS_UNMAP", 0x3B86, Struct("=IQQ"))
# flags, iommufd, out_devid
_BIND = Request("VFIO_DEVICE_BIND_IOMMUFD", 0x3B76, Struct("=IiI"))
_FIXED, _WRITEABLE, _READABLE = 1, 2, 4
_READ, _WRITE = int(Prot.READ), int(Prot.WRITE)
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
        beside: Another address space, whose iommufd this one is to share: memory that is mapped in
            one of them can then be mapped in the other by `copy`.

    Raises:
        RangeError: `guard` is negative.
        VfioError: The kernel has no iommufd, or rights are missing; or `beside` is closed.

    Source:
        include/uapi/linux/iommufd.h and drivers/iommu/iommufd, Linux.
    """

    method: ClassVar[str] = "iommufd"
    """The method of pinning, because mapping here pins memory; see `phyr.pin`."""

    def __init__(
        self, *, dma_mask: int = _TOP, guard: int = 0, beside: "Ioas | None" = None
    ) -> None:
        """Open one."""
        super().__init__(dma_mask, guard)
        # The kernel's numbers of open devices, by address.
        self._numbers: dict[str, int] = {}
        # A table keeps its address space, not the other way round.
        self._tables: WeakSet[PageTable] = WeakSet()
        with ExitStack() as stack:
            self._fd = uapi.open_file(uapi.DEV / "iommu") if beside is None else beside._dup()  # noqa: SLF001
            stack.callback(uapi.close, self._fd)
            _, self.number = ask(self._fd, _IOAS_ALLOC, 0, 0)
            """The kernel's number of this address space."""
            stack.callback(_destroy, self._fd, self.number, self._tables, self._process)
            self._renew()
            self._stack.push(stack.pop_all())
        self.closed = False

    @property
    def fd(self) -> int:
        """The file of ``/dev/iommu``, for requests that phyr does not make. Not yours to close."""
        return self._fd

    def _dup(self) -> int:
        """Return another descriptor of the same iommufd."""
        self._check(not self.closed, errno.EBADF, "open", path=str(uapi.DEV / "iommu"))
        self._check(self._is_ours, errno.ECHILD, "open", path=str(uapi.DEV / "iommu"))
        try:
            return os.dup(self._fd)
        except OSError as failure:
            raise refused(failure, "dup", ioas=self.number) from None

    def page_table(self, device: Device | int, *, tracks: bool = False) -> PageTable:
        """Make a page table of the IOMMU of a device, with the mappings of this address space.

        The device sees memory by it once it is attached to it. The table is closed with this
        address space, at the latest.

        Args:
            device: A device that is open here; or the number of one that was bound to this iommufd
                by other means.
            tracks: The table is to keep track of the memory that devices write to.

        Raises:
            VfioError: The kernel refused: ``EOPNOTSUPP`` if the IOMMU keeps track of nothing, or if
                the table has no addresses, as of a virtio IOMMU under Linux 6.12. Or the device is
                not open here.

        Examples:
            .. code-block:: python

                with ioas.page_table(device, tracks=True) as table:
                    table.attach(device)
                    table.track(on=True)
                    ...  # the device works
                    table.dirty(mapping.dma, mapping.phyr)
        """
        self._check(self._is_ours, errno.ECHILD, "page table", ioas=self.number)
        with self._lock:
            self._check(not self.closed, errno.EBADF, "page table", ioas=self.number)
            if isinstance(device, int):
                number = device
            else:
                here = device in self._devices and is_open(device)
                self._check(here, errno.ENODEV, "page table", address=device.address)
                number = self._numbers[device.address]
            table = PageTable(self._fd, self.number, number, self._granule, tracks=tracks)
            self._tables.add(table)
            # The IOMMU of a device that is not open here may allow other addresses.
            self._renew()
            if self.ranges[-1][1] < self._granule():
                # Nothing could be mapped any more.
                table.close()
                self._renew()
                raise refused(OSError(errno.EOPNOTSUPP, ""), "page table", ioas=self.number)
            return table

    def copy(
        self, dma: Phyr, source: "Ioas", direction: Direction = Direction.BIDIRECTIONAL
    ) -> Phyr:
        """Map here what another address space of the same iommufd maps.

        The kernel pins the memory once for both. `unmap` of either leaves the other as it is.

        Args:
            dma: A list that `source` maps: `dma` of a mapping, or a list of one chunk at an address
                that `map_user` or `map_file` returned.
            source: The address space in which it is mapped; see `beside`.
            direction: The direction of the data.

        Returns:
            A list of the same length, to be unmapped by `unmap`. An empty one is returned as it is.

        Raises:
            NotMappedError: `source` maps nothing there.
            IovaSpaceError: No room is left.
            VfioError: The kernel refused: the two are not of one iommufd, say.
        """
        if not dma:
            return dma
        start, length = source._window_of(dma)  # noqa: SLF001
        prot = Prot.of(direction, "ram")

        def ask_copy(iova: int) -> None:
            numbers = {"iova": iova, "length": length, "source": source.number}
            flags = _flags(prot)
            values = (flags, self.number, source.number, length, iova, start)
            ask(self._fd, _IOAS_COPY, *values, **numbers)

        self._check(self._is_ours, errno.ECHILD, "map")
        with self._lock:
            wanted = Wanted(dma[0] - start, length, self._align(start, length), start)
            return self._map_list(dma, wanted, ask_copy)

    def _window_of(self, dma: Phyr) -> tuple[int, int]:
        """Return the window that a list starts in: its address and length."""
        with self._lock:
            iova = dma[0] & -self._granule()
            window = self._windows.get(iova)
            if window is None or dma[0] - iova + dma.length > window.length:
                raise NotMappedError(f"{dma!r} is not mapped in {self!r}")
            return iova, window.length

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
            reply = ask(fd, _BIND, 0, self._fd, 0, address=function.address)
            attach(fd, self.number, address=function.address)
            self._numbers[function.address] = reply[2]
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
        # Without `ask`, as of Type1.
        request = _IOAS_MAP.pack(_flags(prot), self.number, 0, uaddr, length, iova)
        try:
            uapi.ioctl(self._fd, _IOAS_MAP.number, request)
        except OSError as failure:
            numbers = {"uaddr": uaddr, "length": length, "iova": iova}
            raise refused(failure, _IOAS_MAP.name, **numbers) from None

    def _undoing(self, iova: int, length: int) -> bytearray:
        return _IOAS_UNMAP.pack(self.number, iova, length)

    def _undo(self, request: bytearray) -> None:
        uapi.ioctl(self._fd, _IOAS_UNMAP.number, request)


def _destroy(fd: int, number: int, tables: "WeakSet[PageTable]", process: int) -> None:
    """Destroy an address space and its tables, unless this is a fork of `process`.

    Closing the file would do that, too, if no other address space shared it.
    """
    for table in tables:
        table.close()
    if process == os.getpid():
        destroy(fd, number)


def _flags(prot: int) -> int:
    """Return the flags of a map request, at an address that is ours to choose."""
    # Numbers: joining flags of `Prot` takes longer than the rest of a request.
    prot = int(prot)
    flags = _FIXED
    if prot & _READ:
        flags |= _READABLE
    return flags | _WRITEABLE if prot & _WRITE else flags
