"""A device that VFIO opened by its group or by its own file. The requests are the same."""

import errno
import os
from array import array
from collections.abc import Mapping
from contextlib import ExitStack
from struct import Struct
from typing import NamedTuple

from phyr._devices import uapi
from phyr._devices.uapi import Request, ask, refused, tell
from phyr.pci.device import Config, Device, Ways, Window, no_region
from phyr.pci.irqs import KINDS, Irqs

__all__ = ["open_device"]

# flags, index, cap_offset, size, offset
_GET_REGION_INFO = Request("VFIO_DEVICE_GET_REGION_INFO", 0x3B6C, Struct("=IIIQQ"))
# flags, index, count
_GET_IRQ_INFO = Request("VFIO_DEVICE_GET_IRQ_INFO", 0x3B6D, Struct("=III"))
# flags, index, start, count; then files
_SET_IRQS = Request("VFIO_DEVICE_SET_IRQS", 0x3B6E, Struct("=IIII"))
_NO_DATA, _EVENTFDS = 1 << 0, 1 << 2
# flags; then region, flags to open with, flags, number of ranges; then each range: offset, length
_FEATURE = Request("VFIO_DEVICE_FEATURE", 0x3B75, Struct("=IIIIIQQ"))
_GET_DMA_BUF = 1 << 16 | 11
_RESET = Request("VFIO_DEVICE_RESET", 0x3B6F)
# flags, count; then for each function: group or number, segment, bus, device and function
_HOT_RESET_INFO = Request("VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", 0x3B70, Struct("=II"))
_PARTNER = Struct("=IHBB")
# flags, count; then the files of groups
_HOT_RESET = Request("VFIO_DEVICE_PCI_HOT_RESET", 0x3B71, Struct("=II"))
_MAPPABLE = 1 << 2
_CONFIG = 7


def open_device(address: str, fd: int, groups: Mapping[int, int] | None = None) -> Device:
    """Return the device of an open file. It closes the file at the end, or now if this fails.

    Args:
        address: Of the device.
        fd: Its file.
        groups: The files of the groups of its container; None of a device without a container.

    Raises:
        VfioError: The kernel refused.
    """
    with ExitStack() as stack:
        stack.callback(uapi.close, fd)
        file = _File(address, fd, groups)
        config = Config(file.window(_CONFIG)[1])
        ways = Ways(
            fd,
            file.find,
            file.place,
            file.reset,
            file.export,
            file.partners,
            file.hot_reset,
            file.irqs,
        )
        return Device(address, config, ways, stack.pop_all())


class _File(NamedTuple):
    """A device's open file, and what it is asked.

    Source:
        ``struct vfio_region_info`` and its neighbours, include/uapi/linux/vfio.h, Linux.
    """

    address: str
    fd: int
    groups: Mapping[int, int] | None

    def window(self, index: int) -> tuple[int, Window]:
        """Return the flags of a region, and where it is."""
        fields = ask(self.fd, _GET_REGION_INFO, 0, index, 0, 0, 0, index=index)
        flags, _, _, length, offset = fields
        return flags, Window(self.fd, offset, length)

    def find(self, index: int, _stack: ExitStack) -> Window:
        """Return where a region is that can be mapped."""
        flags, found = self.window(index)
        if not (found.length and flags & _MAPPABLE):
            raise no_region(self.address, index)
        return found

    def place(self, index: int) -> Window:
        """Return where a region is that can be read."""
        found = self.window(index)[1]
        if not found.length:
            raise no_region(self.address, index)
        return found

    def reset(self) -> None:
        """Reset the device."""
        tell(self.fd, _RESET, address=self.address)

    def _dependent(self) -> list[tuple[int, str]]:
        """Return each function that a reset of the bus resets: its group or number, and address."""
        room = 0
        while True:
            argument = _HOT_RESET_INFO.pack(0, room, tail=bytes(room * _PARTNER.size))
            try:
                uapi.ioctl(self.fd, _HOT_RESET_INFO.number, argument)
            except OSError as failure:
                _, count = _HOT_RESET_INFO.fields.unpack_from(argument, 4)
                if failure.errno != errno.ENOSPC or count <= room:
                    raise refused(failure, _HOT_RESET_INFO.name, address=self.address) from None
                room = count
            else:
                _, count = _HOT_RESET_INFO.fields.unpack_from(argument, 4)
                found = _PARTNER.iter_unpack(argument[12 : 12 + count * _PARTNER.size])
                return [
                    (number, f"{segment:04x}:{bus:02x}:{devfn >> 3:02x}.{devfn & 7}")
                    for number, segment, bus, devfn in found
                ]

    def partners(self) -> list[str]:
        """Return the functions that a reset of the bus resets."""
        return sorted({address for _, address in self._dependent()})

    def hot_reset(self) -> None:
        """Reset the bus: with the files of all groups there, or by iommufd without any."""
        partners = self._dependent()
        files: list[int] = []
        if self.groups is not None:
            strangers = sorted({each for group, each in partners if group not in self.groups})
            if strangers:
                failure = OSError(errno.EPERM, "")
                raise refused(failure, "hot reset", address=self.address, others=strangers)
            files = [self.groups[group] for group in sorted({group for group, _ in partners})]
        argument = _HOT_RESET.pack(0, len(files), tail=array("i", files).tobytes())
        tell(self.fd, _HOT_RESET, argument, address=self.address)

    def export(self, index: int, offset: int, length: int) -> int:
        """Make a dma-buf of a part of a region."""
        how = os.O_RDWR | os.O_CLOEXEC
        argument = _FEATURE.pack(_GET_DMA_BUF, index, how, 0, 1, offset, length)
        numbers = {"index": index, "offset": offset, "length": length}
        return tell(self.fd, _FEATURE, argument, feature="DMA_BUF", **numbers)

    def irqs(self) -> dict[str, Irqs]:
        """Return the interrupts of each kind that the device has."""
        found = {}
        for index, kind in enumerate(KINDS):
            flags, _, count = ask(self.fd, _GET_IRQ_INFO, 0, index, 0, kind=kind)
            if count:
                found[kind] = Irqs(self.address, kind, flags, count, self.act)
        return found

    def act(self, index: int, action: int, first: int, count: int, fds: list[int] | None) -> None:
        """Ask for an action on interrupts."""
        flags = action | (_NO_DATA if fds is None else _EVENTFDS)
        tail = array("i", fds or []).tobytes()
        argument = _SET_IRQS.pack(flags, index, first, count, tail=tail)
        numbers = {"kind": KINDS[index], "first": first, "count": count}
        tell(self.fd, _SET_IRQS, argument, **numbers)
