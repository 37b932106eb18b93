"""No IOMMU between device and memory: a list is its own mapping."""

import errno
import os
from contextlib import ExitStack

from phyr._devices.closing import Closing
from phyr._devices.uapi import refused
from phyr._ownership import HOLDING
from phyr._phyr import Phyr
from phyr.errors import PinError
from phyr.iommu.limits import DeviceLimits
from phyr.iommu.protocols import Direction
from phyr.pci.device import Device, is_open, refuse_twice
from phyr.pci.function import Function
from phyr.vfio.container import Container, Model

__all__ = ["NoIommu"]

_TOP = 2**64 - 1


class NoIommu(Closing):
    """A backend for `phyr.iommu.dma_map` without an IOMMU; it also opens devices.

    A device can then reach all memory of the machine at physical addresses. A wrong address, or a
    page that moved, makes the device overwrite other memory. So only lists of pins that keep pages
    from moving can be mapped.

    Args:
        dma_mask: Highest address that the devices can put out, ``2**28 - 1`` for 28 bits.
        sysfs: Open devices through sysfs, for a function without a driver and a kernel without
            ``CONFIG_VFIO_NOIOMMU``. The default is VFIO's no-IOMMU mode, which resets the device
            when its process ends, however it ends.

    Raises:
        VfioError: The kernel has no VFIO without IOMMU, or that mode is not enabled.

    Source:
        ``VFIO_NOIOMMU_IOMMU``, include/uapi/linux/vfio.h, Linux.
    """

    def __init__(self, *, dma_mask: int = _TOP, sysfs: bool = False) -> None:
        """Open a container, if one is needed."""
        self.dma_mask = dma_mask
        self._limits = DeviceLimits(dma_mask=dma_mask)
        self._stack = ExitStack()
        self._devices: list[Device] = []
        self._process = os.getpid()
        self._container = None if sysfs else Container(Model.NOIOMMU, self._stack)
        self.closed = False

    def __repr__(self) -> str:
        """Show its devices and their reach."""
        closed = ", closed" if self.closed else ""
        devices = f"{sum(map(is_open, self._devices))} devices"
        return f"NoIommu({devices}, dma_mask {self.dma_mask:#x}{closed})"

    @property
    def fd(self) -> int | None:
        """The container's file, for requests that phyr does not make; None through sysfs."""
        return None if self._container is None else self._container.fd

    def open(self, function: Function | str) -> Device:
        """Open a device.

        Args:
            function: A function whose driver is ``vfio-pci``, or without a driver for sysfs; or its
                address.

        Raises:
            VfioError: It cannot be opened, or this process has it open already.
        """
        if isinstance(function, str):
            function = Function(function)
        if self.closed:
            raise refused(OSError(errno.EBADF, ""), "open", address=function.address)
        if not self._is_ours:
            raise refused(OSError(errno.ECHILD, ""), "open", address=function.address)
        refuse_twice(function.address)
        device = self._container.open(function) if self._container else function.open()
        self._devices = [*filter(is_open, self._devices), device]
        return device

    def map(self, phyr: Phyr, direction: Direction) -> Phyr:
        """Return `phyr` itself.

        Raises:
            PinError: No pin keeps its pages from moving, or the pin is not certain to, or has
                ended.
            LimitError: A chunk ends above `dma_mask`; its number, address and length are told.
        """
        del direction
        # Nothing moves a device's own memory.
        if phyr.kind == "ram" and phyr:
            # A joined list has several owners, and each must hold its pages.
            for owner in getattr(phyr.owner, "parts", (phyr.owner,)):
                _refuse_loose(phyr, owner)
        self._limits.check(phyr)
        return phyr

    def unmap(self, dma: Phyr, direction: Direction) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Close the devices and the container.

        A second call does only what an interrupt or a region in use kept the first from doing.

        Raises:
            BufferError: A view of a part of a device region still exists; everything else is
                closed.
        """
        self.closed = True
        with self._stack:
            for device in self._devices:
                self._stack.callback(device.close)


def _refuse_loose(phyr: Phyr, owner: object) -> None:
    """Raise unless `owner` keeps pages from moving now."""
    method = getattr(owner, "method", None)
    if method not in HOLDING:
        what = "no pin" if method is None else f"a pin of method {method!r}"
        raise PinError(
            errno.EPERM,
            f"{what} holds the pages of {phyr!r} where they are, and no IOMMU stands between "
            f"them and the device; methods that hold are {', '.join(HOLDING)}",
            method=method,
        )
    # A pin that ended, or that belongs to another process, still has its method's name.
    check = getattr(owner, "check", None)
    if check is not None:
        check()
