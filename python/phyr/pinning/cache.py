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
import weakref
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from threading import RLock
from typing import TYPE_CHECKING

from phyr._arguments import whole
from phyr._phyr import Loan, Phyr
from phyr._scope import Scope
from phyr.errors import ClosedError, HiddenPagesError, PinError, RangeError
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
        """True if it has no lease and no mapping."""
        return not self.leases and not self.pinned.mappings

    def part(self, uaddr: int, length: int) -> Phyr:
        """Return the list of a part of it."""
        at = uaddr - self.start
        return self.pinned.phyr[at : at + length]

    def is_intact(self, start: int, end: int) -> bool:
        """Return true if that memory is still on the pinned pages."""
        try:
            return own_pages(start, end - start) == self.part(start, end - start)
        except RangeError:
            return False


class Lease(Scope):
    """Memory of a buffer, pinned by a cache until the lease is released.

    A context manager, which releases the lease at its end. Until then the buffer can be neither
    resized nor freed.
    """

    # The values for `__del__` if an interrupt ended `__init__`.
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

    def __repr__(self) -> str:
        """Show which memory it is, and if it was released."""
        released = ", released" if self._cache is None else ""
        return f"Lease({self.uaddr:#x}+{self.length:#x}{released})"

    @property
    def phyr(self) -> Phyr:
        """The memory, byte for byte.

        Raises:
            PinError: The lease was released.
        """
        if self._cache is None:
            text = f"{self.uaddr:#x}+{self.length:#x} was released"
            raise PinError(errno.EINVAL, text, uaddr=self.uaddr, length=self.length)
        return self._entry.part(self.uaddr, self.length)

    def release(self) -> None:
        """Return the memory to the cache, which unpins it later. A second call does nothing.

        A mapping of the list that still exists keeps it pinned.
        """
        cache = self._cache
        self._let_go()
        if cache is not None:
            cache.trim()

    def _let_go(self) -> None:
        cache, self._cache = self._cache, None
        if cache is not None:
            # The garbage collector may drop the lease, so no lock is taken.
            cache._returned.append(self._entry)  # noqa: SLF001 - it is the cache's
        if self._loan is not None:
            self._loan.__exit__()

    __del__ = _let_go

    def _end(self) -> None:
        self.release()


class PinCache(Scope):
    """Pins that outlive their use, for buffers that are used again. A context manager.

    Buffers are looked up by address and length. A lookup is a hit if the buffer lies in memory that
    is already pinned and is still on the same pages. The page map is read to check that, so memory
    that was freed and allocated again at the same address is pinned again. Memory that was freed
    and is never looked up again stays pinned, and so is lost to the machine, until it is the least
    recently used and room is needed, or until `trim` is called.

    Threads may share it. A forked child starts with an empty one.

    Args:
        limit: Bytes that stay pinned while not in use. Memory in use is neither limited nor counted
            here.
        backend: A backend that pins by mapping, as for `phyr.pin`.

    Examples:
        .. code-block:: python

            cache = PinCache(limit=256 << 20)
            with cache.pin(buffer) as lease, dma_map(lease.phyr, backend, direction) as mapping:
                transfer(mapping.dma)
    """

    # The process that the rest belongs to, once all of it is made.
    _process = 0
    _is_closed = False

    def __init__(self, limit: int = 1 << 30, *, backend: UserMapper | None = None) -> None:
        """Start empty."""
        self.limit = whole("limit", limit)
        self.hits = 0
        """The number of hits: memory was already pinned."""
        self.misses = 0
        """The number of misses: memory had to be pinned."""
        self._backend = backend
        self._start_over()
        _ALIVE.add(self)

    def _start_over(self) -> None:
        self._lock = RLock()
        # Entries of released leases that are not yet counted.
        self._returned: list[_Entry] = []
        self._starts: list[int] = []
        # By start address, the least recently used first.
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._retired: list[_Entry] = []
        self._held = 0
        self._process = os.getpid()

    @property
    def pinned(self) -> int:
        """Bytes that it keeps pinned now, in use or not."""
        with self._lock:
            self._settle()
            return self._held

    def __len__(self) -> int:
        """Return the number of its entries."""
        return len(self._entries)

    def __repr__(self) -> str:
        """Show how much it keeps pinned."""
        kept = f"{self.pinned:#x} bytes pinned, at most {self.limit:#x} of them idle"
        closed = ", closed" if self._is_closed else ""
        return f"PinCache({len(self)} stretches, {kept}{closed})"

    def pin(self, buffer: object) -> Lease:
        """Return a lease of a buffer's memory. Pin it if it is not pinned yet.

        Args:
            buffer: As of `phyr.pin`.

        Raises:
            ClosedError: The cache is closed.
            HiddenPagesError: The kernel hides page numbers, by which the cache notices freed
                memory; a `backend` does not help.
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
                self._check_open()
                self._settle()
                entry = self._found(start, end) if length else self._nothing(uaddr)
                entry.leases += 1
            return Lease(self, entry, loan, uaddr, length)
        except BaseException:
            if loan is not None:
                loan.__exit__()
            raise

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClosedError("the cache of pins is closed")

    def _nothing(self, uaddr: int) -> _Entry:
        """Return the lease of a buffer of no bytes, which is not looked up."""
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
        self._shrink(self.limit)
        try:
            entry = _Entry(first, last, self._pinned(first, last))
        except PinError:
            if not overlapping:
                raise
            # A part of the pinned memory does not exist any more.
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
            pinned = pin(memory, backend=self._backend)
        except PinError as error:
            if error.errno not in {errno.ENOMEM, errno.EMFILE} or not self._shrink(0):
                raise
            pinned = pin(memory, backend=self._backend)
        if pinned.phyr.kind == "user":
            pinned.unpin()
            text = "page numbers are hidden, by which a PinCache notices freed memory: use phyr.pin"
            raise HiddenPagesError(errno.EPERM, text)
        return pinned

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
        """Unpin what is idle, least recently used first, until at most `limit` bytes are idle.

        Args:
            limit: Bytes; by default the cache's own. 0 unpins all that is not in use.
        """
        limit = self.limit if limit is None else whole("limit", limit)
        with self._lock:
            self._settle()
            self._shrink(limit)

    def _shrink(self, limit: int) -> int:
        """Unpin until at most `limit` bytes are idle. Return how many bytes were unpinned."""
        before = self._held
        if before > limit:  # else no more can be idle
            idle = [entry for entry in self._entries.values() if entry.is_idle]
            kept = sum(entry.end - entry.start for entry in idle)
            for entry in idle:
                if kept <= limit:
                    break
                kept -= entry.end - entry.start
                self._retire(entry)
        return before - self._held

    def _retire(self, entry: _Entry) -> None:
        """Remove an entry, and unpin it as soon as it is idle. A second call does nothing."""
        if not entry.is_retired:
            entry.is_retired = True
            del self._entries[entry.start]
            self._starts.remove(entry.start)
            self._retired.append(entry)
            self._settle()

    def _settle(self) -> None:
        """Count the released leases, and unpin removed entries that are idle."""
        while self._returned:
            self._returned.pop().leases -= 1
        for entry in [each for each in self._retired if each.is_idle]:
            # An entry that is mapped is checked again later.
            with suppress(PinError):
                entry.pinned.unpin()
                self._retired.remove(entry)
                self._held -= entry.end - entry.start

    def close(self) -> None:
        """Unpin what is idle now, the rest when released. A second call does nothing."""
        self._is_closed = True
        if self._process == os.getpid():
            with self._lock:
                for entry in list(self._entries.values()):
                    self._retire(entry)
                self._settle()

    def _end(self) -> None:
        self.close()

    def __del__(self) -> None:
        """Unpin idle entries."""
        self.close()


_ALIVE: weakref.WeakSet[PinCache] = weakref.WeakSet()


def _forked() -> None:
    # Another thread may have held a lock during the fork. There is no such thread here.
    for cache in list(_ALIVE):
        cache._start_over()  # noqa: SLF001 - it is the cache's


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none
    os.register_at_fork(after_in_child=_forked)
