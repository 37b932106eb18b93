"""A VFIO container: groups of devices that see memory in one way."""

import errno
from contextlib import ExitStack
from enum import IntEnum
from struct import Struct

from phyr._devices import uapi
from phyr._devices.uapi import Request, ask, refused, tell
from phyr.pci.device import Device
from phyr.pci.function import Function
from phyr.vfio.device import open_device

__all__ = ["Container", "Model"]

_CHECK_EXTENSION = Request("VFIO_CHECK_EXTENSION", 0x3B65)
_SET_IOMMU = Request("VFIO_SET_IOMMU", 0x3B66)
_GET_STATUS = Request("VFIO_GROUP_GET_STATUS", 0x3B67, Struct("=I"))
_SET_CONTAINER = Request("VFIO_GROUP_SET_CONTAINER", 0x3B68)
_GET_DEVICE_FD = Request("VFIO_GROUP_GET_DEVICE_FD", 0x3B6A)
_VIABLE = 1 << 0


class Model(IntEnum):
    """How a container sees memory.

    Source:
        ``VFIO_TYPE1v2_IOMMU`` and so on, include/uapi/linux/vfio.h, Linux.
    """

    TYPE1V2 = 3
    NOIOMMU = 8


class Container:
    """An open container.

    Args:
        model: How it sees memory.
        stack: The stack that closes it and its groups.

    Raises:
        VfioError: There is no VFIO, or VFIO does not support this model.
    """

    def __init__(self, model: Model, stack: ExitStack) -> None:
        """Open it."""
        self._model = model
        self._stack = stack
        self._groups: dict[int, int] = {}
        with ExitStack() as opening:
            self.fd = uapi.open_file(uapi.DEV / "vfio" / "vfio")
            opening.callback(uapi.close, self.fd)
            if not tell(self.fd, _CHECK_EXTENSION, model):
                failure = OSError(errno.EOPNOTSUPP, "")
                raise refused(failure, "VFIO_CHECK_EXTENSION", model=model.name)
            stack.push(opening.pop_all())

    @property
    def empty(self) -> bool:
        """True if the container has no group; it then sees no memory."""
        return not self._groups

    def open(self, function: Function) -> Device:
        """Open a device. Its group joins the container and stays in it.

        Raises:
            VfioError: The kernel refused.
        """
        group = function.group
        if group is None:
            failure = OSError(errno.ENODEV, "")
            raise refused(failure, "find group", address=function.address, driver=function.driver)
        if group not in self._groups:
            self._join(group, function)
        name = bytearray(function.address.encode() + b"\0")
        fd = tell(self._groups[group], _GET_DEVICE_FD, name, address=function.address, group=group)
        return open_device(function.address, fd, self._groups)

    def _join(self, group: int, function: Function) -> None:
        prefix = "noiommu-" if self._model is Model.NOIOMMU else ""
        with ExitStack() as stack:
            path = uapi.DEV / "vfio" / f"{prefix}{group}"
            fd = uapi.open_file(path, address=function.address, driver=function.driver)
            stack.callback(uapi.close, fd)
            (flags,) = ask(fd, _GET_STATUS, 0, group=group)
            if not flags & _VIABLE:
                others = {each.address: each.driver for each in function.neighbours}
                failure = OSError(errno.EBUSY, "")
                raise refused(failure, "VFIO_GROUP_GET_STATUS", group=group, drivers=others)
            argument = bytearray(self.fd.to_bytes(4, "little"))
            tell(fd, _SET_CONTAINER, argument, group=group)
            if self.empty:
                tell(self.fd, _SET_IOMMU, self._model, model=self._model.name)
            self._stack.push(stack.pop_all())
            # Only resources that stay open, whatever interrupts this method.
            self._groups[group] = fd
