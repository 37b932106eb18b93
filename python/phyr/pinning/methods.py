"""The ways to pin memory. Each object pins one stretch of whole pages once, and unpins it once.

An interrupt may come between any two steps. So a caller of `pin` must see that `unpin` is called
afterwards in any case. `unpin` may be called again, and is called at the latest when the object is
dropped.
"""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import RLock
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias

from phyr.errors import PinError
from phyr.pinning.reasons import refused, ring_refused
from phyr.pinning.rings import Rings, Slot

if TYPE_CHECKING:
    from phyr._phyr import Phyr, Ring

__all__ = ["ByBackend", "Locked", "Nothing", "Pinner", "Reached", "Registered", "UserMapper"]

PIECE = 1 << 30
"""Bytes of a piece: the most that io_uring takes as one buffer. Signals are handled between
pieces."""

PIECES = 1 << 14
"""Buffers that one ring can hold (``IORING_MAX_REG_BUFFERS``)."""

SHARED = 16 << 20
"""Bytes up to which a pin shares a ring. A longer one takes its time, and others do not wait."""

Reached: TypeAlias = Callable[[int], object]
"""A function that is called with the user virtual address up to which memory is pinned."""


class Pinner(Protocol):
    """A way to pin."""

    @property
    def method(self) -> str:
        """Its name."""
        ...

    def pin(self, start: int, end: int, reached: Reached) -> None:
        """Pin whole pages and make them present.

        The caller must call `unpin` afterwards in any case.
        """
        ...

    def unpin(self) -> None:
        """Unpin what was pinned. Must not fail. If it is unpinned already, do nothing."""
        ...

    def abandon(self) -> None:
        """Release what a forked child inherited. The parent's pin stays."""
        ...


class UserMapper(Protocol):
    """A backend that pins what it maps: VFIO or iommufd."""

    def map_user(self, uaddr: int, length: int, prot: int) -> int:
        """Map memory of this process for the device; return its I/O virtual address."""
        ...

    def unmap_user(self, iova: int) -> None:
        """Undo the `map_user` that returned `iova`. Must not fail."""
        ...


def _pieces(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut a stretch into pieces: start and length of each."""
    return ((at, min(PIECE, end - at)) for at in range(start, end, PIECE))


class Registered:
    """Fixed buffers of an io_uring that does no I/O: a long-term pin without a device.

    Source:
        ``io_sqe_buffer_register()``, io_uring/rsrc.c; ``FOLL_LONGTERM``, mm/gup.c, Linux.
    """

    method: ClassVar[str] = "io_uring"

    shared: ClassVar[Rings] = Rings()
    """The rings of all pins that are not long."""

    _slot: Slot | None = None
    _ring: "Ring | None" = None

    def pin(self, start: int, end: int, reached: Reached) -> None:
        """Register it in a slot of a shared ring, or piece by piece in a ring of its own."""
        length = end - start
        if sys.platform != "linux":  # pragma: no cover - another system
            raise PinError(errno.ENOSYS, "io_uring needs Linux; nothing else pins memory here")
        if length <= SHARED:
            try:
                self._slot = slot = self.shared.take()
            except OSError as error:
                raise ring_refused(error) from error
            self._register(slot.ring, slot.number, start, length, length)
            reached(end)
        else:
            self._pin_alone(start, end, reached)

    def _pin_alone(self, start: int, end: int, reached: Reached) -> None:
        length = end - start
        pieces = -(-length // PIECE)
        if pieces > PIECES:
            name, most = "IORING_MAX_REG_BUFFERS", PIECES * PIECE
            text = f"{length:#x} bytes are more than the {most:#x} that io_uring takes ({name})"
            raise PinError(errno.E2BIG, text, length=length, limit=most, name=name)
        from phyr._phyr import Ring  # noqa: PLC0415 - there is none elsewhere

        try:
            self._ring = ring = Ring()
            ring.reserve(pieces)
        except OSError as error:
            raise ring_refused(error) from error
        for index, (at, some) in enumerate(_pieces(start, end)):
            self._register(ring, index, at, some, length)
            reached(at + some)

    def _register(self, ring: "Ring", index: int, uaddr: int, length: int, total: int) -> None:
        try:
            ring.register(index, uaddr, length)
        except OSError as error:
            raise refused(error, self.method, uaddr, length, total) from error

    def unpin(self) -> None:
        """Empty the slot and give it back, or unregister everything at once."""
        slot = self._slot
        if slot is not None:
            is_empty = slot.ring.release(slot.number)
            # Forgotten first: it may soon be another's.
            self._slot = None
            self.shared.put(slot, is_empty=is_empty)
        if self._ring is not None:
            self._ring.unregister()

    __del__ = unpin

    def abandon(self) -> None:
        """Close the child's copy of a ring, and forget what is the parent's."""
        self._slot = None
        if self._ring is not None:
            self._ring.abandon()


class Locked:
    """Locked memory: present, and not swapped, but **not pinned**: pages may still move.

    The kernel does not count locks. If two of these overlap, the memory stays locked until both are
    released. A lock that the program took by other means is not known here, and is released with
    them.
    """

    method: ClassVar[str] = "mlock"

    _spans: ClassVar[dict[int, tuple[int, int]]] = {}
    # The garbage collector may release a lock while this thread is in the middle of a method here.
    # The state is consistent after every step.
    _lock: ClassVar[RLock] = RLock()

    _span: tuple[int, int] | None = None

    def __init__(self) -> None:
        """Look up the system calls."""
        from phyr._libc import call  # noqa: PLC0415 - ctypes takes its time to import

        self._call = call

    @classmethod
    def forked(cls) -> None:
        """In a forked child: start over.

        The child inherits no locks, and no thread that holds `_lock`.
        """
        cls._spans.clear()
        cls._lock = RLock()

    def pin(self, start: int, end: int, reached: Reached) -> None:
        """Lock piece by piece."""
        with self._lock:
            self._span = self._spans[id(self)] = (start, end)
        for at, length in _pieces(start, end):
            with self._lock:
                try:
                    self._call("mlock", at, length)
                except OSError as error:
                    raise refused(error, self.method, at, length, end - start) from error
            reached(at + length)

    def unpin(self) -> None:
        """Unlock what no other lock covers."""
        with self._lock:
            if self._span is None:
                return
            self._spans.pop(id(self), None)
            start, end = self._span
            for first, after in sorted([*self._spans.values(), (end, end)]):
                if start < min(first, end):
                    with suppress(OSError):  # memory that is not there needs no unlocking
                        self._call("munlock", start, min(first, end) - start)
                start = max(start, after)
            self._span = None

    __del__ = unpin

    def abandon(self) -> None:
        """Forget it: a child inherits no locks."""
        self._span = None


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none
    os.register_at_fork(after_in_child=Locked.forked)
    os.register_at_fork(after_in_child=Registered.shared.forked)


class ByBackend:
    """Pinned by being mapped for a device."""

    _iova: int | None = None

    def __init__(self, backend: UserMapper, method: str) -> None:
        """Pin by way of `backend`."""
        self.method = method
        self._backend = backend

    def pin(self, start: int, end: int, reached: Reached) -> None:
        """Map all of it by one request."""
        from phyr.iommu.protocols import Prot  # noqa: PLC0415 - who has a backend has it, too

        self._iova = self._backend.map_user(start, end - start, Prot.READ | Prot.WRITE)
        reached(end)

    def addresses(self, head: int, length: int) -> "Phyr":
        """Return the list of I/O virtual addresses from `head` on."""
        from phyr._phyr import Builder  # noqa: PLC0415 - only this needs it

        builder = Builder()
        builder.append((self._iova or 0) + head, length)
        return builder.finish()

    def unpin(self) -> None:
        """Unmap the memory, never twice: another window may soon have the same address.

        If an interrupt prevents this, the memory stays mapped until the backend is closed.
        """
        iova, self._iova = self._iova, None
        if iova is not None:
            self._backend.unmap_user(iova)

    __del__ = unpin

    def abandon(self) -> None:
        """Leave it: the mapping is the parent's."""
        self._iova = None


class Nothing:
    """No memory, pinned in whatever way: what becomes of an empty buffer."""

    def __init__(self, method: str) -> None:
        """Bear the name of a way."""
        self.method = method

    def pin(self, start: int, end: int, reached: Reached) -> None:
        """Do nothing."""

    def unpin(self) -> None:
        """Do nothing."""

    abandon = unpin
