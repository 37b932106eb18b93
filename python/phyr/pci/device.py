"""An open PCI function: its regions, its configuration space, and its right to do DMA.

The three ways of opening it (VFIO by group, VFIO by its own file, sysfs) make no difference to its
user.
"""

import errno
import mmap
import os
import re
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

from phyr._devices import uapi
from phyr._devices.closing import Closing
from phyr._devices.uapi import refused
from phyr._phyr import Loan, Phyr, held
from phyr.errors import RangeError, VfioError
from phyr.pci import command, power
from phyr.pci.config import Capability, Config, Registers, Window
from phyr.pci.irqs import Irqs

__all__ = [
    "BARS",
    "OPEN",
    "Capability",
    "Config",
    "Device",
    "Peer",
    "Region",
    "Registers",
    "Ways",
    "Window",
    "is_open",
    "no_region",
    "refuse_twice",
]

BARS = range(6)


class Peer(NamedTuple):
    """Facts about a region for other devices."""

    place: Callable[[], tuple[int, int]]
    """A function that returns its physical address, and the number of its function."""
    export: Callable[[int, int], int]
    """Makes a dma-buf of a part, or raises."""


class Region:
    """A region of a device's own memory, mapped into this process.

    `u8`, `u16`, `u32` and `u64` are views of its registers, in the machine's byte order: reading or
    writing an item is one access of that size. Parts of them (``region.u32[8:16]``) must be gone
    before the region can be closed.

    Examples:
        .. code-block:: python

            region = device.region(0)
            version = region.u32[0x08 // 4]
            region.u32[0x14 // 4] = 0
    """

    def __init__(self, window: Window, peer: "Peer") -> None:
        """Map the region."""
        self._peer = peer
        fd, offset, self.length = window
        try:
            self._map = mmap.mmap(fd, self.length, offset=offset)
        except OSError as failure:
            raise refused(failure, "mmap region", offset=offset, length=self.length) from None
        whole = memoryview(self._map)
        size = window.length & -8
        with Loan(whole) as (self.uaddr, _):
            pass
        self.u8: memoryview[int] = whole
        self.u16: memoryview[int] = whole[: window.length & -2].cast("H")
        self.u32: memoryview[int] = whole[: window.length & -4].cast("I")
        self.u64: memoryview[int] = whole[:size].cast("Q")

    def __repr__(self) -> str:
        """Show its length."""
        return f"Region({self.length:#x} bytes)"

    def close(self) -> None:
        """Unmap it. Using its views afterwards is an error. Closing again does nothing.

        Raises:
            BufferError: A part of a view still exists.
        """
        for view in (self.u64, self.u32, self.u16, self.u8):
            view.release()
        self._map.close()

    @property
    def phyr(self) -> Phyr:
        """The region's physical memory: a list of kind ``mmio``, for other devices to reach.

        ``dma_map(region.phyr, backend, direction)``, or a slice of it, lets the devices of another
        backend, or of the same, read and write the region. The provider of the list is the number
        of the function. Unmap the list before this region's device is closed.

        Raises:
            VfioError: The kernel does not say where it is.
        """
        paddr, number = self._peer.place()
        phyr = Phyr.from_chunks([(paddr, self.length)], kind=f"mmio:{number}")
        return held(phyr, self, self.uaddr)

    def export(self, offset: int, length: int) -> int:
        """Return a dma-buf of a part of it: a new file descriptor, the caller's to close.

        Args:
            offset: From its first byte, a multiple of the page size.
            length: Bytes, a multiple of the page size.

        Raises:
            VfioError: The kernel makes none: it takes ``CONFIG_VFIO_PCI_DMABUF``, which Linux 6.12
                has not yet, and a device that was opened through VFIO.

        Source:
            ``VFIO_DEVICE_FEATURE_DMA_BUF``, include/uapi/linux/vfio.h, Linux.
        """
        return self._peer.export(offset, length)

    def hold(self) -> None:
        """Take note of a mapping of `phyr`. Nothing moves a device's memory.

        Raises:
            VfioError: It is closed.
        """
        if self._map.closed:
            raise refused(OSError(errno.EBADF, ""), "map region", length=self.length)

    def release(self) -> None:
        """Take back one `hold`."""


class Ways(NamedTuple):
    """How an open function is asked, which differs with who opened it."""

    fd: int
    """Its file."""
    find: Callable[[int, ExitStack], Window]
    """Gives where a region is, by number, or raises; the stack closes what it opens."""
    place: Callable[[int], Window]
    """Gives where a region is that is read by calls, or raises."""
    reset: Callable[[], None]
    """Resets it, or raises."""
    export: Callable[[int, int, int], int]
    """Makes a dma-buf of a part of a region, by its number, or raises."""
    partners: Callable[[], list[str]]
    """Gives the addresses of all that a reset of its bus resets, or raises."""
    hot_reset: Callable[[], None]
    """Resets its bus, or raises."""
    irqs: Callable[[], dict[str, Irqs]] = dict
    """Gives the interrupts of each kind that it has, or raises."""


class Device(Closing):
    """An open PCI function. Backends and `Function` open it. It is a context manager.

    Closing forbids DMA and then unmaps the regions. A device that is dropped without being closed
    is closed with a `ResourceWarning`.

    Args:
        address: Its name, such as ``"0000:00:04.0"``.
        config: Its configuration space.
        ways: Functions for other requests.
        stack: Resources to close with the device.
    """

    def __init__(
        self,
        address: str,
        config: Config,
        ways: Ways,
        stack: ExitStack,
    ) -> None:
        """Store the parts."""
        self.address = address
        self.config = config
        self.reset = ways.reset
        """Reset the device as far as possible. Raises `VfioError` if it cannot be reset."""
        self._ways = ways
        self._irqs: dict[str, Irqs] | None = None
        self._regions: dict[int, Region] = {}
        self._stack = stack
        self._process = os.getpid()
        self.closed = False
        OPEN[address] = self

    @property
    def fd(self) -> int:
        """Its file, for requests that phyr does not make: VFIO's, or of sysfs its ``config``.

        It is not yours to close. -1 once it is closed.
        """
        return -1 if self.closed else self._ways.fd

    def fileno(self) -> int:
        """Return `fd`, for functions that take an object with a file."""
        return self.fd

    def __repr__(self) -> str:
        """Show which device it is."""
        return f"<{'closed ' if self.closed else ''}device {self.address}>"

    def region(self, index: int) -> Region:
        """Return the region behind a BAR, 0 to 5. Each is mapped once.

        Raises:
            RangeError: It has no memory there.
            VfioError: The kernel refused. Or the device is not in D0, or its memory is off; then
                `recover` helps.
        """
        if index not in BARS:
            raise no_region(self.address, index)
        if index not in self._regions:
            self._check_awake(index)
            peer = Peer(partial(place_of, self.address, index), partial(self._ways.export, index))
            self._regions[index] = Region(self._ways.find(index, self._stack), peer)
        return self._regions[index]

    def registers(self, index: int) -> Registers:
        """Return what is behind a BAR, 0 to 5, to be read and written by calls, not mapped.

        For ports, and for memory that cannot be mapped: each access is a system call.

        Raises:
            RangeError: It has nothing there, or the device was opened through sysfs.
            VfioError: The kernel refused.
        """
        if index not in BARS:
            raise no_region(self.address, index)
        return Registers(self._ways.place(index))

    @property
    def irqs(self) -> dict[str, Irqs]:
        """Its interrupts, by kind: ``intx``, ``msi``, ``msix``, as far as it has them.

        Through sysfs there are none: without VFIO a program gets no interrupts.

        Raises:
            VfioError: The kernel refused.
        """
        if self._irqs is None:
            self._irqs = self._ways.irqs()
        return self._irqs

    @property
    def bus_master(self) -> bool:
        """True if it may do DMA."""
        return command.is_on(self.config, command.MASTER)

    @bus_master.setter
    def bus_master(self, allowed: bool) -> None:
        command.switch(self.config, command.MASTER, on=allowed)

    @property
    def power_state(self) -> str:
        """``D0`` to ``D3hot``: full power, to as little as it can be woken from.

        Only in D0 does the device work, and are its regions there: through VFIO, **reading or
        writing a mapped region in another state ends the process** (SIGBUS). A device without
        power management is in D0. Setting it waits until the device is in that state.

        Raises:
            RangeError: There is no such state.
            VfioError: The device has no such state, or does not reach it.
        """
        return power.power_state(self.config)

    @power_state.setter
    def power_state(self, state: str) -> None:
        power.set_power_state(self.config, state)

    @property
    def memory_enabled(self) -> bool:
        """True if it answers at the addresses of its memory; if not, beware as in D3hot."""
        return command.is_on(self.config, command.MEMORY)

    @memory_enabled.setter
    def memory_enabled(self, on: bool) -> None:
        command.switch(self.config, command.MEMORY, on=on)

    def recover(self) -> None:
        """Bring a device that was found asleep to D0, with its memory switched on.

        Its registers may have their values of a reset. Mapped regions work again.

        Raises:
            VfioError: It does not wake.
        """
        self.power_state = "D0"
        if not self.memory_enabled:
            self.memory_enabled = True

    def _check_awake(self, index: int) -> None:
        # The bit of a virtual function is always 0: its memory is switched on by the physical one.
        is_virtual = (uapi.SYSFS / "devices" / self.address / "physfn").exists()
        state = self.power_state
        if state != "D0" or not (self.memory_enabled or is_virtual):
            failure = OSError(errno.ENXIO, "")
            raise refused(failure, "find region", index=index, address=self.address, state=state)

    @property
    def reset_with(self) -> list[str]:
        """The functions that `hot_reset` resets, itself among them.

        Raises:
            VfioError: The device's bus cannot be reset: a root bus has no bridge for that.
        """
        return self._ways.partners()

    def hot_reset(self) -> None:
        """Reset its bus, with all functions on it, for a device that `reset` does not bring back.

        Each function of `reset_with` must be open in the same backend, or not be in use.

        Raises:
            VfioError: Another one is in use, or the bus cannot be reset. Nothing is reset then.

        Source:
            ``VFIO_DEVICE_PCI_HOT_RESET``, include/uapi/linux/vfio.h, Linux.
        """
        self._ways.hot_reset()

    def close(self) -> None:
        """Forbid DMA, disable interrupts, let go of all of it. Closing again does nothing.

        In a forked child only the child's copies of files and regions are closed: the device
        belongs to the parent.

        Raises:
            BufferError: A part of a region's view still exists. Everything else is closed, but the
                function stays in use until that part is dropped and `close` is called again.
        """
        try:
            with self._stack:
                # A region in use keeps neither the other regions nor the files open.
                for region in self._regions.values():
                    self._stack.callback(region.close)
                for irqs in (self._irqs or {}).values():
                    self._stack.callback(irqs.disable if self._is_ours else irqs.forget)
                if not self.closed:
                    self.closed = True
                    # A forked child leaves the device to the parent.
                    if self._is_ours:
                        self._quiet()
        except BufferError:
            # The function stays in use, even if its device object is dropped.
            OPEN[self.address] = self
            _IN_USE.add(self)
            raise
        _IN_USE.discard(self)
        if OPEN.get(self.address) is self:
            del OPEN[self.address]

    def _quiet(self) -> None:
        """Forbid DMA, unless the device was removed from the machine."""
        try:
            self.bus_master = False
        except VfioError:
            # A device that the bus no longer reaches does no DMA either.
            return


OPEN: weakref.WeakValueDictionary[str, Device] = weakref.WeakValueDictionary()
"""The functions that this process has open, by address."""

# Closed, except for a region of which a part is still in use.
_IN_USE: set[Device] = set()

if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none
    os.register_at_fork(after_in_child=OPEN.clear)


def is_open(device: Device) -> bool:
    """Return true if it is open, or closed except for a region in use."""
    return OPEN.get(device.address) is device


def refuse_twice(address: str) -> None:
    """Raise if this process has the function open: two users would not know of each other."""
    if address in OPEN:
        raise refused(OSError(errno.EBUSY, ""), "open", address=address)


def place_of(address: str, index: int) -> tuple[int, int]:
    """Return the physical address of a BAR, and the number of the function: its requester ID.

    Raises:
        VfioError: sysfs does not say.
    """
    path = uapi.SYSFS / "devices" / address / "resource"
    try:
        first, *_ = path.read_text().splitlines()[index].split()
    except OSError as failure:
        raise refused(failure, "read", path=str(path)) from None
    domain, bus, slot, function = (int(part, 16) for part in re.split("[:.]", address))
    return int(first, 16), (domain << 16 | bus << 8 | slot << 3 | function) & 0xFFFF_FFFF


def no_region(address: str, index: int) -> RangeError:
    """Return the exception for a BAR without memory."""
    return RangeError(
        f"{address} has no memory behind BAR {index}, or none that can be mapped",
        address=address,
        index=index,
    )
