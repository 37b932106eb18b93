"""A device that VFIO opened, by group or by its own file: the same requests from there on."""

from contextlib import ExitStack
from struct import Struct

from phyr._devices.uapi import Request, ask, close, tell
from phyr.pci.device import Config, Device, Window, no_region

__all__ = ["open_device"]

# flags, index, cap_offset, size, offset
_GET_REGION_INFO = Request("VFIO_DEVICE_GET_REGION_INFO", 0x3B6C, Struct("=IIIQQ"))
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

    with ExitStack() as stack:
        stack.callback(close, fd)
        config = Config(window(_CONFIG)[1])
        return Device(address, config, find, reset, stack.pop_all())
