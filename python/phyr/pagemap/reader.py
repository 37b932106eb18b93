"""Reads the page map of a process into the decoder: in large pieces, or only what is there."""

import errno
import os
from time import monotonic

from phyr._named import Callable, Iterator
from phyr._phyr import FolioScan, Loan, PagemapDecoder, PagemapReads, Phyr
from phyr.errors import ClosedError, HiddenPagesError
from phyr.pagemap.proc import Pid, gone, open_process, process_errors, ram_ranges, spelt
from phyr.pagemap.zero import has_huge_zero, probe

TYPE_CHECKING = False  # a name that type checkers know, as of `typing`
if TYPE_CHECKING:
    from mmap import mmap
    from typing import TypeAlias

__all__ = ["Reader", "Run"]

Run: "TypeAlias" = tuple[int, int, str, Phyr | None]
"""An extent from the decoder: uaddr, length in bytes, state, list."""

PIECE = 128 << 10
"""Pages whose records a call reads: 1 MiB of page map, some 9 ms at worst."""

FIRST = 16 << 10
"""Pages read first; then twice as many each time. A shorter range is read without a scan, too."""

THREADS = 8
"""Threads that read together, at most, and pieces that they read at a time."""

SLOW = 13e-9
"""Seconds a page from which on it takes several threads. A huge page is read in 4 ns a page, which
is over before another thread has begun, and what is left of one in 7 to 18; a page of 4 KiB in some
40."""

SPARSE = 4
"""Where at most one page in so many is there, the kernel is asked which. Of a page that is there,
that takes a fifth of the time of reading its record; of a hole, next to nothing."""

RECORD = 8
_USER_END = 1 << 56
_USUAL_END = (1 << 47) - (64 << 10)
"""Most programs' user addresses reach this far: x86-64 with four levels of page tables, say."""

# The ioctl PAGEMAP_SCAN of Linux 6.7 and its argument (include/uapi/linux/fs.h).
_SCAN = 0xC060_6610
_WORDS = 12
_WALK_END = 4
_PAGE_IS_PRESENT_OR_SWAPPED = 1 << 3 | 1 << 4
_REGIONS = 1 << 10
"""Regions that one scan gives, and pages that it looks for, at most."""


class Reader:
    """An open page map: the raw side of `phyr.pagemap.Pagemap`.

    Holds open the process's directory and its page map, and the mappings that keep the huge zero
    page alive.
    """

    def __init__(self, pid: Pid) -> None:
        """Open the page map of a process; see `open_process` for what this raises."""
        self.pid = pid
        self.granule = os.sysconf("SC_PAGE_SIZE")
        self._areas: list[mmap] = []
        self.pagemap = -1
        self.process = open_process(pid)
        try:
            with process_errors(pid):
                self.pagemap = os.open("pagemap", os.O_RDONLY, dir_fd=self.process)
            self._identity = _identity(self.pagemap)
            self.zero, self._areas = probe(self.granule)
            self.ram = ram_ranges()
        except BaseException:
            self.close()
            raise
        self._reads = PagemapReads()
        self._regions = memoryview(bytearray(3 * RECORD * _REGIONS)).cast("Q")
        self._reached = 0
        self._pace = 0.0
        self._can_scan = True

    def close(self) -> None:
        """Close the descriptors and the mapping of the zero page. A second call does nothing."""
        # The numbers may soon belong to other files; -1 belongs to none.
        process, pagemap = self.process, self.pagemap
        self.process = self.pagemap = -1
        while self._areas:
            self._areas.pop().close()
        try:
            if pagemap >= 0:
                os.close(pagemap)
        finally:
            if process >= 0:
                os.close(process)

    def renew_zero(self) -> None:
        """Look for the huge zero page once more, if it was not found before."""
        self.check_open()
        if has_huge_zero(self.zero, self.granule):
            return
        found, kept = probe(self.granule)
        if len(found) > len(self.zero):
            self.zero = found
            self._areas += kept
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
        scan: FolioScan | None = None,
    ) -> Iterator[list[Run]]:
        """Decode a range of whole pages, in one or two stretches that follow each other.

        Where little is there, the kernel is asked for the regions that are, and only those are
        read: a reservation of terabytes would take seconds. Where more is there, all is read, by
        several threads if that is much. Which of the two it is shows in what was read last.

        Args:
            start: User virtual address, page aligned.
            end: User virtual address after the last byte, page aligned, 2^64 at most.
            join: Passed to the decoder.
            progress: Called after each piece with the user virtual address reached.
            scan: Takes the same records.

        Raises:
            ClosedError: It is closed.
            HiddenPagesError: The kernel hides page numbers.
            ProcessGoneError: The process ended, or replaced its memory by execve().
        """
        self.check_open()
        stop = self._reach(start, end)
        decoder = self._decoder(start, join=join)
        at = start
        is_sparse = self._can_scan and stop - at >= FIRST * self.granule
        nr_pages = FIRST
        while at < stop:
            walked = self._scan(at, stop) if is_sparse else None
            if walked is not None:
                at, is_sparse = self._leap(decoder, at, *walked, scan)
                nr_pages = FIRST
            else:
                wanted = min(nr_pages, (stop - at) // self.granule)
                at, is_sparse = self._read(decoder, at, wanted, scan)
                nr_pages = min(2 * nr_pages, THREADS * PIECE)
            progress(at)
            self.check_open()
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
        if not (0 < nr_pages <= PIECE and 0 <= start < _USER_END):
            return None
        decoder = self._decoder(start, join=False)
        with _errors(self.pid):
            got, _ = self._reads.read(self.pagemap, decoder, start, nr_pages)
        if got < nr_pages:
            return None
        runs = decoder.finish()
        return runs[0][3] if len(runs) == 1 and runs[0][2] == "ram" else None

    def _read(
        self, decoder: PagemapDecoder, at: int, nr_pages: int, scan: FolioScan | None
    ) -> tuple[int, bool]:
        """Read records of pages. Return the address reached, and true if little was there."""
        threads = _nr_processors() if nr_pages >= PIECE // 2 and self._pace >= SLOW else 1
        wanted = min(nr_pages, PIECE if threads == 1 else THREADS * PIECE)
        began = monotonic()
        with _errors(self.pid):
            got, absent = self._reads.read(self.pagemap, decoder, at, wanted, threads, scan)
        if not got:
            raise gone(self.pid)
        self._pace = (monotonic() - began) * threads / got
        return at + got * self.granule, self._can_scan and (got - absent) * SPARSE <= got

    def _leap(
        self,
        decoder: PagemapDecoder,
        at: int,
        walked: int,
        regions: memoryview,
        scan: FolioScan | None,
    ) -> tuple[int, bool]:
        """Read the regions that are there. Return the address reached, and true if they are few."""
        with _errors(self.pid):
            reached, nr_read = self._reads.leap(self.pagemap, decoder, at, walked, regions, scan)
        # Of a process that has ended the kernel says that nothing is there.
        if reached < walked or (not regions and not self._covers(0)):
            raise gone(self.pid)
        return walked, nr_read * self.granule * SPARSE <= walked - at

    def _decoder(self, uaddr: int, *, join: bool) -> PagemapDecoder:
        return PagemapDecoder(uaddr, self.granule, ram=self.ram, zero=self.zero, join=join)

    def _reach(self, start: int, end: int) -> int:
        """Return the end of the range, or of the user's address space if that comes first.

        Past that the kernel returns 0 bytes, as it does for a process that ended. Stopping there
        tells the two apart. The vsyscall page lies past it, too.
        """
        if end <= self._reached:
            return end
        if not self._reached and end <= _USUAL_END and self._covers(_USUAL_END - self.granule):
            self._reached = _USUAL_END
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

    def _scan(self, start: int, end: int) -> tuple[int, memoryview] | None:
        """Ask for the next regions that are present or swapped.

        Returns:
            Up to where the kernel looked, and for each region its start, its end, and what is
            there; or None if the kernel cannot tell: it is older than Linux 6.7.

        Source:
            ``do_pagemap_scan()``, fs/proc/task_mmu.c, Linux.
        """
        # Imported here, because not every system has it.
        import fcntl  # noqa: PLC0415

        wanted = _PAGE_IS_PRESENT_OR_SWAPPED
        argument = bytearray(_WORDS * RECORD)
        with Loan(self._regions) as (address, _), memoryview(argument).cast("Q") as words:
            # size, flags, start, end, walk_end
            words[0], words[2], words[3] = len(argument), start, end
            # vec, vec_len, max_pages, inverted, mask, any of, return
            words[5], words[6], words[7] = address, _REGIONS, _REGIONS
            words[10], words[11] = wanted, wanted
            try:
                found = fcntl.ioctl(self.pagemap, _SCAN, argument)
            except OSError:
                # If anything else is wrong, reading the records will show it.
                self._can_scan = False
                return None
            walked = words[_WALK_END]
        return (walked, self._regions[: 3 * found]) if start < walked <= end else None


class _errors(process_errors):  # noqa: N801 - used like a function
    """Name the process, and the right that is missing if page numbers are hidden."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise another exception."""
        if isinstance(error, HiddenPagesError):
            text = (
                f"the page numbers of {spelt(self._pid)} are hidden: reading them takes "
                "CAP_SYS_ADMIN in the initial user namespace (run as root)"
            )
            raise HiddenPagesError(errno.EPERM, text, pid=self._pid) from error
        super().__exit__(kind, error, trace)


def _nr_processors() -> int:
    """Return how many threads may run at the same time, and read a range."""
    return min(len(os.sched_getaffinity(0)), THREADS)


def _identity(fd: int) -> tuple[int, int]:
    """Tell one file from all others."""
    found = os.fstat(fd)
    return found.st_dev, found.st_ino
