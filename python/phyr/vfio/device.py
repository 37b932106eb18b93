"""A device that VFIO opened, by group or by its own file: the same requests from there on."""

import os
from array import array
from contextlib import ExitStack
from struct import Struct

from phyr._devices import uapi
from phyr._devices.uapi import Request, ask, tell
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
_MAPPABLE = 1 << 2
_CONFIG = 7


def open_device(address: str, fd: int) -> Device:
    """Return the device of an open file, which it closes in the end, or now if this fails.

    Raises:
        VfioError: The kernel refused.

    Source:
        ``struct vfio_region_info`` and what is around it, include/uapi/linux/vfio.h, Linux.
    """

    def window(index: int) -> tuple[int, Window]:
        flags, _, _, length, offset = ask(fd, _GET_REGION_INFO, 0, index, 0, 0, 0, index=index)
        return flags, Window(fd, offset, length)

    def find(index: int, _stack: ExitStack) -> Window:
        flags, found = window(index)
        if not (found.length and flags & _MAPPABLE):
            raise no_region(address, index)
        return found

    def reset() -> None:
        tell(fd, _RESET, address=address)

    def export(index: int, offset: int, length: int) -> int:
        how = os.O_RDWR | os.O_CLOEXEC
        argument = _FEATURE.pack(_GET_DMA_BUF, index, how, 0, 1, offset, length)
        numbers = {"index": index, "offset": offset, "length": length}
        return tell(fd, _FEATURE, argument, feature="DMA_BUF", **numbers)

    def irqs() -> dict[str, Irqs]:
        found = {}
        for index, kind in enumerate(KINDS):
            flags, _, count = ask(fd, _GET_IRQ_INFO, 0, index, 0, kind=kind)
            if count:
                found[kind] = Irqs(address, kind, flags, count, act)
        return found

    def act(index: int, action: int, first: int, count: int, fds: list[int] | None) -> None:
        flags = action | (_NO_DATA if fds is None else _EVENTFDS)
        argument = _SET_IRQS.pack(flags, index, first, count)
        argument += array("i", fds or []).tobytes()
        argument[:4] = len(argument).to_bytes(4, "little")
        numbers = {"kind": KINDS[index], "first": first, "count": count}
        tell(fd, _SET_IRQS, argument, **numbers)

    with ExitStack() as stack:
        stack.callback(uapi.close, fd)
        config = Config(window(_CONFIG)[1])
        return Device(address, config, Ways(find, reset, export, irqs), stack.pop_all())
