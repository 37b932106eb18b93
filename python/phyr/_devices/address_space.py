"""An I/O address space in the kernel: the common part of VFIO type1 and iommufd.

```text
buffer      |---page---|---page---|---page---|     user virtual addresses (uaddr)
               ^ first byte of the list
window      |---page---|---page---|---page---|     one request, at an address from the allocator
               ^ the mapping's only entry
```

Both map stretches of user memory, not physical pages: the kernel pins that memory and finds its
pages itself. A list is one stretch, so a mapping is one request.
"""

import errno
import os
from abc import abstractmethod
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from itertools import pairwise
from threading import RLock

from phyr._devices.closing import Closing
from phyr._devices.enforced import enforces_write_only
from phyr._devices.uapi import refused
from phyr._devices.user_mapping import UserMapping
from phyr._devices.window import Wanted, Window
from phyr._phyr import Builder, Phyr, alignment
from phyr.errors import AlignmentError, MismatchError, NotMappedError, PhyrError, RangeError
from phyr.iommu.iova import IovaAllocator
from phyr.iommu.protocols import Direction, Prot
from phyr.pci.device import Device, Region, is_open, refuse_twice
from phyr.pci.function import Function
from phyr.pinning.pinned import memory_of

__all__ = ["AddressSpace"]

_TOP = 2**64 - 1


class AddressSpace(Closing):
    """The base class of `phyr.vfio.Type1` and `phyr.iommufd.Ioas`; not for use on its own.

    Args:
        dma_mask: Highest address that the devices can use.
        guard: Bytes after each window that stay unmapped.
    """

    def __init__(self, dma_mask: int = _TOP, guard: int = 0) -> None:
        """Begin without windows."""
        if guard < 0:
            raise RangeError(f"a gap of {guard:#x} bytes is none", guard=guard)
        self.dma_mask = dma_mask
        self.guard = guard
        """At least so many bytes after each window stay unmapped. A device that runs over the end
        of a window then faults instead of reaching the next one."""
        self.requests = 0
        """The number of map requests that the kernel has granted."""
        self._enforced: list[bool | None] = []
        self._stack = ExitStack()
        self._devices: list[Device] = []
        self._pgsize_bitmap = 0
        self._iovas = IovaAllocator()
        self._windows: dict[int, Window] = {}
        # Lengths of windows that the kernel did not unmap: devices may still reach memory there.
        self._lost: dict[int, int] = {}
        # Keyed by `id(dma)`; keeping `dma` keeps the id from being reused.
        self._mapped: dict[int, tuple[Phyr, int, Window]] = {}
        # The garbage collector may drop a mapping, and so call `unmap`, while this thread is in the
        # middle of a method here. It touches only the window of that mapping.
        self._lock = RLock()
        self._process = os.getpid()

    def __repr__(self) -> str:
        """Show its devices, windows and reach."""
        numbers = f"{sum(map(is_open, self._devices))} devices, {len(self._windows)} windows"
        closed = ", closed" if self.closed else ""
        return f"{type(self).__name__}({numbers}, dma_mask {self.dma_mask:#x}{closed})"

    @property
    def pgsize_bitmap(self) -> int:
        """Page sizes of the IOMMU; bit *n* set means ``1 << n`` bytes, the lowest is the granule.

        0 until they are known.
        """
        return self._pgsize_bitmap

    @property
    def enforces_write_only(self) -> bool | None:
        """True if no device opened so far can read what is mapped ``FROM_DEVICE``.

        False if one is known to be able to: an Intel IOMMU permits that under Linux 6.12 and older.
        The value is None if it is not known, and before the first device.
        """
        if False in self._enforced:
            return False
        return True if self._enforced and None not in self._enforced else None

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """First and last address of each range that the kernel allows to map, in order."""
        return self._info()[1]

    @abstractmethod
    def _info(self) -> tuple[int, list[tuple[int, int]]]:
        """Ask for the page sizes, and the ranges that can be mapped."""

    @abstractmethod
    def _attach(self, function: Function) -> Device:
        """Open a device that uses this address space."""

    @abstractmethod
    def _ask(self, uaddr: int, length: int, iova: int, prot: int) -> None:
        """Make the request that maps."""

    def _ask_region(self, region: Region, offset: int, length: int, iova: int, prot: int) -> None:
        """Make the request that maps a part of a device's region."""
        self._ask(region.uaddr + offset, length, iova, prot)

    @abstractmethod
    def _undoing(self, iova: int, length: int) -> bytearray:
        """Return the request that unmaps."""

    @abstractmethod
    def _undo(self, request: bytearray) -> None:
        """Make the request that unmaps."""

    def open(self, function: Function | str) -> Device:
        """Open a device, which then sees memory where this backend maps it.

        Args:
            function: A function whose driver is ``vfio-pci``, or its address.

        Raises:
            VfioError: It cannot be opened, or this process has it open already.
        """
        if isinstance(function, str):
            function = Function(function)
        self._check(self._is_ours, errno.ECHILD, "open", address=function.address)
        with self._lock:
            self._check(not self.closed, errno.EBADF, "open", address=function.address)
            refuse_twice(function.address)
            with ExitStack() as stack:
                device = stack.enter_context(self._attach(function))
                self._renew()
                self._devices = [*filter(is_open, self._devices), device]
                self._enforced.append(enforces_write_only(function))
                stack.pop_all()
            return device

    def _renew(self) -> None:
        """Ask the kernel which addresses may be used. Each device can make them fewer."""
        bitmap, ranges = self._info()
        # There is always a gap between two ranges.
        gaps = [(low + 1, high - 1) for (_, low), (high, _) in pairwise(ranges)]
        iovas = IovaAllocator((ranges[0][0], ranges[-1][1]), gaps)
        used = {iova: window.length for iova, window in list(self._windows.items())}
        for iova, length in {**used, **self._lost}.items():
            iovas.alloc(length + self.guard, align=1 << 64, residue=iova)
        self._iovas = iovas
        self._pgsize_bitmap = bitmap

    def map(self, phyr: Phyr, direction: Direction) -> Phyr:
        """Return the one stretch of I/O virtual addresses at which devices see `phyr`.

        This is one request, for the whole pages that hold the list. Devices can reach all of those.

        Args:
            phyr: The list of a pin, even of kind ``user``; the `phyr` of a device region; or a part
                of one.
            direction: The direction of the data. The device may only read what goes to it, and only
                write what comes from it, if the IOMMU enforces that: see `enforces_write_only`.

        Raises:
            MismatchError: The list has no user address.
            IovaSpaceError: There is no room left.
            LimitError: The kernel allows no more mappings.
            VfioError: The kernel refused, or this is a forked child. Nothing is mapped then.
        """
        if not phyr:
            return phyr
        uaddr = phyr.uaddr
        if uaddr is None:
            raise MismatchError(
                f"{phyr!r} does not know its user addresses, which is what the kernel maps by: "
                "pin the buffer first, and map the pin's list"
            )
        self._check(self._is_ours, errno.ECHILD, "map")
        with self._lock:
            granule = self._granule()
            head = uaddr & (granule - 1)
            length = (head + phyr.length + granule - 1) & -granule
            align, residue = alignment(phyr, self._pgsize_bitmap)
            region, start, prot = phyr.owner, uaddr - head, Prot.of(direction, "ram")
            ask = self._ask
            if isinstance(region, Region):
                ask, start = partial(self._ask_region, region), start - region.uaddr
            wanted = Wanted(head, length, align, residue - head)
            return self._map_list(phyr, wanted, lambda iova: ask(start, length, iova, prot))

    def _map_list(self, phyr: Phyr, wanted: Wanted, ask: Callable[[int], None]) -> Phyr:
        """Map a window, and return the list in it that stands for `phyr`."""
        head, length, align, residue = wanted
        last = phyr.granule * 2**52 - 1
        iova = self._place(length, align, residue, last)
        dma = None
        try:
            # Devices find it at addresses of the IOMMU, not at user addresses.
            builder = Builder(phyr.granule, "ram" if phyr.kind == "user" else phyr.kind)
            builder.append(iova + head, phyr.length)
            dma = builder.finish()
            window = Window(length, self._undoing(iova, length))
            self._mapped[id(dma)] = (dma, iova, window)
            self._grant(ask, window, iova)
        except BaseException:
            self._mapped.pop(id(dma), None)
            self._give_back(iova)
            raise
        return dma

    def unmap(self, dma: Phyr, direction: Direction) -> None:
        """Unmap the stretch. If the backend is closed, do nothing: closing unmapped it.

        In a forked child this does nothing, because the mapping belongs to the parent.

        Raises:
            NotMappedError: `dma` is not a list that `map` returned and that is still mapped.
            VfioError: As for `unmap_user`.
        """
        del direction
        if not dma or not self._is_ours:
            return
        with self._lock:
            if self.closed:
                return
            found = self._mapped.get(id(dma))
            if found is None:
                raise NotMappedError(f"{dma!r} is not mapped here")
            _, iova, window = found
            # Removed last: after an interrupt a second call still finds the window. The address may
            # be in use again by then.
            try:
                if self._windows.get(iova) is window:
                    self.unmap_user(iova)
            except PhyrError:
                self._mapped.pop(id(dma), None)
                raise
            self._mapped.pop(id(dma), None)

    def exposed(self, dma: Phyr) -> int:
        """Return the bytes beyond the list in the pages that `map` mapped.

        Raises:
            NotMappedError: `dma` is not a list that `map` returned and that is still mapped.
        """
        if not dma:
            return 0
        found = self._mapped.get(id(dma))
        if found is None:
            raise NotMappedError(f"{dma!r} is not mapped here")
        return found[2].length - dma.length

    def map_region(self, region: Region, direction: Direction = Direction.BIDIRECTIONAL) -> Phyr:
        """Return the I/O virtual addresses at which devices see another device's region.

        The same as mapping ``region.phyr``, of which a slice can be mapped as well; `unmap` undoes
        it. It is to be unmapped before that device is closed.

        Args:
            region: Of a device that is open here or in another backend of this process.
            direction: The direction of the data, seen from the device that accesses the region.

        Raises:
            VfioError: The kernel refused. Through iommufd that takes ``CONFIG_VFIO_PCI_DMABUF``.
            IovaSpaceError: No room is left.
            LimitError: The kernel takes no more mappings.
        """
        return self.map(region.phyr, direction)

    def map_user(self, uaddr: int, length: int, prot: int) -> int:
        """Map a stretch of this process's memory by one request, and return its I/O address.

        The kernel pins the memory for as long as it is mapped.

        Args:
            uaddr: User virtual address of its first byte.
            length: Bytes. Both are multiples of the IOMMU's granule.
            prot: The accesses that devices may make, as a `phyr.iommu.Prot`.

        Raises:
            AlignmentError: The memory is not whole granules.
            IovaSpaceError: There is no room left.
            LimitError: The kernel allows no more mappings.
            VfioError: The kernel refused, or this is a forked child. Nothing is mapped then.
        """
        return self._map_whole(uaddr, length, lambda iova: self._ask(uaddr, length, iova, prot))

    def _map_whole(
        self,
        start: int,
        length: int,
        ask: Callable[[int], None],
        told: Callable[[int], object] | None = None,
    ) -> int:
        """Map whole granules from an address or an offset on; call `told` before that."""
        self._check(self._is_ours, errno.ECHILD, "map")
        with self._lock:
            align = self._align(start, length)
            iova = self._place(length, align, start, _TOP)
            try:
                window = Window(length, self._undoing(iova, length))
                if told is not None:
                    told(iova)
                self._grant(ask, window, iova)
            except BaseException:
                self._give_back(iova)
                raise
            return iova

    def _align(self, start: int, length: int) -> int:
        """Return the largest page that fits, and raise if these are no whole granules.

        Large pages need the same offset in both addresses, modulo the page size.
        """
        granule = self._granule()
        if length < 1 or (start | length) & (granule - 1):
            raise AlignmentError(
                f"{start:#x}+{length:#x} is not whole granules of {granule:#x} bytes",
                uaddr=start,
                length=length,
                align=granule,
            )
        fitting = self._pgsize_bitmap & ((1 << length.bit_length()) - 1)
        return 1 << fitting.bit_length() - 1

    def map_buffer(
        self, buffer: object, direction: Direction = Direction.BIDIRECTIONAL
    ) -> UserMapping:
        """Map a buffer for devices by its user address alone, which takes no capability.

        Page numbers are what the kernel hides from ordinary users, and what a driver behind an
        IOMMU does not need: the kernel pins the memory, and the device sees I/O virtual addresses.
        Whole pages are mapped, as by `map`. There is no list of physical addresses then.

        Args:
            buffer: As of `phyr.pin`.
            direction: The direction of the data.

        Returns:
            A context manager. Its `dma` is the list of addresses for the device, of the buffer's
            own bytes.

        Raises:
            ArrayTypeError: There is no buffer.
            ArrayError: Its memory is not contiguous, or read-only.
            IovaSpaceError: No room is left.
            LimitError: The kernel takes no more mappings.
            VfioError: The kernel refused: RLIMIT_MEMLOCK, say. Or this is a forked child.

        Examples:
            .. code-block:: python

                with backend.map_buffer(buffer, Direction.TO_DEVICE) as mapping:
                    device.tell(mapping.dma[0])
        """
        loan, uaddr, length = memory_of(buffer)
        mapping = UserMapping(self, loan)
        # The lock until it is undone, if it has to be: its address may be another's afterwards.
        with self._lock, ExitStack() as undo:
            undo.callback(mapping.unmap)
            if length:
                self._check(self._is_ours, errno.ECHILD, "map")
                mask = self._granule() - 1
                head = uaddr & mask
                pages = (head + length + mask) & ~mask
                start, prot = uaddr - head, Prot.of(direction, "ram")
                self._map_whole(
                    start,
                    pages,
                    lambda iova: self._ask(start, pages, iova, prot),
                    partial(mapping.set, head, length),
                )
            undo.pop_all()
        return mapping

    def unmap_user(self, iova: int) -> None:
        """Undo a `map_user`. If the backend is closed, do nothing: closing undid it.

        In a forked child this does nothing, because the mapping belongs to the parent.

        Raises:
            NotMappedError: No `map_user` returned that address, or it was undone before.
            VfioError: The kernel refused, against its rules. The address is not used again then,
                because devices may still reach the memory.
        """
        if not self._is_ours:
            return
        with self._lock:
            if self.closed:
                return
            window = self._windows.get(iova)
            if window is None:
                raise NotMappedError(f"nothing is mapped at {iova:#x}", iova=iova)
            try:
                self._undo_window(iova, window)
            except OSError as failure:
                raise refused(failure, "unmap", iova=iova, length=window.length) from None
            # Only now: until here an interrupt keeps the address from being used again.
            self._windows.pop(iova, None)
            self._lost.pop(iova, None)
            self._iovas.free(iova)

    def _undo_window(self, iova: int, window: Window) -> None:
        """Unmap a window. If the kernel refuses, the window is lost."""
        try:
            self._undo(window.undo)
        except OSError as failure:
            # On a second call, after an interrupt, nothing may be mapped any more.
            if failure.errno != errno.ENOENT:
                self._lost[iova] = window.length
                self._windows.pop(iova, None)
                raise

    def _give_back(self, iova: int) -> None:
        """Let a placed window be used again, unless it is lost."""
        if iova not in self._lost:
            self._iovas.free(iova)

    def _granule(self) -> int:
        """Return the smallest page size; raise if nothing can be mapped."""
        bitmap = self._pgsize_bitmap
        if self.closed or not bitmap:
            raise refused(OSError(errno.EBADF if self.closed else errno.ENODEV, ""), "map")
        return bitmap & -bitmap

    @staticmethod
    def _check(right: bool, number: int, name: str, **numbers: object) -> None:  # noqa: FBT001
        if not right:
            raise refused(OSError(number, ""), name, **numbers)

    def _place(self, length: int, align: int, residue: int, last: int) -> int:
        """Return a free window. If there is no room, align it less."""
        return self._iovas.alloc_for_pages(
            length + self.guard,
            self._pgsize_bitmap,
            align=align,
            least=self._granule(),
            residue=residue,
            last=min(last, self.dma_mask),
        )

    def _grant(self, ask: Callable[[int], None], window: Window, iova: int) -> None:
        """Ask the kernel to map a placed window. If that fails, nothing is mapped."""
        try:
            self._windows[iova] = window
            ask(iova)
            self.requests += 1
        except PhyrError:
            # The kernel refused. If something is mapped there, others have mapped it.
            self._windows.pop(iova, None)
            raise
        except BaseException:
            # The interrupt may have come after the kernel had mapped it.
            with suppress(OSError):
                self._undo_window(iova, window)
            self._windows.pop(iova, None)
            raise

    def close(self) -> None:
        """Close the devices, undo all mappings, and close the files.

        A second call does only what an interrupt or a region in use kept the first from doing.
        Existing mappings do no harm: unmapping them does nothing afterwards. In a forked child this
        closes the child's copies of the files; the parent's files and mappings stay.

        Raises:
            BufferError: A view of a part of a device region still exists; everything else is
                closed.
        """
        if not self._is_ours:
            # Another thread may hold its lock, and that thread does not exist here.
            self._lock = RLock()
        with self._lock:
            self.closed = True
            with self._stack:
                # Removed in any case: once the files are closed, other files may get their numbers.
                self._stack.callback(self._windows.clear)
                self._stack.callback(self._lost.clear)
                self._stack.callback(self._unmap_all)
                for device in self._devices:
                    self._stack.callback(device.close)

    def _unmap_all(self) -> None:
        for window in list(self._windows.values()) if self._is_ours else ():
            # Mappings that are not undone here are undone when the files are closed.
            with suppress(OSError):
                self._undo(window.undo)
        self._mapped.clear()
