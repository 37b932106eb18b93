"""Pinned memory: buffers whose pages are present and stay where they are.

A list of a buffer's pages is worth nothing to a device if the kernel moves them meanwhile. A pin
keeps them. There are several ways to get one, and `Pinned.method` says which it is:

============ =======================================================================================
method       the pages
============ =======================================================================================
`io_uring`   stay, as fixed buffers of a ring that does no I/O; the default; no device needed
`vfio`       stay, by being mapped through a VFIO container (``backend=``)
`iommufd`    stay, by being mapped through iommufd (``backend=``)
`mlock`      are present and not swapped, but **may move**: memory compaction and the making of huge
             pages do move them. Only when asked for
============ =======================================================================================

phyr never chooses another method silently: if `io_uring` is not allowed, `pin` raises an error that
says so.

Page numbers are read after the pin. That needs CAP_SYS_ADMIN, as for `phyr.pagemap`. A pin through
a backend does without them, if it has to: its list is of kind ``user`` then.
"""

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from phyr._arguments import having
from phyr._phyr import Builder, Loan, Phyr, held
from phyr._scope import Scope
from phyr.errors import (
    ArrayError,
    ArrayTypeError,
    HiddenPagesError,
    MismatchError,
    PhyrError,
    RangeError,
)
from phyr.pagemap.address import uaddr_and_length
from phyr.pagemap.own import own_pagemap, own_pages
from phyr.pagemap.process import Progress
from phyr.pinning.hold import Hold
from phyr.pinning.methods import ByBackend, Locked, Nothing, Pinner, Registered, UserMapper
from phyr.pinning.reasons import map_refused

if TYPE_CHECKING:
    from phyr.pinning.tensors import Exported

__all__ = ["Pinned", "UserMapper", "memory_of", "pin"]

_BY_BACKEND = ("vfio", "iommufd")


class Pinned(Scope):
    """Memory that is pinned until it is unpinned; the result of `pin`.

    A pin is a context manager, which unpins at its end. Its lists, their slices and their mappings
    keep the memory pinned even after this object is dropped. When the last of them is dropped, the
    memory is unpinned with a `ResourceWarning`, as a file is closed. Threads may share a pin.

    A forked child has no pin: its memory is a copy, and the parent's memory stays pinned.
    """

    def __init__(self, phyr: Phyr, hold: Hold, dma: Phyr | None = None, hidden: str = "") -> None:
        """Only `pin` makes one."""
        self._phyr = phyr
        self._hold = hold
        self._dma = dma
        # The reason, if the list has user addresses.
        self._hidden = hidden

    @property
    def phyr(self) -> Phyr:
        """The memory, byte for byte. `owner` and `uaddr` of the list refer to the pin.

        If the kernel hides page numbers, the list has one chunk of user virtual addresses instead,
        and says so: its `kind` is ``user``. `Type1` and `Ioas` map it and its slices for their
        devices. All that needs physical addresses raises `MismatchError`: other backends, and
        descriptors.

        Raises:
            PinError: It is no longer pinned.
        """
        self._hold.check()
        return self._phyr

    @property
    def dma(self) -> Phyr:
        """Where devices of the backend find the memory: its I/O virtual addresses, as one chunk.

        Raises:
            PinError: It is no longer pinned.
            MismatchError: It is not pinned through a backend, and so for no device.
        """
        self._hold.check()
        if self._dma is None:
            text = f"pinned by {self.method}, for no device: map its list, or pin with backend="
            raise MismatchError(text, method=self.method)
        return self._dma

    @property
    def method(self) -> str:
        """How it is pinned: ``io_uring``, ``vfio``, ``iommufd``; ``mlock`` does not pin."""
        return self._hold.method

    @property
    def mappings(self) -> int:
        """How many mappings for devices hold it: while there are some, it is not unpinned."""
        return self._hold.mappings

    @property
    def uaddr(self) -> int:
        """User virtual address of the first byte."""
        return self._hold.uaddr

    @property
    def length(self) -> int:
        """Bytes."""
        return self._hold.length

    def unpin(self) -> None:
        """Let the kernel move the pages again. A second call does nothing.

        The buffer may then be resized and freed. Lists of it keep the old addresses.

        Raises:
            PinError: The list or a slice of it is mapped for a device; `mappings` is the number of
                mappings. The memory stays pinned.
        """
        self._hold.end()

    def moved(self) -> int | None:
        """Read the page map again. Return the position of the first byte that moved, or None.

        Bytes that are no longer present count as moved.

        Raises:
            PinError: It is no longer pinned.
            HiddenPagesError: The kernel hides page numbers.
        """
        phyr = self.phyr
        if self._hidden:
            raise HiddenPagesError(self._hidden)
        position = 0
        with own_pagemap() as pagemap:
            for extent in pagemap.read(self.uaddr, self.length):
                if extent.state != "ram" or extent.phyr is None:
                    return position
                part = phyr[position : position + extent.length]
                if part != extent.phyr:
                    return position + _first_difference(part, extent.phyr)
                position += extent.length
        return None

    def __enter__(self) -> Self:
        """Return the pin itself."""
        self._hold.check()
        return self

    def _end(self) -> None:
        self.unpin()

    def __repr__(self) -> str:
        """Show how and where it is pinned. The text stays short, however long the list."""
        doubt = ", which may move" if self.method == "mlock" else ""
        return f"Pinned({self._hold.described()}{doubt})"


def pin(
    buffer: object,
    *,
    method: str | None = None,
    backend: UserMapper | None = None,
    progress: Progress | None = None,
) -> Pinned:
    """Pin a buffer: its pages become present and do not move until it is unpinned.

    The kernel pins whole pages; the list holds only the bytes of the buffer. Other bytes on the
    first and last page are pinned too. A pinned buffer must be neither resized nor freed. For an
    empty buffer nothing is done.

    Memory is pinned in pieces of 1 GiB, and signals are handled between pieces; a `backend` maps
    everything by one request. If anything raises meanwhile, even `progress`, nothing stays pinned.

    Args:
        buffer: An object with the buffer protocol and writable, contiguous memory: mmap, bytearray,
            a NumPy array, shared memory, the result of `alloc`. Or an array in the processor's
            memory that exports itself by DLPack or ``__array_interface__``, such as a PyTorch
            tensor. Or (uaddr, length); then the caller must keep that memory mapped.
        method: ``"io_uring"``, the default; ``"mlock"``, which does not keep pages from moving;
            ``"vfio"`` or ``"iommufd"`` with a `backend`, whose own `method` is the default.
        backend: An object that maps the memory for its device, which pins it (``map_user``,
            ``unmap_user``).
        progress: A function that is called now and then with bytes done and bytes in all.

    Raises:
        PinError: The kernel does not pin the memory; nothing is pinned. The message names the limit
            or the address, and `errno` is the kernel's: ``ENOMEM`` for RLIMIT_MEMLOCK, ``EPERM`` or
            ``ENOSYS`` if io_uring is not allowed, ``EFAULT`` for memory that is read-only, of a
            file, or not there.
        HiddenPagesError: The kernel hides page numbers; reading them needs CAP_SYS_ADMIN. With a
            `backend` that is no error: the pin then has `dma`, and its `phyr` has user addresses.
        ArrayTypeError: There is neither a buffer nor an array.
        ArrayError: Its memory is not contiguous, read-only, or a device's.
        Exception: An error of the buffer itself, such as `ValueError` if it is closed.
        RangeError: There is no such method, or the range passes 2^64.
        MismatchError: `method` and `backend` do not go together.
        TypeError: `backend` does not map by user addresses.
        VfioError: The kernel does not map it through `backend`; nothing is pinned then.
        IovaSpaceError: `backend` has no I/O virtual addresses left for it.
        LimitError: The kernel takes no more mappings through `backend`.

    Examples:
        .. code-block:: python

            with pin(bytearray(1 << 20)) as pinned:
                print(pinned.method, pinned.phyr)

        >>> pin(b"constant")
        Traceback (most recent call last):
        ...
        phyr.errors.ArrayError: <class 'bytes'> is read-only: a device cannot write to it
    """
    pinner = _pinner(method, backend)
    loan, uaddr, length = memory_of(buffer)
    page = os.sysconf("SC_PAGE_SIZE")
    start, end = uaddr - uaddr % page, uaddr + length + -(uaddr + length) % page

    def reached(at: int) -> None:
        if progress is not None:
            progress(min(at, uaddr + length) - uaddr, length)

    with ExitStack() as undo:
        if loan is not None:
            undo.push(loan)
        if not length:
            pinner = Nothing(pinner.method)
        undo.callback(pinner.unpin)
        pinner.pin(start, end, reached)
        phyr, hidden = Phyr.from_pfns([], granule=page), ""
        dma = None if backend is None else phyr
        if isinstance(pinner, ByBackend):
            dma = pinner.addresses(uaddr - start, length)
        if length:
            try:
                phyr = _pages(uaddr, length)
            except HiddenPagesError as error:
                # Behind an IOMMU a driver needs no page numbers.
                if dma is None:
                    raise
                phyr, hidden = _by_user_address(uaddr, length, page), str(error)
        hold = Hold(pinner, loan, uaddr, length)
        undo.pop_all()
    mapped = None if dma is None else held(dma, hold, None)
    return Pinned(held(phyr, hold, uaddr), hold, mapped, hidden)


def _pinner(method: str | None, backend: UserMapper | None) -> Pinner:
    """Choose the method of pinning."""
    if backend is not None:
        having("backend", backend, ("map_user", "unmap_user"), "a Type1 or an Ioas")
        own = getattr(backend, "method", None)
        name = method or own or _BY_BACKEND[0]
        if name not in _BY_BACKEND or own not in (None, name):
            text = f"method {name!r} does not go with a backend of method {own!r}"
            raise MismatchError(text, method=name, backend=own)
        return ByBackend(backend, name)
    if method in _BY_BACKEND:
        text = f"method {method!r} pins by mapping: it needs a backend"
        raise MismatchError(text, method=method, backend=None)
    if method == "mlock":
        return Locked()
    if method in (None, "io_uring"):
        return Registered()
    raise RangeError(f"method {method!r} is none of io_uring, vfio, iommufd, mlock", method=method)


def memory_of(buffer: object) -> "tuple[Loan | Exported | None, int, int]":
    """Take a buffer, an array, or memory by its address. Return its address and length."""
    if not isinstance(buffer, tuple):
        loan = _loan(buffer)
        if loan.readonly:
            raise ArrayError(f"{type(buffer)} is read-only: a device cannot write to it")
        return (loan, *loan.__enter__())
    return (None, *uaddr_and_length(buffer))


def _loan(buffer: object) -> "Loan | Exported":
    """Hold the memory of a buffer in place, or of an array that is none."""
    try:
        return Loan(buffer)
    except ValueError:
        # NumPy's buffers have no times; and only an array knows its strides.
        if not hasattr(buffer, "__array_interface__"):
            raise
    except ArrayTypeError:
        if not hasattr(buffer, "__dlpack__") and not hasattr(buffer, "__array_interface__"):
            raise
    from phyr.pinning.tensors import Exported  # noqa: PLC0415 - ctypes takes its time to import

    return Exported(buffer)


def _pages(uaddr: int, length: int) -> Phyr:
    """Look the pages of pinned memory up."""
    try:
        return own_pages(uaddr, length)
    except PhyrError:
        raise
    except OSError as error:
        raise map_refused(error) from error


def _by_user_address(uaddr: int, length: int, page: int) -> Phyr:
    """Return the list of memory whose page numbers are hidden: it says so by its kind."""
    builder = Builder(page, "user")
    builder.append(uaddr, length)
    return builder.finish()


def _first_difference(was: Phyr, now: Phyr) -> int:
    """Return the first byte at which two different lists of equal length differ."""
    pairs = enumerate(zip(was.chunks, now.chunks, strict=False))
    number, old, new = next((at, old, new) for at, (old, new) in pairs if old != new)
    common = min(old.length, new.length) if old.paddr == new.paddr else 0
    return was.chunks.position(number) + common
