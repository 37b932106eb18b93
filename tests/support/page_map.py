"""A page map that is a plain file, with a PAGEMAP_SCAN of its own or without one."""

import ctypes
import errno
import os
import struct
from typing import Any

import pytest

from support.live import PAGE, PRESENT

SWAPPED = 1 << 62
RECORD = 8
_ARGUMENT = struct.Struct("=12Q")


class FakeMap:
    """A page map that `phyr.pagemap` opens instead of the kernel's, from here on.

    Args:
        monkeypatch: Puts it in place, and takes it away again.
        uaddr: Virtual address of the page of the first record.
        records: Of the pages from there on. The address space ends behind them.
        can_scan: True if it answers PAGEMAP_SCAN.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, uaddr: int, records: list[int], *, can_scan: bool
    ) -> None:
        import fcntl  # noqa: PLC0415 - not every system has it

        self.scans = 0
        self.can_scan = can_scan
        self.file = os.memfd_create("pagemap")
        os.pwrite(self.file, struct.pack(f"={len(records)}Q", *records), uaddr // PAGE * RECORD)
        real = os.open

        def opened(path: Any, flags: int, *rest: Any, **named: Any) -> int:  # noqa: ANN401 - of os.open
            if path == "pagemap" and "dir_fd" in named:
                return os.dup(self.file)
            return real(path, flags, *rest, **named)

        monkeypatch.setattr(os, "open", opened)
        monkeypatch.setattr(fcntl, "ioctl", self.ioctl)

    def close(self) -> None:
        """Give the file back."""
        os.close(self.file)

    def ioctl(self, _file: int, request: int, argument: bytearray) -> int:
        """Answer as the kernel's documentation says (Documentation/admin-guide/mm/pagemap.rst)."""
        self.scans += 1
        if not self.can_scan:
            raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")
        assert request == 0xC060_6610
        fields = list(_ARGUMENT.unpack(argument))
        size, flags, start, end, _, vec, vec_len, max_pages, inverted, mask, anyof, back = fields
        assert (size, flags, inverted, mask) == (_ARGUMENT.size, 0, 0, 0)
        assert anyof == back == 1 << 3 | 1 << 4
        assert start % PAGE == end % PAGE == 0
        regions: list[list[int]] = []
        pages = 0
        for uaddr in range(start, end, PAGE):
            data = os.pread(self.file, RECORD, uaddr // PAGE * RECORD)
            (record,) = struct.unpack("=Q", data or bytes(RECORD))
            what = 1 << 3 if record & PRESENT else 1 << 4 if record & SWAPPED else 0
            if not what:
                continue
            if regions and regions[-1][1:] == [uaddr, what]:
                regions[-1][1] += PAGE
            elif len(regions) == vec_len:
                fields[4] = uaddr
                break
            else:
                regions.append([uaddr, uaddr + PAGE, what])
            pages += 1
            if pages == max_pages:
                fields[4] = uaddr + PAGE
                break
        else:
            fields[4] = end
        flat = [number for region in regions for number in region]
        ctypes.memmove(vec, struct.pack(f"={len(flat)}Q", *flat), len(flat) * RECORD)
        argument[:] = _ARGUMENT.pack(*fields)
        return len(regions)
