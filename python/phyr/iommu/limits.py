"""What a device can take: limits, applied while a list is walked."""

from collections.abc import Iterator
from dataclasses import dataclass

from phyr._chunk import Chunk
from phyr._phyr import Phyr
from phyr.errors import LimitError, RangeError

__all__ = ["DeviceLimits"]

_TOP = 2**64 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLimits:
    """Limits of a device on what one of its descriptors may say.

    Attributes:
        dma_mask: Highest address that the device can put out.
        max_segment_size: Most bytes in a segment.
        seg_boundary_mask: No segment crosses a multiple of this plus one.
        virt_boundary_mask: Only the first segment starts, and only the last ends, at an address
            that is not a multiple of this plus one; 0 for a device that does not mind.

    Raises:
        RangeError: A limit that is none: a boundary that is no power of two, segments of no bytes.

    Examples:
        >>> limits = DeviceLimits(max_segment_size=0x1800, seg_boundary_mask=0xffff)
        >>> for chunk in limits.segments(Phyr.from_chunks([(0xf000, 0x4000)])):
        ...     print(hex(chunk.paddr), hex(chunk.length))
        0xf000 0x1000
        0x10000 0x1800
        0x11800 0x1800
        >>> limits = DeviceLimits(dma_mask=2**32 - 1)
        >>> limits.check(Phyr.from_pages([0x1000, 0x1_0000_0000]))
        Traceback (most recent call last):
        ...
        phyr.errors.LimitError: chunk 1, 0x100000000+0x1000, ends above the DMA mask 0xffffffff

    Source:
        ``struct device_dma_parameters``, include/linux/device.h, and ``struct queue_limits``,
        include/linux/blkdev.h, Linux.
    """

    dma_mask: int = _TOP
    max_segment_size: int = _TOP
    seg_boundary_mask: int = _TOP
    virt_boundary_mask: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no limit."""
        for name in ("seg_boundary_mask", "virt_boundary_mask"):
            mask = getattr(self, name)
            if not 0 <= mask <= _TOP or mask & (mask + 1):
                raise RangeError(f"{name} {mask:#x} is not a power of two less one")
        if self.max_segment_size < 1:
            raise RangeError(f"max_segment_size {self.max_segment_size} leaves no bytes")
        if self.dma_mask < 0:
            raise RangeError(f"dma_mask {self.dma_mask} leaves no addresses")

    def segments(self, dma: Phyr) -> Iterator[Chunk]:
        """Yield the chunks of a list of bus addresses, cut into segments that the device takes.

        Each is as long as the limits allow.

        Raises:
            LimitError: A chunk that no cutting helps; its number, address and length, and the
                limit, are attributes.
        """
        chunks = dma.chunks
        count = len(chunks)
        for number, chunk in enumerate(chunks):
            self._check(number, count, chunk)
            yield from self._cut(number, chunk)

    def check(self, dma: Phyr) -> None:
        """Raise what `segments` would raise."""
        for _ in self.segments(dma):
            pass

    def _check(self, number: int, count: int, chunk: Chunk) -> None:
        """Refuse a chunk out of reach, or with a gap where the device expects none."""
        dma_addr, length = chunk
        last = dma_addr + length - 1
        virt = self.virt_boundary_mask
        if last > self.dma_mask:
            raise self._error(number, chunk, "ends above the DMA mask", self.dma_mask)
        if number > 0 and dma_addr & virt:
            raise self._error(number, chunk, "starts inside the list off the virt boundary", virt)
        if number < count - 1 and last & virt != virt:
            raise self._error(number, chunk, "ends inside the list off the virt boundary", virt)

    def _cut(self, number: int, chunk: Chunk) -> Iterator[Chunk]:
        dma_addr, left = chunk
        while left:
            boundary = (dma_addr | self.seg_boundary_mask) + 1
            length = min(left, self.max_segment_size, boundary - dma_addr)
            if length < left:
                # A cut leaves two ends in the midst of the list.
                length -= (dma_addr + length) & self.virt_boundary_mask
                if length <= 0:
                    why = "has no room between virt boundaries for segments of at most"
                    raise self._error(number, chunk, why, self.max_segment_size)
            yield Chunk(dma_addr, length)
            dma_addr += length
            left -= length

    @staticmethod
    def _error(number: int, chunk: Chunk, why: str, limit: int) -> LimitError:
        return LimitError(
            f"chunk {number}, {chunk.paddr:#x}+{chunk.length:#x}, {why} {limit:#x}",
            number=number,
            dma_addr=chunk.paddr,
            length=chunk.length,
            limit=limit,
        )
