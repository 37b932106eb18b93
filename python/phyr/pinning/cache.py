"""A cache of pins: memory that is used for I/O again and again is pinned once.

```text
entries     |------- pinned -------|        |--- pinned ---|      by address, none overlaps another
lookup         |-- in one --|                                     a hit: a slice of its list
lookup                         |---------------|                  a miss: pinned anew, as one
            |------------------ pinned --------------------|      with what it overlaps
```
"""

import errno
import os
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Self

from phyr._phyr import Loan, Phyr
from phyr.errors import PinError, RangeError
from phyr.pagemap.own import own_pages
from phyr.pinning.methods import UserMapper
from phyr.pinning.pinned import Pinned, memory_of, pin

if TYPE_CHECKING:
    from phyr.pinning.tensors import Exported

__all__ = ["Lease", "PinCache"]


class _Entry:
    """A stretch of whole pages that is pinned."""

    def __init__(self, start: int, end: int, pinned: Pinned) -> None:
        self.start = start
        self.end = end
        self.pinned = pinned
        self.leases = 0
        self.is_retired = False

    @property
    def is_idle(self) -> bool:
        """True if nobody has a part of it, nor a device."""
        return not self.leases and not self.pinned.mappings

    def part(self, uaddr: int, length: int) -> Phyr:
        """Return the list of a part of it."""
        at = uaddr - self.start
        return self.pinned.phyr[at : at + length]

    def is_intact(self, start: int, end: int) -> bool:
        """Return true if that memory is still on the pages that are pinned."""
        try:
            return own_pages(start, end - start) == self.part(start, end - start)
        except RangeError:
            return False


class Lease:
    """Memory of a buffer, pinned by a cache for as long as this is not released.

    A context manager, which releases at its end. The buffer can be neither resized nor freed
    meanwhile.
    """

    # What `__del__` finds where an interrupt ended `__init__`.
    _cache: "PinCache | None" = None
    _loan: "Loan | Exported | None" = None

    def __init__(
        self,
        cache: "PinCache",
        entry: _Entry,
        loan: "Loan | Exported | None",
        uaddr: int,
        length: int,
    ) -> None:
        """Only `PinCache.pin` makes one."""
        self._entry = entry
        self._loan = loan
        self._cache = cache
        self.uaddr = uaddr
        """User virtual address of the first byte."""
        self.length = length
        """Bytes."""

    @property
    def phyr(self) -> Phyr:
        """The memory, byte for byte.

        Raises:
            PinError: It was released.
        """
        if self._cache is None:
            text = f"{self.uaddr:#x}+{self.length:#x} was released"
            raise PinError(errno.EINVAL, text, uaddr=self.uaddr, length=self.length)
        return self._entry.part(self.uaddr, self.length)

    def release(self) -> None:
        """Leave the memory to the cache, which unpins it at its own time. Again, it does nothing.

        A mapping of the list that still lives keeps it pinned.
        """
        cache = self._cache
        self._let_go()
        if cache is not None:
            cache.trim()

    def _let_go(self) -> None:
        cache, self._cache = self._cache, None
        if cache is not None:
            # By whoever drops it, the garbage collector included: no lock is taken.
            cache._returned.append(self._entry)  # noqa: SLF001 - it is the cache's
        if self._loan is not None:
            self._loan.__exit__()

    __del__ = _let_go

    def __enter__(self) -> Self:
        """Give the lease itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release it."""
        self.release()


class PinCache:
    """Pins that outlive their use, for buffers that come again. A context manager.

    What is asked for is looked up by its address and length. It is found if it lies in memory that
    is pinned already and still on the same pages: the page map is read for that, so memory that was
    freed and came back at the same address is noticed, and pinned anew. Memory that was freed and
    never asked for again stays pinned, and so taken from the machine, until it is the least
    recently used and room is needed, or `trim` is called.

    Threads may share it. A forked child starts with an empty one.

    Args:
        limit: Bytes that stay pinned while nobody uses them. What is in use is not limited here.
        backend: Pins by mapping, as of `phyr.pin`.

    Examples:
        .. code-block:: python

            cache = PinCache(limit=256 << 20)
            with cache.pin(buffer) as lease, dma_map(lease.phyr, backend, direction) as mapping:
                transfer(mapping.dma)
    """

    def __init__(self, limit: int = 1 << 30, *, backend: UserMapper | None = None) -> None:
        """Start empty."""
        self.limit = limit
        self.hits = 0
        """How often memory was found pinned."""
        self.misses = 0
        """How often it had to be pinned."""
        self._backend = backend
        self._start_over()

    def _start_over(self) -> None:
        self._process = os.getpid()
        self._lock = RLock()
        # Of leases that are over and not yet counted.
        self._returned: list[_Entry] = []
        self._starts: list[int] = []
        # By start; the least recently used first.
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._retired: list[_Entry] = []
        self._held = 0

    @property
    def pinned(self) -> int:
        """Bytes that are pinned by it now, in use or not."""
        with self._lock:
            self._settle()
            return self._held

    def __len__(self) -> int:
        """Return how many stretches of memory it knows."""
        return len(self._entries)

    def __repr__(self) -> str:
        """Say how much it holds."""
        return f"PinCache({len(self)} stretches, {self.pinned:#x} of {self.limit:#x} bytes)"

    def pin(self, buffer: object) -> Lease:
        """Return a lease of a buffer's memory, which is pinned already or is pinned now.

        Args:
            buffer: As of `phyr.pin`.

        Raises:
            Exception: As of `phyr.pin`. Where locked memory is short, what nobody uses is unpinned
                before that.
        """
        if self._process != os.getpid():
            self._start_over()
        loan, uaddr, length = memory_of(buffer)
        try:
            page = os.sysconf("SC_PAGE_SIZE")
            start, end = uaddr - uaddr % page, uaddr + length + -(uaddr + length) % page
            with self._lock:
                self._settle()
                entry = self._found(start, end) if length else self._nothing(uaddr)
                entry.leases += 1
            return Lease(self, entry, loan, uaddr, length)
        except BaseException:
            if loan is not None:
                loan.__exit__()
            raise

    def _nothing(self, uaddr: int) -> _Entry:
        """Return what stands for a buffer of no bytes, which is not looked up."""
        entry = _Entry(uaddr, uaddr, pin((uaddr, 0)))
        entry.is_retired = True
        self._retired.append(entry)
        return entry

    def _found(self, start: int, end: int) -> _Entry:
        overlapping = list(self._overlapping(start, end))
        for entry in overlapping:
            if entry.is_intact(max(start, entry.start), min(end, entry.end)):
                if entry.start <= start and end <= entry.end:
                    self.hits += 1
                    self._entries.move_to_end(entry.start)
                    return entry
            else:
                self._retire(entry)
        overlapping = [entry for entry in overlapping if not entry.is_retired]
        self.misses += 1
        first = min([start, *(entry.start for entry in overlapping)])
        last = max([end, *(entry.end for entry in overlapping)])
        self._shrink(last - first)
        try:
            entry = _Entry(first, last, self._pinned(first, last))
        except PinError:
            if not overlapping:
                raise
            # A part of what was pinned is there no more.
            entry = _Entry(start, end, self._pinned(start, end))
        for old in overlapping:
            self._retire(old)
        self._starts.insert(bisect_left(self._starts, entry.start), entry.start)
        self._entries[entry.start] = entry
        self._held += entry.end - entry.start
        return entry

    def _pinned(self, start: int, end: int) -> Pinned:
        memory = start, end - start
        try:
            return pin(memory, backend=self._backend)
        except PinError as error:
            if error.errno not in {errno.ENOMEM, errno.EMFILE} or not self._shrink(self.limit):
                raise
        return pin(memory, backend=self._backend)

    def _overlapping(self, start: int, end: int) -> Iterator[_Entry]:
        """Yield the entries that have a page of a stretch."""
        at = max(bisect_right(self._starts, start) - 1, 0)
        for number in self._starts[at:]:
            entry = self._entries[number]
            if entry.start >= end:
                return
            if entry.end > start:
                yield entry

    def trim(self, limit: int | None = None) -> None:
        """Unpin what nobody uses, least recently used first, until no more than `limit` is pinned.

        Args:
            limit: Bytes; by default the cache's own. 0 unpins all that is not in use.
        """
        with self._lock:
            self._settle()
            self._shrink(self.limit - (self.limit if limit is None else limit))

    def _shrink(self, room: int) -> int:
        """Make room for so many bytes below the limit; return how many bytes were unpinned."""
        before = self._held
        for entry in list(self._entries.values()):
            if self._held + room <= self.limit:
                break
            if entry.is_idle:
                self._retire(entry)
        return before - self._held

    def _retire(self, entry: _Entry) -> None:
        """Forget an entry, and unpin it as soon as nobody uses it; again, it does nothing."""
        if not entry.is_retired:
            entry.is_retired = True
            del self._entries[entry.start]
            self._starts.remove(entry.start)
            self._retired.append(entry)
            self._settle()

    def _settle(self) -> None:
        """Count the leases that are over, and unpin what nobody uses any more."""
        while self._returned:
            self._returned.pop().leases -= 1
        for entry in [each for each in self._retired if each.is_idle]:
            # One that is mapped just now is looked at again later.
            with suppress(PinError):
                entry.pinned.unpin()
                self._retired.remove(entry)
                self._held -= entry.end - entry.start

    def close(self) -> None:
        """Unpin all that nobody uses, and the rest when it is released. Again, it does nothing."""
        if self._process == os.getpid():
            with self._lock:
                for entry in list(self._entries.values()):
                    self._retire(entry)
                self._settle()

    def __enter__(self) -> Self:
        """Give the cache itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def __del__(self) -> None:
        """Unpin what is cached."""
        self.close()
