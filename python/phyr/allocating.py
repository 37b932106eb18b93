"""Buffers meant for DMA: populated, aligned, on huge pages and on one NUMA node where asked.

The larger the pages under a buffer, the shorter its list. `alloc` asks the kernel for pages of one
kind, and where it has none goes down from ``"1G"`` by ``"2M"`` and ``"thp"`` to ordinary pages,
with a warning and with the reasons in `Allocation.fallbacks`:

========== =========================================================================================
huge       pages
========== =========================================================================================
``"1G"``   1 GiB from the reserve of huge pages (``nr_hugepages``)
``"2M"``   2 MiB from the reserve
``"thp"``  transparent huge pages: as many as the kernel can make now, ordinary ones elsewhere
None       ordinary pages, as the system's policy gives them
========== =========================================================================================
"""

import mmap
import sys
import warnings
from typing import Literal, TypeAlias

from phyr._arguments import whole
from phyr._mmap import UnavailableError, make_huge, make_ordinary, make_transparent
from phyr._phyr import Area
from phyr.errors import NoMemoryError, PhyrError, RangeError

__all__ = ["Allocation", "Huge", "alloc"]

Huge: TypeAlias = Literal["1G", "2M", "thp"] | None
"""A kind of pages."""

_TOP = 1 << 63
_LADDER: tuple[Huge, ...] = ("1G", "2M", "thp", None)


class Allocation(Area):
    """A buffer on pages of its own; the result of `alloc`.

    It has the buffer protocol: ``memoryview(buffer)``, ``numpy.frombuffer(buffer)``,
    ``struct.pack_into(format, buffer, ...)`` and `phyr.pin` accept it. As a context manager it is
    freed at the end of the ``with``; otherwise when nothing refers to it. While a view or a pin of
    it exists, freeing it raises `BufferError`.
    """

    huge: Huge
    """The kind of its pages: ``"1G"``, ``"2M"``, ``"thp"``, or None for ordinary ones."""
    page_size: int
    """Bytes of such a page."""
    huge_length: int
    """Bytes of it that lie on huge pages; with ``"thp"`` perhaps not all."""
    fallbacks: tuple[str, ...]
    """The reasons why larger pages were not used, one for each kind tried; else empty."""

    def __repr__(self) -> str:
        """Show the address and the kind of pages."""
        pages = self.huge or f"{self.page_size >> 10}K"
        closed = ", closed" if self.closed else ""
        return f"Allocation({self.uaddr:#x}+{len(self):#x}, pages {pages}{closed})"


def alloc(  # noqa: PLR0913 - keywords, each optional
    size: int,
    *,
    huge: Huge = None,
    align: int | None = None,
    uaddr: int | None = None,
    node: int | None = None,
    populate: bool = True,
    fallback: bool = True,
) -> Allocation:
    """Allocate a zeroed buffer for DMA.

    It shares its pages with nothing else: even a few bytes take whole pages of their kind.

    Args:
        size: Bytes, at least one.
        huge: The kind of pages: ``"1G"``, ``"2M"``, ``"thp"`` or None; see above. Ask for ``"thp"``
            if in doubt: it needs no preparation and shortens the list.
        align: The user virtual address of the first byte is a multiple of this power of two, and of
            the page size of the kind. Physical addresses follow only within a page.
        uaddr: User virtual address of the first byte, for programs that give devices and processor
            the same addresses: a multiple of `align` and of the page size of the kind. If ordinary
            memory of this process is right beside it, the kernel may make one area of both, and
            `huge_length` may then count the neighbour's huge pages as well.
        node: NUMA node that all its memory must come from. By default the kernel's policy for the
            calling thread decides.
        populate: Make the pages present now. If false, the first use or the pin makes them
            present.
        fallback: Use smaller pages, with a `RuntimeWarning`, if there are no pages of this kind.

    Raises:
        NoMemoryError: There is no memory; or, without `fallback`, there are no such pages.
        MappedError: Something else is mapped at `uaddr`; the message names it.
        RangeError: `size`, `align`, `uaddr`, `huge` or `node` is out of range.
        TypeError: A number is not whole.
        PhyrError: This system is not Linux, or older than 5.14 and cannot populate; or the kernel
            does not bind memory to nodes, or not for this process.

    Examples:
        .. code-block:: python

            with alloc(64 << 20, huge="2M") as buffer, pin(buffer) as pinned:
                print(buffer.huge, len(pinned.phyr.chunks))

        >>> alloc(4096, align=5)
        Traceback (most recent call last):
        ...
        phyr.errors.RangeError: align 0x5 is not a power of two
    """
    size = whole("size", size)
    align = 1 if align is None else whole("align", align)
    uaddr = None if uaddr is None else whole("uaddr", uaddr)
    node = None if node is None else whole("node", node)
    if size < 1:
        raise RangeError(f"a buffer of {size:#x} bytes cannot be allocated", size=size)
    if align < 1 or align & (align - 1):
        raise RangeError(f"align {align:#x} is not a power of two", align=align)
    if uaddr is not None:
        _check_place(uaddr, size, max(align, mmap.PAGESIZE))
    if huge not in _LADDER:
        raise RangeError(f"huge {huge!r} is none of '1G', '2M', 'thp', None", huge=huge)
    if sys.platform != "linux":  # pragma: no cover - another system
        raise PhyrError("alloc needs Linux")
    reasons: list[str] = []
    kinds = iter(_LADDER[_LADDER.index(huge) :])
    buffer = None
    while buffer is None:
        kind = next(kinds)
        try:
            buffer = _allocate(kind, size, align, node, uaddr, populate=populate)
        except UnavailableError as error:
            reasons.append(f"{kind}: {error}")
            if not fallback:
                raise NoMemoryError(reasons[0], size=size, huge=huge) from error
    buffer.fallbacks = tuple(reasons)
    if reasons:
        text = f"asked for {huge} pages, got {buffer.huge or 'ordinary ones'}: {'; '.join(reasons)}"
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    return buffer


def _check_place(uaddr: int, size: int, align: int) -> None:
    """Refuse an address at which no memory of that size can start."""
    if uaddr % align or not align <= uaddr <= _TOP - size:
        text = f"memory cannot start at {uaddr:#x}: a multiple of {align:#x}, from there to "
        text += f"{_TOP:#x} less {size:#x}, can be its start"
        raise RangeError(text, uaddr=uaddr, size=size, align=align)


def _allocate(  # noqa: PLR0913 - one for each wish
    kind: Huge, size: int, align: int, node: int | None, uaddr: int | None, *, populate: bool
) -> Allocation:
    """Allocate on pages of one kind."""
    if kind == "thp":
        mapped = make_transparent(size, align, node, uaddr, populate=populate)
    elif kind is None:
        mapped = make_ordinary(size, align, node, uaddr, populate=populate)
    else:
        mapped = make_huge(size, {"2M": 21, "1G": 30}[kind], align, node, uaddr, populate=populate)
    buffer = Allocation(mapped.whole, mapped.offset, size)
    buffer.huge, buffer.page_size, buffer.huge_length = kind, mapped.page_size, mapped.huge_length
    return buffer
