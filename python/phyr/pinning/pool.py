"""Memory for rings and queues: mapped once for a device, used in pieces."""

import mmap
from contextlib import ExitStack
from types import TracebackType
from typing import Literal, Protocol, Self, runtime_checkable

from phyr._arguments import having, whole
from phyr._phyr import Phyr
from phyr._scope import Scope
from phyr.allocating import alloc
from phyr.errors import ClosedError, IovaSpaceError, NoMemoryError, RangeError
from phyr.iommu import Direction, DmaBackend, dma_map
from phyr.iommu.iova import IovaAllocator
from phyr.pinning.pinned import pin

__all__ = ["DmaPool", "Piece"]

_AT_ONCE = 1 << 16  # bytes that are zeroed at a time


@runtime_checkable
class BufferMapper(Protocol):
    """A backend that maps a buffer by its user address. It pins, and needs no capability."""

    def map_buffer(self, buffer: object) -> "BufferMapping":
        """Map it in both directions."""
        ...


class BufferMapping(Protocol):
    """The mapping that `map_buffer` returns."""

    dma: Phyr
    """The addresses at which devices see it."""

    def __enter__(self) -> Self:
        """Return the mapping itself."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Unmap it."""
        ...


class Piece(Scope):
    """A piece of a pool. A context manager, which frees the piece at its end."""

    def __init__(self, pool: "DmaPool", start: int, view: memoryview, dma: Phyr) -> None:
        """Only `DmaPool.take` makes one."""
        self._pool = pool
        self._start = start
        self.view = view
        """Its bytes, for the program."""
        self.dma = dma
        """Its bytes, for the device: a list of bus addresses."""

    def __repr__(self) -> str:
        """Show where the device finds it."""
        return f"Piece({self.dma!r})"

    @property
    def dma_addr(self) -> int:
        """Bus address of the first byte. A piece inside one page needs no other."""
        return self.dma[0]

    def free(self) -> None:
        """Free it after the device has finished with it. A second call does nothing.

        Raises:
            BufferError: A part of `view` is still about. It stays taken.
        """
        self._pool._free(self, self._start)  # noqa: SLF001 - it is the pool's

    def _end(self) -> None:
        self.free()


class DmaPool(Scope):
    """Memory that is allocated, pinned and mapped once, and used in aligned pieces.

    For rings, queues and descriptors: a driver has many small ones, and a mapping for each would
    need a page and two requests. A context manager. Threads may share it.

    A piece that is dropped without `free` stays in use, because the device may still access it.

    Args:
        backend: A backend that maps it for its devices, in both directions. A backend that maps by
            user addresses, such as `phyr.vfio.Type1` and `phyr.iommufd.Ioas`, needs no capability.
        size: Bytes, rounded up to whole pages.
        huge: Kind of pages, as for `phyr.alloc`.

    Raises:
        PinError: The memory cannot be pinned.
        VfioError: The kernel does not map it.

    Examples:
        >>> from phyr.iommu import Direct
        >>> with DmaPool(Direct(), 1 << 20) as pool:  # doctest: +SKIP
        ...     ring = pool.take(4096, align=4096)
        ...     ring.view[:4] = b"head"
        ...     device.tell(ring.dma_addr)
    """

    _is_closed = False

    def __init__(
        self, backend: DmaBackend, size: int, *, huge: Literal["thp", "2M", "1G"] | None = None
    ) -> None:
        """Allocate, pin and map."""
        size = whole("size", size)
        if not isinstance(backend, BufferMapper):
            having("backend", backend, ("map", "unmap"), "a DmaBackend")
        self.size = size + -size % mmap.PAGESIZE
        """Bytes in all."""
        with ExitStack() as stack:
            buffer = stack.enter_context(alloc(self.size, huge=huge))
            if isinstance(backend, BufferMapper):
                self._dma = stack.enter_context(backend.map_buffer(buffer)).dma
            else:
                pinned = stack.enter_context(pin(buffer))
                both = Direction.BIDIRECTIONAL
                self._dma = stack.enter_context(dma_map(pinned.phyr, backend, both)).dma
            self._view = memoryview(b"")
            # First the callback, so that a view never stays behind: with one, the buffer cannot go.
            stack.callback(self._let_view_go)
            self._view = memoryview(buffer)
            self._uaddr = buffer.uaddr
            self._places = IovaAllocator((self._uaddr, self._uaddr + self.size - 1))
            self._live: dict[int, Piece] = {}
            stack.callback(self._free_all)
            self._stack = stack.pop_all()

    def __repr__(self) -> str:
        """Show where devices find it, and what is in use."""
        live = f"{len(self._live)} pieces, {self.free:#x} bytes free"
        return f"DmaPool({self._dma!r}, {'closed' if self._is_closed else live})"

    @property
    def free(self) -> int:
        """Bytes that are not in use, contiguous or not."""
        return self.size - sum(len(piece.dma) for piece in list(self._live.values()))

    def take(self, length: int, *, align: int = 64) -> Piece:
        """Return a piece of zeros.

        Args:
            length: Bytes, at least 1. Of a piece longer than a page the bus addresses may be
                several chunks, where no IOMMU makes them one.
            align: Its addresses are multiples of this power of two, a page at most.

        Raises:
            RangeError: No such length or alignment.
            NoMemoryError: No free place is as long. `free` is the number of free bytes, and
                `largest` the length of the longest free place.
            ClosedError: The pool is closed.
            TypeError: A number is not an int.
        """
        if self._is_closed:
            raise ClosedError("the pool is closed")
        length, align = whole("length", length), whole("align", align)
        if length < 1 or not 1 <= align <= mmap.PAGESIZE or align & (align - 1):
            raise RangeError(
                f"no piece of {length:#x} bytes at multiples of {align:#x}: a byte at least, and a "
                f"power of two up to {mmap.PAGESIZE:#x}",
                length=length,
                align=align,
            )
        try:
            start = self._places.alloc(length, align=align)
        except IovaSpaceError:
            raise self._no_room(length, align) from None
        try:
            at, end = start - self._uaddr, start - self._uaddr + length
            zeros = memoryview(bytes(min(length, _AT_ONCE)))
            for low in range(at, end, _AT_ONCE):
                high = min(low + _AT_ONCE, end)
                self._view[low:high] = zeros[: high - low]
            piece = Piece(self, start, self._view[at:end], self._dma[at:end])
            self._live[start] = piece
        except BaseException:
            self._live.pop(start, None)
            self._places.free(start)
            raise
        return piece

    def _no_room(self, length: int, align: int) -> NoMemoryError:
        live = sorted((start, len(piece.dma)) for start, piece in list(self._live.items()))
        # A free place begins where a piece ends, and ends where the next one begins.
        begins = [self._uaddr, *(start + taken for start, taken in live)]
        ends = [*(start for start, _ in live), self._uaddr + self.size]
        free = self.size - sum(taken for _, taken in live)
        largest = max(end - begin for begin, end in zip(begins, ends, strict=True))
        return NoMemoryError(
            f"no piece of {length:#x} bytes at multiples of {align:#x} is free in the pool: "
            f"{free:#x} bytes are, the largest piece {largest:#x}",
            length=length,
            align=align,
            free=free,
            largest=largest,
        )

    def _free(self, piece: Piece, start: int) -> None:
        if self._live.get(start) is piece:
            piece.view.release()
            del self._live[start]
            self._places.free(start)

    def _let_view_go(self) -> None:
        self._view.release()

    def _free_all(self) -> None:
        for piece in list(self._live.values()):
            piece.free()

    def close(self) -> None:
        """Unmap and free everything, also pieces in use. A second call does nothing.

        Raises:
            BufferError: A part of a piece's view is still about. It is no longer mapped.
        """
        self._is_closed = True
        self._stack.close()

    def _end(self) -> None:
        self.close()
