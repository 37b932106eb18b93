"""The owner of pinned memory, to which every list of that memory refers."""

import errno
import os
import warnings
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from threading import RLock
from typing import TYPE_CHECKING

from phyr._phyr import Count
from phyr.errors import PinError
from phyr.pinning.methods import Nothing, Pinner

if TYPE_CHECKING:
    from phyr._phyr import Loan
    from phyr.pinning.tensors import Exported

__all__ = ["Hold"]


class Hold:
    """A pin. It lasts until it is ended or nothing refers to it. Threads may share it.

    The lists of the memory refer to the hold; the hold refers to none of them. It is a
    `phyr.iommu.Owner`.

    Args:
        pinner: The method of pinning; the memory is already pinned.
        loan: The borrowed buffer; None for memory that was given by its address.
        uaddr: User virtual address of the first byte.
        length: Bytes.
    """

    # The values for `__del__` if an interrupt ended `__init__`.
    _is_pinned = False
    _process = 0
    _loan: "Loan | Exported | None" = None
    _pinner: Pinner = Nothing("")
    _ending: AbstractContextManager[object] = nullcontext()

    def __init__(
        self, pinner: Pinner, loan: "Loan | Exported | None", uaddr: int, length: int
    ) -> None:
        """Take over the pin."""
        self.method = pinner.method
        self.uaddr = uaddr
        self.length = length
        self._mappings = Count()
        # Takes back one `hold`. It needs no memory, and no lock: the garbage collector may drop a
        # mapping, and so call it, while this thread is in the middle of a method here.
        self.release = self._mappings.drop
        self._lock = RLock()
        # A lock of its own: unpinning waits for the lock of the backend. Code that holds that lock
        # may drop a mapping, which calls `release` here.
        self._ending = RLock()
        self._process = os.getpid()
        self._loan = loan
        self._pinner = pinner
        self._is_pinned = True
        _ALIVE.add(self)

    @property
    def mappings(self) -> int:
        """Number of mappings that hold it."""
        return self._mappings.value

    def check(self) -> None:
        """Raise PinError unless the memory is pinned by this process."""
        if self._process != os.getpid():
            text = f"{self._spelt()} is pinned by process {self._process}, of which this is a fork"
            raise PinError(errno.ECHILD, text, pid=self._process)
        if not self._is_pinned:
            text = f"{self._spelt()} is no longer pinned"
            raise PinError(errno.EINVAL, text, uaddr=self.uaddr, length=self.length)

    def hold(self) -> None:
        """Promise to keep the memory in place until `release`.

        Raises:
            PinError: It is not pinned any more.
        """
        with self._lock:
            self.check()
            self._mappings.add()

    def end(self) -> None:
        """Unpin. If it is unpinned already, do nothing.

        Raises:
            PinError: Mappings hold the memory; `mappings` is their number. It stays pinned.
        """
        with self._lock:
            count = self._mappings.value
            if count and self._is_pinned and self._process == os.getpid():
                text = f"{self._spelt()} stays pinned: {count} mapping{'s'[: count > 1]} of it live"
                raise PinError(errno.EBUSY, text, mappings=count)
            self._is_pinned = False
        self._let_go()

    def _let_go(self) -> None:
        """Undo the pin. A second call does only what an interrupt kept the first from doing.

        A second thread waits: when this method returns, the buffer may be freed.
        """
        with self._ending:
            if self._process == os.getpid():
                self._pinner.unpin()
            else:
                self._pinner.abandon()
            if self._loan is not None:
                self._loan.__exit__()

    def forked(self) -> None:
        """In a forked child: release what it inherited. The memory stays pinned for the parent."""
        # Another thread may have held the locks during the fork. There is no such thread here.
        self._lock = RLock()
        self._ending = RLock()
        self._is_pinned = False
        self._pinner.abandon()
        self._let_go()

    def _spelt(self) -> str:
        return f"{self.uaddr:#x}+{self.length:#x} ({self.method})"

    def __repr__(self) -> str:
        """Show how and where it is pinned, and the number of mappings."""
        return f"Hold({self.described()})"

    def described(self) -> str:
        """Say how and where it is pinned, and by how many mappings it is held."""
        what = f"{self.mappings} mappings" if self._is_pinned else "not pinned"
        return f"{self._spelt()}, {what}"

    def __del__(self, warn: Callable[..., None] = warnings.warn) -> None:
        """Unpin if nobody did, with a warning."""
        try:
            if self._is_pinned and self._process == os.getpid():
                text = f"never unpinned: {self._spelt()}"
                warn(text, ResourceWarning, source=self, stacklevel=2)
        finally:
            self._let_go()


_ALIVE: weakref.WeakSet[Hold] = weakref.WeakSet()


def _forked() -> None:
    for hold in list(_ALIVE):
        hold.forked()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none
    os.register_at_fork(after_in_child=_forked)
