"""The page tables of a simulated kernel's iommufd, and which memory is dirty in them.

Requests are decoded from the layouts of include/uapi/linux/iommufd.h, as in `support.fake_vfio`.
"""

import ctypes
import errno
import struct
from dataclasses import dataclass, field
from typing import Any

from support.refusal import fail


@dataclass
class Table:
    """A page table of an address space."""

    ioas: int
    tracks: bool
    tracking: bool = False
    dirty: set[int] = field(default_factory=set)
    """Addresses of dirty pages of 4 KiB."""


class PageTables:
    """The part of a simulated kernel that knows page tables. Numbers are those of all objects."""

    ioas: dict[int, Any]
    owners: dict[int, int]
    asked: int

    def __init__(self) -> None:
        self.tables: dict[int, Table] = {}
        self.devices = {77}
        """Numbers of bound devices."""
        self.can_track = True
        self.has_addresses = True
        self.seen: dict[str, int] = {}
        """By the file of a device, the number of the table or address space that it sees."""
        self.next = 10
        self.same_iommufd = True

    def number(self) -> int:
        self.next += 1
        return self.next

    def iommufd_requests(self) -> dict[int, Any]:
        return {
            0x80: self._destroy,
            0x83: self._ioas_copy,
            0x89: self._hwpt_alloc,
            0x8B: self._set_tracking,
            0x8C: self._get_bitmap,
        }

    def _destroy(self, name: str, argument: bytearray) -> None:
        size, number = struct.unpack("=II", argument)
        assert (name, size) == ("iommu", 8)
        if number in self.seen.values() or any(t.ioas == number for t in self.tables.values()):
            raise fail(errno.EBUSY)
        if number in self.tables and not self.has_addresses:
            self.ioas[self.tables[number].ioas].ranges = self.ranges_before
        if self.tables.pop(number, None) is None:
            if number not in self.ioas:
                raise fail(errno.ENOENT)
            del self.ioas[number]
            self.owners.pop(number)

    def _ioas_copy(self, name: str, argument: bytearray) -> None:
        size, flags, to, source, length, iova, start = struct.unpack("=IIIIQQQ", argument)
        assert (name, size, flags & ~6) == ("iommu", 40, 1)
        found = self.ioas[source].maps.get(start) if self.same_iommufd else None
        if found is None or found[1] != length:
            raise fail(errno.ENOENT)
        access = (flags >> 2 & 1) | (flags >> 1 & 1) << 1
        self.ioas[to].map(found[0], iova, length, access)

    def _hwpt_alloc(self, name: str, argument: bytearray) -> None:
        size, flags, device, ioas, out, *rest, data, fault, last = struct.unpack("=8IQII", argument)
        assert (name, size, out, *rest, data, fault, last) == ("iommu", 48, 0, 0, 0, 0, 0, 0, 0)
        assert not flags & ~2
        if device not in self.devices or ioas not in self.ioas:
            raise fail(errno.ENOENT)
        if flags and not self.can_track:
            raise fail(errno.EOPNOTSUPP)
        number = self.number()
        self.tables[number] = Table(ioas, bool(flags))
        if not self.has_addresses:
            self.ranges_before, self.ioas[ioas].ranges = self.ioas[ioas].ranges, [(0, 0)]
        struct.pack_into("=I", argument, 16, number)

    def _set_tracking(self, name: str, argument: bytearray) -> None:
        size, flags, number, reserved = struct.unpack("=IIII", argument)
        assert (name, size, flags & ~1, reserved) == ("iommu", 16, 0, 0)
        table = self.tables[number]
        if not table.tracks:
            raise fail(errno.EOPNOTSUPP)
        table.tracking = bool(flags)
        table.dirty.clear()

    def _get_bitmap(self, name: str, argument: bytearray) -> None:
        fields = struct.unpack("=IIIIQQQQ", argument)
        size, number, flags, reserved, iova, length, page_size, where = fields
        assert (name, size, flags & ~1, reserved) == ("iommu", 48, 0, 0)
        table = self.tables[number]
        last = iova + length - 1
        maps = self.ioas[table.ioas].maps
        if not table.tracking or (iova | length) % page_size:
            raise fail(errno.EINVAL)
        if not any(at <= iova and last < at + there for at, (_, there, _) in maps.items()):
            raise fail(errno.EINVAL)
        bits = bytearray(-(-length // page_size // 64) * 8)
        for page in [page for page in table.dirty if iova <= page <= last]:
            bit = (page - iova) // page_size
            bits[bit // 8] |= 1 << bit % 8
            if not flags:
                table.dirty.remove(page)
        # The kernel sets bits, and clears none.
        before = ctypes.string_at(where, len(bits))
        ctypes.memmove(where, bytes(a | b for a, b in zip(before, bits, strict=True)), len(bits))
