"""The limits of a device, applied while a list is walked."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from phyr._arguments import whole
from phyr._phyr import Descriptors, FrozenPhyr, Phyr, first_beyond, phys_vecs
from phyr._records import Chunk
from phyr.errors import AlignmentError, LimitError, RangeError

__all__ = ["DeviceLimits"]

_TOP = 2**64 - 1
_NOTHING = Phyr.from_chunks([])
_SEGMENT = struct.Struct("<QQ")
_AHEAD = 256  # segments made at a time


class _Limits(NamedTuple):
    """The same limits for one walk, without the checks of `DeviceLimits`."""

    dma_mask: int
    max_segment_size: int
    seg_boundary_mask: int
    virt_boundary_mask: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLimits:
    """The limits of a device for one of its descriptors.

    Attributes:
        dma_mask: Highest address that the device can use.
        max_segment_size: Most bytes in a segment.
        seg_boundary_mask: No segment crosses a multiple of this plus one.
        virt_boundary_mask: Only the first segment starts, and only the last ends, at an address
            that is not a multiple of this plus one; 0 sets no limit.

    Raises:
        RangeError: A limit that is none: a boundary that is no power of two, segments of no bytes;
            or limits that contradict each other: segments smaller than the virt boundary wants, or
            cut by the segment boundary where the virt boundary lets none end.
        TypeError: A limit is not a whole number.

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
        """Refuse limits that are not valid, or that no segment can meet."""
        for name in _Limits._fields:
            whole(name, getattr(self, name))
        if self.dma_mask < 0:
            text = f"dma_mask {self.dma_mask:#x} leaves no addresses"
            raise RangeError(text, dma_mask=self.dma_mask)
        self._table(_NOTHING)

    def segments(self, dma: Phyr | FrozenPhyr) -> Iterator[Chunk]:
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

    def check(self, dma: Phyr | FrozenPhyr) -> None:
        """Raise what `segments` would raise."""
        beyond = first_beyond(dma, min(self.dma_mask, _TOP))
        try:
            self._table(dma)
        except AlignmentError as gap:
            at = vars(gap)
            number, how = dma.chunks.find(at["position"]), "starts"
            if dma.chunks[number].paddr != at["paddr"]:
                # It is the chunk before that ends there.
                number, how = number - 1, "ends"
            if beyond is None or beyond > number:
                why = f"{how} inside the list off the virt boundary"
                raise self._error(dma, number, why, self.virt_boundary_mask) from None
        if beyond is not None:
            raise self._error(dma, beyond, "ends above the DMA mask", self.dma_mask)

    def _table(self, dma: Phyr | FrozenPhyr) -> Descriptors:
        # Without the mask: `check` tells which chunk is the first that has a fault.
        limits = _Limits(
            dma_mask=_TOP,
            max_segment_size=self.max_segment_size,
            seg_boundary_mask=self.seg_boundary_mask,
            virt_boundary_mask=self.virt_boundary_mask,
        )
        return phys_vecs(dma, limits=limits)

    @staticmethod
    def _error(dma: Phyr | FrozenPhyr, number: int, why: str, limit: int) -> LimitError:
        """Name the chunk that is out of reach, or has a gap where the device expects none."""
        paddr, length = dma.chunks[number]
        what = f"chunk {number}, {paddr:#x}+{length:#x}, {why} {limit:#x}"
        return LimitError(what, number=number, dma_addr=paddr, length=length, limit=limit)
