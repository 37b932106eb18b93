"""VFIO's classic IOMMU interface, type1: a container of groups."""

import errno
from collections.abc import Iterator
from struct import Struct
from typing import ClassVar

from phyr._devices import uapi
from phyr._devices.address_space import AddressSpace
from phyr._devices.uapi import Request, ask_long, refused
from phyr.errors import LimitError, VfioError
from phyr.iommu.protocols import Prot
from phyr.pci.device import Device
from phyr.pci.function import Function
from phyr.vfio.container import Container, Model

__all__ = ["Type1"]

# flags, iova_pgsizes, cap_offset
_GET_INFO = Request("VFIO_IOMMU_GET_INFO", 0x3B70, Struct("=IQI"))
# flags, vaddr, iova, size
_MAP_DMA = Request("VFIO_IOMMU_MAP_DMA", 0x3B71, Struct("=IQQQ"))
# flags, iova, size
_UNMAP_DMA = Request("VFIO_IOMMU_UNMAP_DMA", 0x3B72, Struct("=IQQ"))
_HAS_CAPS = 1 << 1
_RANGES = 1
_DMA_AVAIL = 3
# The same bits as in `Prot`. A number: joining flags takes longer than the rest of a request.
_ACCESS = int(Prot.READ | Prot.WRITE)
_TOP = 2**64 - 1


class Type1(AddressSpace):
    """Memory through VFIO type1: a backend for `phyr.iommu.dma_map` that also opens devices.

    The address space exists from the first `open` until `close`, whichever devices are open in it.
    Several devices share it. Threads may share it.

    Args:
        dma_mask: Highest address that the devices can use, ``2**32 - 1`` for 32 bits.
        guard: Bytes after each mapping, at least, that stay unmapped: a device that runs over the
            end of one faults, instead of reaching the next.

    Raises:
        RangeError: `guard` is negative.
        VfioError: The kernel has no VFIO type1, or rights are missing.

    Examples:
        .. code-block:: python

            with bound("0000:00:04.0", "vfio-pci") as function, Type1() as backend:
                device = backend.open(function)
                with phyr.pin(buffer) as pinned:
                    with dma_map(pinned.phyr, backend, Direction.TO_DEVICE) as mapping:
                        print(mapping.dma)

    Source:
        include/uapi/linux/vfio.h and drivers/vfio/vfio_iommu_type1.c, Linux.
    """

    method: ClassVar[str] = "vfio"
    """The method of pinning, because mapping here pins memory; see `phyr.pin`."""

    def __init__(self, *, dma_mask: int = _TOP, guard: int = 0) -> None:
        """Open a container."""
        super().__init__(dma_mask, guard)
        self._container = Container(Model.TYPE1V2, self._stack)
        self._entry_limit: int | None = None
        self.closed = False

    @property
    def fd(self) -> int:
        """The container's file, for requests that phyr does not make. It is not yours to close."""
        return self._container.fd

    @property
    def entry_limit(self) -> int | None:
        """Number of mappings that the container allows; None before the first `open`.

        Source:
            ``dma_entry_limit``, drivers/vfio/vfio_iommu_type1.c, Linux: 65535 by default.
        """
        return self._entry_limit

    def _info(self) -> tuple[int, list[tuple[int, int]]]:
        (flags, bitmap, where), reply = ask_long(self._container.fd, _GET_INFO, 0, 0, 0)
        ranges = [(0, _TOP)]
        for number, data in _capabilities(reply, where if flags & _HAS_CAPS else 0):
            if number == _RANGES:
                count = int.from_bytes(data[:4], "little")
                ranges = list(Struct("=QQ").iter_unpack(data[8 : 8 + 16 * count]))
            elif number == _DMA_AVAIL:
                self._entry_limit = int.from_bytes(data[:4], "little") + len(self._windows)
        return bitmap, ranges

    def _attach(self, function: Function) -> Device:
        return self._container.open(function)

    def _ask(self, uaddr: int, length: int, iova: int, prot: int) -> None:
        # Without `ask`, which takes a tenth of the time of a mapping more.
        request = _MAP_DMA.pack(int(prot) & _ACCESS, uaddr, iova, length)
        try:
            uapi.ioctl(self._container.fd, _MAP_DMA.number, request)
        except OSError as error:
            numbers = {"uaddr": uaddr, "length": length, "iova": iova}
            failure = refused(error, _MAP_DMA.name, **numbers)
            if failure.errno != errno.ENOSPC:
                raise failure from None
            raise LimitError(
                f"the container takes no more than its {self._entry_limit} mappings "
                "(dma_entry_limit of the module vfio_iommu_type1)",
                limit=self._entry_limit,
                # The requested one is among them already.
                mapped=len(self._windows) - 1,
                **numbers,
            ) from failure

    def _undoing(self, iova: int, length: int) -> bytearray:
        return _UNMAP_DMA.pack(0, iova, length)

    def _undo(self, request: bytearray) -> None:
        try:
            uapi.ioctl(self._container.fd, _UNMAP_DMA.number, request)
        except OSError:
            try:
                self._info()
            except VfioError:
                # The last device was removed from the machine: there is no IOMMU in which anything
                # is mapped.
                return
            raise


def _capabilities(reply: bytes, where: int) -> Iterator[tuple[int, bytes]]:
    """Yield the number of each capability of a reply, and the bytes after its header."""
    # number, version, offset of the next one
    header = Struct("=HHI")
    while where:
        number, _, following = header.unpack_from(reply, where)
        yield number, reply[where + header.size :]
        where = following
