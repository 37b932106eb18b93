"""A simulated machine: memory, an IOMMU with real page tables, and devices that move bytes.

A test fills a buffer, maps it, lets the device copy, and compares:

    >>> from phyr.sim import Device, Memory, SimDomain
    >>> memory = Memory(1 << 30)
    >>> domain = SimDomain(memory)
    >>> device = Device(memory, domain)
    >>> buffer = memory.scatter(0x2000, seed=1)
    >>> memory.write(buffer, b"from the device's view, " * 341 + b"contiguous")
    Traceback (most recent call last):
    phyr.errors.RangeError: 0x2002 bytes of data for a list of 0x2000 bytes
    >>> memory.write(buffer, bytes(0xffa) + b"over the edge" + bytes(0xff9))
    >>> for page, (paddr, length) in enumerate(buffer.chunks):
    ...     domain.map_pages(0x10_0000 + page * 0x1000, paddr, 0x1000, 1, prot=1)
    >>> device.read(0x10_0ffa, 13)
    b'over the edge'
    >>> try:
    ...     device.write(0x10_0ffa, b"under")
    ... except FaultError as fault:
    ...     print(hex(fault.dma_addr), repr(FaultReason(fault.reason)))
    0x100ffa <FaultReason.NO_WRITE: 5>
"""

from collections import deque
from collections.abc import Iterator
from errno import EFAULT
from typing import TYPE_CHECKING, Any, Protocol

from phyr._arguments import having, whole, wrong
from phyr._columns import Columns, FaultReason
from phyr._phyr import FrozenPhyr, Memory, Phyr, SimDomain, dma_read, dma_write, scatter
from phyr._records import Counters, Leaf
from phyr.errors import FaultError, RangeError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "Columns",
    "Counters",
    "Device",
    "FaultReason",
    "Leaf",
    "Memory",
    "Region",
    "SimDomain",
    "Translator",
    "scatter",
]

_EVERYWHERE = (1 << 64) - 1


class Translator(Protocol):
    """The part of a `phyr.iommu.IommuDomain` that a device needs."""

    @property
    def pgsize_bitmap(self) -> int:
        """Supported page sizes; the lowest bit is the granule of translation."""
        ...

    def iova_to_phys(self, iova: int) -> int | None:
        """Return the physical address that `iova` is mapped to, or None."""
        ...


class Device:
    r"""A device that reads and writes memory, through an IOMMU or directly.

    If an access crosses pages, each page is translated on its own. If one of them faults, the bytes
    before it are transferred, and none after it.

    Args:
        memory: The memory behind the bus.
        domain: The IOMMU between device and memory. A `SimDomain` of the same memory checks
            permissions, marks accessed and dirty pages and uses its IOTLB. Any other domain
            translates one page at a time.
        offset: Bytes added to physical addresses to make bus addresses, if there is no domain; may
            be negative.
        mask: Highest address that the device can use.

    Raises:
        TypeError: An argument is not of its type.

    Examples:
        >>> memory = Memory(1 << 20)
        >>> memory.write_u64(0x5000, 7)
        >>> Device(memory, offset=0x8000_0000).read(0x8000_5000, 8)
        b'\x07\x00\x00\x00\x00\x00\x00\x00'
    """

    def __init__(
        self,
        memory: Memory,
        domain: SimDomain | Translator | None = None,
        *,
        offset: int = 0,
        mask: int = _EVERYWHERE,
    ) -> None:
        """Connect a device to the bus."""
        if not isinstance(memory, Memory):
            raise wrong("memory", memory, "a phyr.sim.Memory")
        if domain is not None:
            having("domain", domain, ("iova_to_phys",), "an IommuDomain", ("pgsize_bitmap",))
        self.memory = memory
        self.domain = domain
        self.offset = whole("offset", offset)
        self.mask = whole("mask", mask)

    def __repr__(self) -> str:
        """Show how far it reaches, and through what."""
        way = f"offset {self.offset:#x}" if self.domain is None else repr(self.domain)
        return f"Device({self.memory!r}, {way}, mask {self.mask:#x})"

    def read(self, dma: Phyr | FrozenPhyr | int, length: int | None = None) -> bytes:
        """Let the device read, and return the bytes.

        Args:
            dma: A list of DMA addresses, such as ``mapping.dma``; or one address.
            length: Bytes to read from that one address.

        Raises:
            FaultError: An address cannot be accessed.
            RangeError: An address is above the device's mask.
            MismatchError: The domain's tables are in another memory.
        """
        dma = _addresses(dma, length)
        buffer = bytearray(dma.length)
        self.readinto(dma, buffer)
        return bytes(buffer)

    def readinto(self, dma: Phyr | FrozenPhyr, buffer: "Buffer") -> None:
        """Let the device read into a writable buffer as long as the list.

        Raises:
            FaultError: An address cannot be accessed; the buffer holds the bytes before it.
            RangeError: An address is above the device's mask, or the buffer of another length.
            MismatchError: The domain's tables are in another memory.
            ArrayError: The buffer is not contiguous, or read-only.
        """
        self._check(dma)
        if self.domain is None or isinstance(self.domain, SimDomain):
            dma_read(self.memory, self.domain, self.offset, dma, buffer)
            return
        view = _view(dma, buffer)
        for position, piece in _pieces(self.memory, self.domain, dma, is_write=False):
            self.memory.readinto(piece, view[position : position + len(piece)])

    def write(self, dma: Phyr | FrozenPhyr | int, data: "Buffer") -> None:
        """Let the device write.

        Args:
            dma: A list of DMA addresses, such as ``mapping.dma``; or one address.
            data: Any bytes-like object, as long as the list if there is one.

        Raises:
            FaultError: An address cannot be accessed; the bytes before it are written.
            RangeError: An address is above the device's mask, or the data of another length.
            MismatchError: The domain's tables are in another memory.
            ArrayError: The data is not contiguous.
        """
        dma = _addresses(
            dma, None if isinstance(dma, (Phyr, FrozenPhyr)) else memoryview(data).nbytes
        )
        self._check(dma)
        if self.domain is None or isinstance(self.domain, SimDomain):
            dma_write(self.memory, self.domain, self.offset, dma, data)
            return
        view = _view(dma, data)
        for position, piece in _pieces(self.memory, self.domain, dma, is_write=True):
            self.memory.write(piece, view[position : position + len(piece)])

    def _check(self, dma: Phyr | FrozenPhyr) -> None:
        """Refuse addresses above the device's mask. The last byte of each chunk counts."""
        if self.mask == _EVERYWHERE:
            return
        for dma_addr, length in dma.chunks:
            if dma_addr + (length - 1) > self.mask:
                msg = f"DMA address {dma_addr:#x}+{length:#x} is beyond the mask {self.mask:#x}"
                raise RangeError(msg, dma_addr=dma_addr, length=length, mask=self.mask)


class Region:
    """A device's view of memory, as the bus models of cocotbext-axi and cocotbext-pcie want it.

    It is a target of an AXI slave (``AxiSlave(bus, clock, target=region)``), and a region of an
    ``AddressSpace``; there ``register_region(region, base, offset=None)`` leaves addresses as they
    are. An access that the device cannot do raises its `FaultError`, which those models answer by
    SLVERR, and PCIe by a completer abort. For an unsupported request (UR), where nothing is mapped,
    let the region stand before a root complex's own space:
    ``rc.mem_address_space = Region(device, others=rc.mem_address_space)``. Nothing of cocotb is
    imported.

    Args:
        device: Who reads and writes, through its IOMMU if it has one.
        size: Bytes of the address space.
        others: An ``AddressSpace`` with what answers where the device finds no memory.

    Attributes:
        faults: The last 64 faults, oldest first: the IOMMU's fault records.

    Examples:
        >>> import asyncio
        >>> memory = Memory(1 << 20)
        >>> region = Region(Device(memory))
        >>> asyncio.run(region.write(0x5ffe, b"crossing"))
        >>> asyncio.run(region.read(0x6000, 6))
        b'ossing'
    """

    def __init__(
        self,
        device: Device,
        *,
        size: int = _EVERYWHERE + 1,
        others: Any = None,  # noqa: ANN401 - no cocotb here
    ) -> None:
        """Show a device's view."""
        having("device", device, ("read", "write"), "a Device")
        self.device = device
        self.size = whole("size", size)
        self.others = others
        self.faults: deque[FaultError] = deque(maxlen=64)

    def __repr__(self) -> str:
        """Show its size, the device and the faults."""
        return f"Region({self.size:#x} bytes, {self.device!r}, {len(self.faults)} faults)"

    async def read(self, address: int, length: int, **_: object) -> bytes:
        """Return what the device reads; further arguments are a bus's and mean nothing here.

        Raises:
            FaultError: An address is not reached; nothing is returned.
            RangeError: An address is beyond the device's mask.
        """
        if self._is_others(address, length):
            return bytes(await self.others.read(address, length, **_))
        try:
            return self.device.read(address, length)
        except FaultError as fault:
            self.faults.append(fault)
            raise

    async def write(self, address: int, data: "Buffer", **_: object) -> None:
        """Let the device write; further arguments are a bus's and mean nothing here.

        Raises:
            FaultError: An address is not reached; what came before is written.
            RangeError: An address is beyond the device's mask.
        """
        data = memoryview(data).tobytes()  # a number is no data
        if self._is_others(address, len(data)):
            await self.others.write(address, data, **_)
            return
        try:
            self.device.write(address, data)
        except FaultError as fault:
            self.faults.append(fault)
            raise

    def find_regions(self, address: int, length: int = 1) -> list[tuple[int, int, int, Any]]:
        """Return what answers to a range of addresses, as an ``AddressSpace`` does.

        This region, if something is mapped at all of the addresses, whatever its permissions; else
        those of `others`; else nothing, which is recorded as a fault.
        """
        address, length = whole("address", address), whole("length", length)
        if self._reaches(address, length):
            return [(0, self.size, 0, self)]
        if _answers(self.others, address, length):
            return list(self.others.find_regions(address, length))
        text = f"DMA to {address:#x}+{length:#x} faulted: not mapped"
        numbers = {"dma_addr": address, "reason": FaultReason.NO_READ, "transferred": 0}
        self.faults.append(FaultError(EFAULT, text, **numbers, is_write=False))
        return []

    def _reaches(self, address: int, length: int) -> bool:
        """Return true if there is memory behind all of these addresses."""
        device = self.device
        if device.domain is None:
            return 0 <= address - device.offset <= device.memory.size - length
        granule = device.domain.pgsize_bitmap & -device.domain.pgsize_bitmap
        starts = range(address // granule * granule, address + length, granule)
        found = [device.domain.iova_to_phys(start) for start in starts]
        return all(paddr is not None and paddr < device.memory.size for paddr in found)

    def _is_others(self, address: int, length: int) -> bool:
        """Return true if an access is for `others`."""
        return self.others is not None and not self._reaches(address, length)


def _answers(space: Any, address: int, length: int) -> bool:  # noqa: ANN401 - no cocotb here
    """Return true if an address space has more than pools of nothing at some addresses."""
    found = [] if space is None else space.find_regions(address, length)
    return any(
        not hasattr(region, "find_regions") or _answers(region, max(address - base, 0), length)
        for base, _, _, region in found
    )


def _addresses(dma: Phyr | FrozenPhyr | int, length: int | None) -> Phyr | FrozenPhyr:
    """Return the list, or make one of `length` bytes from one address on."""
    if isinstance(dma, (Phyr, FrozenPhyr)):
        if length is not None:
            msg = f"length {length:#x} goes with an address, not with a list"
            raise TypeError(msg)
        return dma
    dma = whole("dma", dma)
    if length is None:
        msg = f"address {dma:#x} needs a length"
        raise TypeError(msg)
    length = whole("length", length)
    if not 0 <= dma <= _EVERYWHERE:
        raise RangeError(f"address {dma:#x} is outside 64 bits", dma_addr=dma)
    if not 0 <= length <= _EVERYWHERE:
        raise RangeError(f"length {length:#x} is outside 64 bits", length=length)
    return Phyr.from_chunks([(dma, length)] if length else [])


def _view(dma: Phyr | FrozenPhyr, buffer: "Buffer") -> memoryview:
    """Return the bytes of a buffer that is as long as the list."""
    view = memoryview(buffer).cast("B")
    if len(view) != dma.length:
        msg = f"{len(view):#x} bytes of data for a list of {dma.length:#x} bytes"
        raise RangeError(msg, given=len(view), length=dma.length)
    return view


def _pieces(
    memory: Memory, domain: Translator, dma: Phyr | FrozenPhyr, *, is_write: bool
) -> Iterator[tuple[int, Phyr]]:
    """Yield each piece of memory that a domain translates to, and its position in the list."""
    granule = domain.pgsize_bitmap & -domain.pgsize_bitmap
    position = 0
    for chunk in dma.chunks:
        dma_addr, rest = chunk
        while rest > 0:
            length = min(rest, granule - dma_addr % granule)
            paddr = domain.iova_to_phys(dma_addr)
            if paddr is None or paddr + length > memory.size:
                none = FaultReason.NO_WRITE if is_write else FaultReason.NO_READ
                reason = none if paddr is None else FaultReason.NO_MEMORY
                msg = (
                    f"DMA {'write' if is_write else 'read'} at {dma_addr:#x} faulted: "
                    f"{'not mapped' if paddr is None else 'no memory answers there'}; "
                    f"{position:#x} bytes were transferred"
                )
                raise FaultError(
                    EFAULT,
                    msg,
                    dma_addr=dma_addr,
                    reason=reason,
                    transferred=position,
                    is_write=is_write,
                )
            yield position, Phyr.from_chunks([(paddr, length)])
            position += length
            dma_addr += length
            rest -= length
