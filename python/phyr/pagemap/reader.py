"""Reads the page map of a process in large pieces into the decoder."""

import errno
import os
import struct
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeAlias

from phyr._phyr import PagemapDecoder, Phyr
from phyr.errors import ClosedError, HiddenPagesError
from phyr.pagemap.proc import Pid, gone, open_process, process_errors, ram_ranges, spelt
from phyr.pagemap.zero import PRESENT, has_huge_zero, probe

__all__ = ["Reader", "Run"]

Run: TypeAlias = tuple[int, int, str, Phyr | None]
"""An extent from the decoder: uaddr, length in bytes, state, list."""

PIECE = 1 << 20
"""Bytes of page map per read: 512 MiB of memory in 4 KiB pages, some 9 ms at worst."""

RECORD = 8
_USER_END = 1 << 56
SWAPPED = 1 << 62

# The ioctl PAGEMAP_SCAN of Linux 6.7 and its argument (include/uapi/linux/fs.h).
_SCAN = 0xC060_6610
_SCAN_ARGUMENT = struct.Struct("=12Q")
_PAGE_IS_PRESENT_OR_SWAPPED = 1 << 3 | 1 << 4


class Reader:
    """An open page map: the raw side of `phyr.pagemap.Pagemap`.

    Holds open the process's directory and its page map, and the mappings that keep the huge zero
    page alive.
    """

    def __init__(self, pid: Pid) -> None:
        """Open the page map of a process; see `open_process` for what this raises."""
        self.pid = pid
        self.granule = os.sysconf("SC_PAGE_SIZE")
        with ExitStack() as stack:
            self.process = open_process(pid)
            stack.callback(os.close, self.process)
            with process_errors(pid):
                self.pagemap = os.open("pagemap", os.O_RDONLY, dir_fd=self.process)
            stack.callback(os.close, self.pagemap)
            self._identity = _identity(self.pagemap)
            self.zero, kept = probe(self.granule)
            for area in kept:
                stack.callback(area.close)
            self.ram = ram_ranges()
            self._held = stack.pop_all()
        self._buffer = bytearray(PIECE)
        self._reached = 0
        self._can_scan = True

    def close(self) -> None:
        """Close the descriptors and the mapping of the zero page. A second call does nothing."""
        # The numbers may soon belong to other files; -1 belongs to none.
        self.process = self.pagemap = -1
        self._held.close()

    def renew_zero(self) -> None:
        """Look for the huge zero page once more, if it was not found before."""
        self.check_open()
        if has_huge_zero(self.zero, self.granule):
            return
        found, kept = probe(self.granule)
        if len(found) > len(self.zero):
            self.zero = found
            for area in kept:
                self._held.callback(area.close)
        else:
            for area in kept:
                area.close()

    def check_open(self) -> None:
        """Raise if it is closed.

        Raises:
            ClosedError: It is closed.
        """
        if self.pagemap < 0:
            raise ClosedError(f"the page map of {spelt(self.pid)} is closed")

    def is_intact(self) -> bool:
        """Return true if its file is still the one that was opened.

        A program may close files that it does not know of, and open others under their numbers.
        """
        try:
            return _identity(self.pagemap) == self._identity
        except OSError:
            return False

    def runs(
        self,
        start: int,
        end: int,
        *,
        join: bool,
        progress: Callable[[int], object],
        also: Callable[[int, memoryview], object] | None = None,
    ) -> Iterator[list[Run]]:
        """Decode a range of whole pages, in one or more stretches that follow each other.

        If a whole piece is a hole, ask the kernel for the next page that is not. Reading through a
        reservation of terabytes would take minutes. The next stretch starts at that page.

        Args:
            start: User virtual address, page aligned.
            end: User virtual address after the last byte, page aligned, 2^64 at most.
            join: Passed to the decoder.
            progress: Called after each piece with the user virtual address reached.
            also: Called with the user virtual address of each piece, and its records.

        Raises:
            ClosedError: It is closed.
            HiddenPagesError: The kernel hides page numbers.
            ProcessGoneError: The process ended, or replaced its memory by execve().
        """
        self.check_open()
        stop = self._reach(start, end)
        piece = memoryview(self._buffer)
        decoder = self._decoder(start, join=join)
        at = start
        while at < stop:
            want = min(PIECE, (stop - at) // self.granule * RECORD)
            got = self._read(piece[:want], at)
            self._feed(decoder, piece[:got])
            if also is not None:
                also(at, piece[:got])
            at += got // RECORD * self.granule
            progress(at)
            self.check_open()
            if at < stop and self._is_hole():
                populated = self._next_populated(at, stop)
                if populated > at:
                    yield decoder.finish()
                    yield [(at, populated - at, "hole", None)]
                    decoder = self._decoder(populated, join=join)
                    at = populated
                    progress(at)
        yield decoder.finish()
        if stop < end:
            yield [(stop, end - stop, "hole", None)]

    def glance(self, start: int, nr_pages: int) -> Phyr | None:
        """Return the list of a few pages that are all RAM, by one read; None tells nothing.

        Args:
            start: User virtual address, page aligned.
            nr_pages: How many pages.

        Raises:
            ClosedError: It is closed.
            HiddenPagesError: The kernel hides page numbers.
        """
        self.check_open()
        want = nr_pages * RECORD
        if not (0 < want <= PIECE and 0 <= start < _USER_END):
            return None
        piece = memoryview(self._buffer)[:want]
        if os.preadv(self.pagemap, [piece], start // self.granule * RECORD) < want:
            return None
        decoder = self._decoder(start, join=False)
        self._feed(decoder, piece)
        runs = decoder.finish()
        return runs[0][3] if len(runs) == 1 and runs[0][2] == "ram" else None

    def _read(self, piece: memoryview, uaddr: int) -> int:
        """Read records from a page on. Return how many bytes were read."""
        with process_errors(self.pid):
            got = os.preadv(self.pagemap, [piece], uaddr // self.granule * RECORD)
        if not got:
            raise gone(self.pid)
        return got

    def _decoder(self, uaddr: int, *, join: bool) -> PagemapDecoder:
        return PagemapDecoder(uaddr, self.granule, ram=self.ram, zero=self.zero, join=join)

    def _feed(self, decoder: PagemapDecoder, records: memoryview) -> None:
        """Feed the decoder.

        If page numbers are hidden, name the process and the right that is missing.
        """
        try:
            decoder.feed(records)
        except HiddenPagesError as error:
            text = (
                f"the page numbers of {spelt(self.pid)} are hidden: reading them takes "
                "CAP_SYS_ADMIN in the initial user namespace (run as root)"
            )
            raise HiddenPagesError(errno.EPERM, text, pid=self.pid) from error

    def _reach(self, start: int, end: int) -> int:
        """Return the end of the range, or of the user's address space if that comes first.

        Past that the kernel returns 0 bytes, as it does for a process that ended. Stopping there
        tells the two apart. The vsyscall page lies past it, too.
        """
        if end <= self._reached:
            return end
        if self._covers(end - self.granule):
            self._reached = end
            return end
        low, high = start // self.granule, end // self.granule - 1
        while low < high:
            middle = (low + high) // 2
            if self._covers(middle * self.granule):
                low = middle + 1
            else:
                high = middle
        if not self._covers(0):
            raise gone(self.pid)
        return low * self.granule

    def _covers(self, uaddr: int) -> bool:
        """Return true if the page map has a record for a page, whatever its content."""
        with process_errors(self.pid):
            return bool(os.pread(self.pagemap, RECORD, uaddr // self.granule * RECORD))

    def _is_hole(self) -> bool:
        """Return true if all records of the buffer are the same and the page is absent.

        "All zero" is not enough: a kernel that tracks soft-dirty pages sets that bit for holes.
        """
        record = bytes(self._buffer[:RECORD])
        return not struct.unpack("=Q", record)[0] & (PRESENT | SWAPPED) and (
            self._buffer == record * (PIECE // RECORD)
        )

    def _next_populated(self, start: int, end: int) -> int:
        """Return the next page that is present or swapped; `end` if there is none.

        Returns `start` if the kernel cannot tell, because it is older than Linux 6.7.

        Source:
            ``do_pagemap_scan()``, fs/proc/task_mmu.c, Linux.
        """
        if not self._can_scan:
            return start
        # Imported here, because not every system has it.
        import fcntl  # noqa: PLC0415

        region = array("Q", [0, 0, 0])
        wanted = _PAGE_IS_PRESENT_OR_SWAPPED
        address, _ = region.buffer_info()
        # size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, any of, return
        argument = bytearray(
            _SCAN_ARGUMENT.pack(
                _SCAN_ARGUMENT.size, 0, start, end, 0, address, 1, 1, 0, 0, wanted, wanted
            )
        )
        try:
            found = fcntl.ioctl(self.pagemap, _SCAN, argument)
        except OSError:
            # If anything is wrong, reading the records will show it.
            self._can_scan = False
            return start
        return region[0] if found else end


def _identity(fd: int) -> tuple[int, int]:
    """Tell one file from all others."""
    found = os.fstat(fd)
    return found.st_dev, found.st_ino
