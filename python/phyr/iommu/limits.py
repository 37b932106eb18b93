"""What a device can take: limits, applied while a list is walked."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from phyr._chunk import Chunk
from phyr._phyr import Descriptors, Phyr, phys_vecs
from phyr.errors import LimitError, RangeError

__all__ = ["DeviceLimits"]

_TOP = 2**64 - 1
_NOTHING = Phyr.from_chunks([])
_SEGMENT = struct.Struct("<QQ")
_AHEAD = 256  # segments made at a time


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
        RangeError: A limit that is none: a boundary that is no power of two, segments of no bytes;
            or limits that contradict each other: segments smaller than the virt boundary wants, or
            cut by the segment boundary where the virt boundary lets none end.

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
        """Refuse what is no limit, and what nothing satisfies."""
        if self.dma_mask < 0:
            raise RangeError(f"dma_mask {self.dma_mask} leaves no addresses")
        self._table(_NOTHING)

    def segments(self, dma: Phyr) -> Iterator[Chunk]:
        """Yield the chunks of a list of bus addresses, cut into segments that the device takes.

        Each is as long as the limits allow: the segments of `phyr.desc.phys_vecs`.

        Raises:
            LimitError: A chunk that no cutting helps; its number, address and length, and the
                limit, are attributes. Nothing is yielded before it.
        """
        self.check(dma)
        table = self._table(dma)
        piece = bytearray(_AHEAD * _SEGMENT.size)
        while written := table.fill(piece):
            yield from map(Chunk._make, _SEGMENT.iter_unpack(piece[:written]))

    def check(self, dma: Phyr) -> None:
        """Raise what `segments` would raise."""
        chunks = dma.chunks
        count = len(chunks)
        for number, chunk in enumerate(chunks):
            self._check(number, count, chunk)

    def _table(self, dma: Phyr) -> Descriptors:
        return phys_vecs(
            dma,
            max_segment_size=min(self.max_segment_size, _TOP),
            seg_boundary_mask=self.seg_boundary_mask,
            virt_boundary_mask=self.virt_boundary_mask,
        )

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

    @staticmethod
    def _error(number: int, chunk: Chunk, why: str, limit: int) -> LimitError:
        return LimitError(
            f"chunk {number}, {chunk.paddr:#x}+{chunk.length:#x}, {why} {limit:#x}",
            number=number,
            dma_addr=chunk.paddr,
            length=chunk.length,
            limit=limit,
        )
