"""Allocation of I/O virtual addresses.

```text
taken   |##|      |####|        |#######|     windows handed out, and ranges reserved, sorted
gaps        ^----^      ^------^         ^--  searched from where the last search ended
```

The list holds what is taken, so freeing a window only removes an item and needs no memory.
"""

from bisect import bisect_left
from collections.abc import Iterable
from threading import RLock

from phyr._arguments import items, pair, whole
from phyr.errors import IovaSpaceError, RangeError

__all__ = ["IovaAllocator"]

_TOP = 2**64 - 1


class IovaAllocator:
    """Allocates windows of an I/O address space.

    `alloc` takes the lowest free address that fits. It searches from the end of the last
    allocation, or from the last freed window if that is lower; then it searches the part below.
    Address 0 is never used, because many devices take it for "no address". Threads may share an
    allocator. An interrupt during `alloc` or `free` can lose that one window, which is then never
    used again, and nothing else.

    Args:
        aperture: First and last address that may be used.
        reserved: First and last address of each range that may not be used, in any order.

    Raises:
        RangeError: The last address of a range is below the first, or an address has more than 64
            bits.
        TypeError: A range is not a pair of ints.

    Examples:
        >>> iovas = IovaAllocator((0x1000, 0xffff), reserved=[(0x3000, 0x3fff)])
        >>> hex(iovas.alloc(0x2000)), hex(iovas.alloc(0x2000, align=0x2000))
        ('0x1000', '0x4000')
        >>> iovas.free(0x1000)
        >>> iovas.alloc(0xb000)
        Traceback (most recent call last):
        ...
        phyr.errors.IovaSpaceError: no room for 0xb000 bytes at 0x0 modulo 0x1 in 0x1000 to 0xffff
    """

    def __init__(
        self, aperture: tuple[int, int] = (0, _TOP), reserved: Iterable[tuple[int, int]] = ()
    ) -> None:
        """Store the ranges that are never allocated."""
        aperture = pair("aperture", aperture)
        items("reserved", reserved, "pairs of ints")
        reserved = [pair("a reserved range", range_) for range_ in reserved]
        for first, last in [aperture, *reserved]:
            if not 0 <= first <= last <= _TOP:
                text = f"{first:#x} to {last:#x} is no range of addresses"
                raise RangeError(text, first=first, last=last)
        self.aperture = aperture
        # First and last address of each taken range; true if it is a window. Everything is in this
        # one list, and one step changes it: an interrupt comes either before that step or after it.
        # At both ends there is a range outside the aperture, so that every gap lies between two
        # items.
        self._taken = [(-1, max(aperture[0] - 1, 0), False)]
        for first, last in sorted(reserved):
            if first <= self._taken[-1][1] + 1:
                self._taken[-1] = (self._taken[-1][0], max(self._taken[-1][1], last), False)
            else:
                self._taken.append((first, last, False))
        self._taken.append((_TOP + 1, _TOP + 1, False))
        self._nr_fixed = len(self._taken)
        self.reserved = tuple(range_[:2] for range_ in self._taken[1:-1])
        """First and last address of each range that is never allocated, merged, in order."""
        self._cursor = 0
        # The garbage collector may drop a mapping, and so call `free`, in the middle of this
        # thread's own search. So a search checks afterwards whether the list changed.
        self._lock = RLock()
        self._changes = 0

    def __len__(self) -> int:
        """Return the number of windows in use."""
        return len(self._taken) - self._nr_fixed

    def __repr__(self) -> str:
        """Show the aperture and the number of windows in use."""
        first, last = self.aperture
        return f"IovaAllocator({first:#x} to {last:#x}, {len(self)} windows)"

    def alloc(self, length: int, *, align: int = 1, residue: int = 0, last: int = _TOP) -> int:
        """Return the first address of a window. It is in use until it is freed.

        Args:
            length: Bytes, at least one.
            align: A power of two: the window's address is `residue` modulo this.
            residue: From 0 to ``align - 1``.
            last: Highest address the window may have, such as a device's DMA mask.

        Raises:
            IovaSpaceError: There is no such window.
            RangeError: `length` or `residue` is out of range, or `align` is not a power of two.
            TypeError: A number is not an int.
        """
        if not type(length) is type(align) is type(residue) is type(last) is int:
            length, align = whole("length", length), whole("align", align)
            residue, last = whole("residue", residue), whole("last", last)
        if length < 1 or align < 1 or align & (align - 1) or not 0 <= residue < align:
            text = f"no window has {length:#x} bytes at {residue:#x} modulo {align:#x}"
            raise RangeError(text, length=length, residue=residue, align=align)
        last = min(last, self.aperture[1])
        with self._lock:
            while True:
                changes, index, window = self._changes, 0, None
                try:
                    index, window = self._search(length, align, residue, last)
                except IndexError:  # what became shorter meanwhile
                    continue
                after = changes + 1
                # No code is called from here to the insertion. After it, nothing is allocated.
                if changes != self._changes:
                    continue
                if window is None:
                    break
                self._taken.insert(index, window)
                self._changes = after
                self._cursor = window[1]
                return window[0]
        raise IovaSpaceError(
            f"no room for {length:#x} bytes at {residue:#x} modulo {align:#x} "
            f"in {self.aperture[0]:#x} to {last:#x}",
            length=length,
            align=align,
            residue=residue,
            last=last,
        )

    def alloc_for_pages(  # noqa: PLR0913 - keywords, each of another meaning
        self,
        length: int,
        pgsize_bitmap: int,
        *,
        align: int,
        least: int,
        residue: int,
        last: int = _TOP,
    ) -> int:
        """Return the first address of a window. If there is no room, align it less.

        Args:
            length: Bytes, at least one.
            pgsize_bitmap: Page sizes. If there is no room, the next smaller one is the alignment,
                at last `least`.
            align: The best alignment of the window, a power of two.
            least: The smallest alignment of the window, a power of two.
            residue: The window's address modulo its alignment.
            last: Highest address the window may have.

        Raises:
            IovaSpaceError: There is no such window at any alignment.
            TypeError: A number is not an int.

        Examples:
            >>> iovas = IovaAllocator((0x1000, 0x3ffff), reserved=[(0x20000, 0x20fff)])
            >>> hex(iovas.alloc_for_pages(0x1000, 0x11000, align=0x10000, least=0x1000, residue=0))
            '0x10000'
        """
        if not type(pgsize_bitmap) is type(align) is type(least) is type(residue) is int:
            pgsize_bitmap, align = whole("pgsize_bitmap", pgsize_bitmap), whole("align", align)
            least, residue = whole("least", least), whole("residue", residue)
        while True:
            try:
                return self.alloc(length, align=align, residue=residue % align, last=last)
            except IovaSpaceError:
                if align <= least:
                    raise
            # The next smaller page, or 0 if there is none.
            align = max(least, (1 << (pgsize_bitmap & (align - 1)).bit_length()) >> 1)

    def _search(
        self, length: int, align: int, residue: int, last: int
    ) -> tuple[int, tuple[int, int, bool] | None]:
        """Return a free window and its index in the list.

        If the list changed, the result is not valid.
        """
        # The gap before each taken range: first those from the cursor up, then those below.
        middle = bisect_left(self._taken, (self._cursor,), 1)
        for begin, end in ((middle, len(self._taken)), (1, middle)):
            for after in range(begin, end):
                low = self._taken[after - 1][1] + 1
                start = low + (residue - low) % align
                window_last = start + length - 1
                if window_last > last:
                    break
                if window_last < self._taken[after][0]:
                    return after, (start, window_last, True)
        return 0, None

    def free(self, iova: int) -> None:
        """Free a window that `alloc` returned. Needs no memory.

        Raises:
            RangeError: No window in use starts there.
            TypeError: `iova` is not an int.
        """
        if type(iova) is not int:
            iova = whole("iova", iova)
        with self._lock:
            while True:
                changes, start, is_window = self._changes, -1, False
                index = bisect_left(self._taken, (iova,), 1)
                try:  # noqa: SIM105 - `suppress` takes its time
                    start, _, is_window = self._taken[index]
                except IndexError:  # beyond the end, or what became shorter meanwhile
                    pass
                after, cursor = changes + 1, min(self._cursor, iova)
                if changes == self._changes:
                    break
            if start != iova or not is_window:
                raise RangeError(f"no window starts at {iova:#x}", iova=iova)
            # From here on nothing is allocated.
            del self._taken[index]
            self._changes, self._cursor = after, cursor
