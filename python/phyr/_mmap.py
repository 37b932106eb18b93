"""Anonymous memory of one kind of page: mapped, aligned, bound to a node, populated."""

import errno
import mmap
import os
import re
import sys
from contextlib import contextmanager
from itertools import dropwhile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from phyr._phyr import Loan
from phyr.errors import NoMemoryError, PhyrError, RangeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phyr._fixed import Fixed

    _Whole: TypeAlias = mmap.mmap | Fixed

__all__ = ["MadePages", "UnavailableError", "make_huge", "make_ordinary", "make_transparent"]

_SYS = Path("/sys")
_PROC = Path("/proc")
_SPAN = re.compile("([0-9a-f]+)-([0-9a-f]+) ")

_MAP_NORESERVE = 0x4000
_MAP_HUGETLB = 0x4_0000
_MAP_HUGE_SHIFT = 26
_MADV_POPULATE_WRITE = 23
_MPOL_BIND = 2
_NODES = 1024
# The number of the call in 64-bit programs; it differs elsewhere.
_MBIND = {"x86_64": 237, "aarch64": 235, "riscv64": 235}

PIECE = 256 << 20
"""Bytes populated at a time. Signals are handled between pieces."""


class UnavailableError(PhyrError):
    """There are no pages of this kind; the message says why."""


class MadePages(NamedTuple):
    """New memory of this process, and which of its bytes are the aligned ones."""

    whole: "_Whole"
    """All of it, including the bytes for alignment."""
    offset: int
    """Bytes of `whole` before the aligned part."""
    page_size: int
    """Bytes of a page of the kind."""
    huge_length: int
    """Bytes on huge pages."""


def make_huge(  # noqa: PLR0913 - one for each wish
    size: int,
    page_lg2: int,
    align: int,
    node: int | None,
    uaddr: int | None = None,
    *,
    populate: bool,
) -> MadePages:
    """Make memory of pages of ``1 << page_lg2`` bytes from the reserve of huge pages.

    Raises:
        UnavailableError: There are not as many.
        RangeError: There is no such node.

    Source:
        ``MAP_HUGETLB``, Documentation/admin-guide/mm/hugetlbpage.rst, Linux.
    """
    page = 1 << page_lg2
    length = size + -size % page
    flags = _MAP_HUGETLB | page_lg2 << _MAP_HUGE_SHIFT
    _check_aligned(uaddr, page)
    extra = align if align > page and uaddr is None else 0
    if extra and populate:
        # Bytes that only serve alignment must not take pages from the reserve.
        flags |= _MAP_NORESERVE
    try:
        with _mapped(length + extra, flags, uaddr) as whole:
            offset = _offset(whole, max(align, page), 0)
            _prepare(whole, offset, length, node, populate=populate)
    except NoMemoryError as error:
        raise UnavailableError(_reserve(page, length)) from error
    return MadePages(whole, offset, page, size)


def make_transparent(
    size: int, align: int, node: int | None, uaddr: int | None = None, *, populate: bool
) -> MadePages:
    """Make memory that is to be of transparent huge pages.

    Raises:
        UnavailableError: It got none, or the kernel has none.
        NoMemoryError: There is no memory.
        RangeError: There is no such node.

    Source:
        Documentation/admin-guide/mm/transhuge.rst, Linux.
    """
    thp = _SYS / "kernel/mm/transparent_hugepage"
    try:
        page = int((thp / "hpage_pmd_size").read_text())
    except OSError as error:
        raise UnavailableError("this kernel has no transparent huge pages") from error
    small = mmap.PAGESIZE
    length = size + -size % page
    step = max(align, page)
    if uaddr is not None:
        _check_aligned(uaddr, page)
        step = small = 0
    # One page on either side without the advice keeps the kernel from merging this area with its
    # neighbours. Their huge pages would then be counted as well.
    with _mapped(length + step + 2 * small, 0, uaddr) as whole:
        offset = _offset(whole, step or page, small)
        whole.madvise(mmap.MADV_HUGEPAGE, offset, length)
        _prepare(whole, offset, length, node, populate=populate)
        huge_length = min(size, _transparent(whole, offset, thp)) if populate else 0
    return MadePages(whole, offset, page, huge_length)


def make_ordinary(
    size: int, align: int, node: int | None, uaddr: int | None = None, *, populate: bool
) -> MadePages:
    """Make memory of ordinary pages.

    Raises:
        NoMemoryError: There is no memory.
        RangeError: There is no such node.
    """
    page = mmap.PAGESIZE
    length = size + -size % page
    extra = align if align > page and uaddr is None else 0
    with _mapped(length + extra, 0, uaddr) as whole:
        offset = _offset(whole, max(align, page), 0)
        _prepare(whole, offset, length, node, populate=populate)
    return MadePages(whole, offset, page, 0)


@contextmanager
def _mapped(length: int, flags: int, uaddr: int | None) -> "Iterator[_Whole]":
    """Map memory. Unmap it if the body of the `with` fails."""
    whole: _Whole
    try:
        if uaddr is None:
            whole = mmap.mmap(-1, length, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | flags)
        else:
            from phyr._fixed import make_fixed  # noqa: PLC0415 - ctypes takes its time to import

            whole = make_fixed(uaddr, length, flags)
    except (OSError, OverflowError) as error:
        raise NoMemoryError(f"no memory for {length:#x} bytes: {error}", length=length) from error
    try:
        yield whole
    except BaseException:
        whole.close()
        raise


def _check_aligned(uaddr: int | None, page: int) -> None:
    """Refuse an address inside a page."""
    if uaddr is not None and uaddr % page:
        raise UnavailableError(f"{uaddr:#x} is inside a page of {page >> 20} MiB")


def _offset(whole: "_Whole", align: int, least: int) -> int:
    """Return the offset of the first aligned byte, from `least` on."""
    with Loan(whole) as (uaddr, _):
        return least + -(uaddr + least) % align


def _prepare(
    whole: "_Whole", offset: int, length: int, node: int | None, *, populate: bool
) -> None:
    """Bind memory to a node, and make its pages present."""
    from phyr._libc import call  # noqa: PLC0415 - ctypes takes its time to import

    with Loan(whole) as (base, _):
        start = base + offset
        if node is not None:
            _bind(start, length, node)
        for at in range(start, start + length if populate else start, PIECE):
            piece = min(PIECE, start + length - at)
            try:
                call("madvise", at, piece, _MADV_POPULATE_WRITE)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    text = "memory is populated by Linux 5.14 or newer; a pin does it, too"
                    raise PhyrError(text, length=length) from error
                text = f"no memory for {length:#x} bytes: {error.strerror}"
                raise NoMemoryError(text, length=length) from error


def _bind(uaddr: int, length: int, node: int) -> None:
    """Have memory come from one node.

    Source:
        ``mbind()`` with ``MPOL_BIND``, mm/mempolicy.c, Linux; the C library has no name for it.
    """
    from phyr._libc import call  # noqa: PLC0415 - see above

    machine = os.uname().machine
    if machine not in _MBIND or sys.maxsize < 1 << 32:
        text = f"memory cannot be bound to node {node}: the call is not known on {machine}"
        raise PhyrError(text, node=node)
    # For a mask without nodes the kernel returns the same error as for a node that does not exist.
    mask = (1 << node if 0 <= node < _NODES else 0).to_bytes(_NODES // 8, "little")
    try:
        with Loan(mask) as (nodes, _):
            call("syscall", _MBIND[machine], uaddr, length, _MPOL_BIND, nodes, _NODES + 1, 0)
    except OSError as error:
        if error.errno != errno.EINVAL:
            text = f"memory cannot be bound to node {node}: {error.strerror}"
            raise PhyrError(text, node=node) from error
        try:
            known = (_SYS / "devices/system/node/has_memory").read_text().strip()
        except OSError:
            known = "unknown"
        text = f"node {node} has no memory here; those with: {known}"
        raise RangeError(text, node=node) from error


def _reserve(page: int, length: int) -> str:
    """Return a sentence with the numbers of huge pages needed, free and in all."""
    directory = _SYS / f"kernel/mm/hugepages/hugepages-{page >> 10}kB"
    try:
        total, free, promised = (
            int((directory / f"{name}_hugepages").read_text()) for name in ("nr", "free", "resv")
        )
    except OSError:
        return f"this kernel has no pages of {page >> 20} MiB"
    return f"{length // page} are needed, {free - promised} of {total} are free (nr_hugepages)"


def _transparent(whole: "_Whole", offset: int, thp: Path) -> int:
    """Count the bytes on huge pages in the area that holds `offset`; raise if there are none."""
    with Loan(whole) as (base, _), (_PROC / "self/smaps").open() as smaps:
        lines = dropwhile(lambda line: not _holds(line, base + offset), smaps)
        field = next((line for line in lines if line.startswith("AnonHugePages:")), "- 0 kB")
    count = int(field.split()[1]) << 10
    if not count:
        enabled = (thp / "enabled").read_text().partition("[")[2].partition("]")[0]
        raise UnavailableError(f"the kernel made none (transparent_hugepage is {enabled!r})")
    return count


def _holds(line: str, uaddr: int) -> bool:
    """Return true for the first line of the area that an address is in."""
    span = _SPAN.match(line)
    return span is not None and int(span[1], 16) <= uaddr < int(span[2], 16)
