"""A PCI function in sysfs: its driver, and opening it without a driver."""

import errno
import mmap
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from phyr._arguments import wrong
from phyr._devices import uapi
from phyr.errors import RangeError
from phyr.pci.device import OPEN, Config, Device, Ways, Window, no_region, refuse_twice

__all__ = ["Function", "bound"]

_ADDRESS = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_IS_IO = 0x100


class Function:
    """One function of a PCI device, by its address.

    Nothing is held open: the object is a name, and its methods use sysfs.

    Args:
        address: Domain, bus, device and function, as sysfs writes them: ``"0000:00:04.0"``.

    Raises:
        RangeError: The text is not such an address.
        VfioError: There is no such function.
        TypeError: It is no text.
    """

    def __init__(self, address: str) -> None:
        """Find the function."""
        if not isinstance(address, str):
            raise wrong("address", address, "a str")
        if not _ADDRESS.fullmatch(address):
            raise RangeError(
                f"{address!r} is not the address of a PCI function, such as '0000:00:04.0'",
                address=address,
            )
        self.address = address
        # The ``driver_override`` from before, until it is written back.
        self._override: str | None = None
        self.path = uapi.SYSFS / "devices" / address
        if not self.path.exists():
            raise uapi.refused(OSError(errno.ENODEV, ""), "find", address=address)

    def __repr__(self) -> str:
        """Show which function it is."""
        return f"Function({self.address!r})"

    @property
    def driver(self) -> str | None:
        """Its driver, or None."""
        return uapi.linked(self.path / "driver")

    @property
    def group(self) -> int | None:
        """The number of its IOMMU group, or None.

        Functions that an IOMMU cannot tell apart are one group.
        """
        name = uapi.linked(self.path / "iommu_group")
        return None if name is None else int(name)

    @property
    def neighbours(self) -> list["Function"]:
        """The functions of its group, including itself; empty without a group."""
        if self.group is None:
            return []
        members = self.path / "iommu_group" / "devices"
        try:
            names = sorted(path.name for path in members.iterdir())
        except OSError as failure:
            raise uapi.refused(failure, "read", path=str(members)) from None
        return [Function(name) for name in names]

    def bind(self, driver: str | None) -> None:
        """Bind it to a driver, whatever driver it has now; None leaves it without a driver.

        Everything that this process has open of it is closed first, because the kernel would wait
        for that.

        Raises:
            VfioError: There is no such driver, or the driver refuses the function, which then has
                none; or rights are missing.
        """
        if driver is not None and not (uapi.SYSFS / "drivers" / driver).exists():
            raise uapi.refused(OSError(errno.ENOENT, ""), "bind", driver=driver, to=self.address)
        if driver is not None and self.driver == driver and self._override is None:
            return
        self._unbind()
        if driver is not None:
            override = self.path / "driver_override"
            if self._override is None:
                self._override = self._read(override).strip()
            self._write(override, driver)
            try:
                self._write(uapi.SYSFS / "drivers_probe", self.address)
            finally:
                # The override is needed only at this moment. Nothing but the driver stays changed.
                before = self._override
                self._write(override, "\n" if before == "(null)" else before)
                self._override = None
            if self.driver != driver:
                failure = OSError(errno.ENODEV, "")
                raise uapi.refused(failure, "bind", driver=driver, to=self.address)

    def restore(self) -> None:
        """Bind it to the driver that the kernel itself would choose."""
        self._unbind()
        self._write(uapi.SYSFS / "drivers_probe", self.address)

    def _unbind(self) -> None:
        device = OPEN.get(self.address)
        if device is not None:
            device.close()
        if self.driver is not None:
            self._write(self.path / "driver" / "unbind", self.address)

    @staticmethod
    def _read(path: Path) -> str:
        try:
            return path.read_text()
        except OSError as failure:
            raise uapi.refused(failure, "read", path=str(path)) from None

    def _write(self, path: Path, text: str) -> None:
        try:
            uapi.write_file(path, text)
        except OSError as failure:
            raise uapi.refused(failure, "write", path=str(path), text=text.strip()) from None

    def open(self) -> Device:
        """Open it through sysfs without VFIO, for a function that has no driver.

        The device can then reach all memory, unless there is an IOMMU; see `phyr.vfio.NoIommu`.

        Raises:
            VfioError: It has a driver, it is open, or rights are missing.
        """
        if self.driver is not None:
            failure = OSError(errno.EBUSY, "")
            raise uapi.refused(failure, "open", address=self.address, driver=self.driver)
        refuse_twice(self.address)
        with ExitStack() as stack:
            fd = uapi.open_file(self.path / "config")
            stack.callback(uapi.close, fd)
            # A driver would have switched its memory on.
            self._write(self.path / "enable", "1")
            stack.callback(self._disable, os.getpid())
            try:
                length = os.fstat(fd).st_size
            except OSError as failure:
                raise uapi.refused(failure, "stat", path=str(self.path / "config")) from None
            config = Config(Window(fd, 0, length))
            ways = Ways(
                fd,
                self._find,
                self._place,
                self._reset,
                self._export,
                self._partners,
                self._hot_reset,
            )
            return Device(self.address, config, ways, stack.pop_all())

    def _disable(self, process: int) -> None:
        """Switch its memory off again, unless it was removed or this is a fork of `process`."""
        if process == os.getpid() and self.path.exists():
            self._write(self.path / "enable", "0")

    def _find(self, index: int, stack: ExitStack) -> Window:
        """Return the place of a BAR: a file of its own, which is closed with the stack."""
        lines = self._read(self.path / "resource").splitlines()
        first, last, flags = (int(word, 16) for word in lines[index].split())
        # A BAR that starts inside a page cannot be mapped alone: the mapping would start at the
        # page.
        if not last or flags & _IS_IO or first % mmap.PAGESIZE:
            raise no_region(self.address, index)
        fd = uapi.open_file(self.path / f"resource{index}")
        stack.callback(uapi.close, fd)
        return Window(fd, 0, last - first + 1)

    def _place(self, index: int) -> Window:
        # The files of sysfs can be mapped; those of ports only are read, and by root alone.
        raise no_region(self.address, index)

    def _export(self, index: int, offset: int, length: int) -> int:
        failure = OSError(errno.ENOTTY, "")
        numbers = {"index": index, "offset": offset, "length": length}
        raise uapi.refused(failure, "export", address=self.address, **numbers)

    def _partners(self) -> list[str]:
        raise uapi.refused(OSError(errno.ENOTTY, ""), "hot reset", address=self.address)

    def _hot_reset(self) -> None:
        self._partners()

    def _reset(self) -> None:
        path = self.path / "reset"
        if not path.exists():
            raise uapi.refused(OSError(errno.ENOTTY, ""), "reset", address=self.address)
        self._write(path, "1")


@contextmanager
def bound(address: str, driver: str | None) -> Iterator[Function]:
    """Bind a function to a driver for the length of a ``with``, then to its driver from before.

    Args:
        address: Address of the function.
        driver: A driver such as ``"vfio-pci"``, or None for no driver.

    Raises:
        RangeError: The text is not an address.
        VfioError: There is no such function or driver, or rights are missing. The function then has
            its driver from before.

    Examples:
        .. code-block:: python

            with bound("0000:00:04.0", "vfio-pci") as function, Type1() as backend:
                device = backend.open(function)
    """
    function = Function(address)
    before = function.driver
    try:
        function.bind(driver)
        yield function
    finally:
        # A device that was removed from the machine cannot be bound again.
        if function.path.exists():
            function.bind(before)
