"""Tries of ``phyr pin --selftest``: memory, held in some way, that the kernel is asked to move."""

import errno
import mmap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

from phyr import pagemap
from phyr._phyr import Loan, Phyr
from phyr.errors import PinError
from phyr.pinning import pin

__all__ = ["Try", "try_all"]

_HUGE = 2 << 20
_PAGE = 4 << 10
_COLLAPSE = 25  # MADV_COLLAPSE, include/uapi/asm-generic/mman-common.h
_COMPACT = Path("/proc/sys/vm/compact_memory")


class Try(NamedTuple):
    """One try."""

    held: str
    """``free``, ``mlocked`` or ``pinned``."""
    asked: str
    """The request to the kernel."""
    pages: int
    moved: int | None
    """Pages that lie elsewhere afterwards; None if the memory could not be held in this way."""
    answer: str
    """The kernel's refusal; empty if there was none."""


@contextmanager
def _memory(size: int) -> Iterator[tuple[mmap.mmap, int]]:
    """Make memory in single pages, and give the first byte of it that a huge page could start at.

    Every other page is touched first, so that neighbours do not lie side by side by chance.
    """
    with mmap.mmap(-1, size + _HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
        area.madvise(mmap.MADV_NOHUGEPAGE)
        with Loan(area) as (uaddr, _):
            start = -uaddr % _HUGE
        for first in (0, _PAGE):
            for at in range(start + first, start + size, 2 * _PAGE):
                area[at] = 1
        area.madvise(mmap.MADV_HUGEPAGE)
        yield area, start


def _collapse(area: mmap.mmap, start: int, size: int) -> None:
    area.madvise(_COLLAPSE, start, size)


def _compact(_area: mmap.mmap, _start: int, _size: int) -> None:
    _COMPACT.write_text("1")


_HOLDS: dict[str, Callable[[memoryview], AbstractContextManager[object]]] = {
    "free": lambda _: nullcontext(),
    "mlocked": lambda view: pin(view, method="mlock"),
    "pinned": pin,
}
_REQUESTS = {"make huge pages": _collapse, "compact memory": _compact}


def _moved(before: Phyr, after: Phyr) -> int:
    pairs = zip(before.pages(_PAGE), after.pages(_PAGE), strict=True)
    return sum(old != new for old, new in pairs)


def _try(held: str, asked: str, size: int) -> Try:
    pages = size // _PAGE
    answer = ""
    with _memory(size) as (area, start), memoryview(area)[start : start + size] as view:
        try:
            hold = _HOLDS[held](view)
        except PinError as error:
            return Try(held, asked, pages, None, error.strerror or str(error))
        with hold:
            before = pagemap.of(view)
            try:
                _REQUESTS[asked](area, start, size)
            except OSError as error:
                answer = errno.errorcode[error.errno or 0]
            return Try(held, asked, pages, _moved(before, pagemap.of(view)), answer)


def try_all(size: int, *, compact: bool) -> list[Try]:
    """Hold memory in each way, and ask the kernel to move it.

    Args:
        size: Bytes; rounded up to whole huge pages.
        compact: Ask the kernel to compact all memory of the machine, too.

    Raises:
        HiddenPagesError: Page numbers are hidden.
    """
    size = -(-size // _HUGE) * _HUGE
    asked = list(_REQUESTS)[: 2 if compact else 1]
    return [_try(held, request, size) for request in asked for held in _HOLDS]
