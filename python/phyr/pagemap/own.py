"""The page map of this process, kept open: what pins and `of` look their page numbers up in.

To open one takes longer than to read it for a small buffer: the kernel is asked for the machine's
RAM and its zero pages. So one is kept for the next call, and closed in a forked child, where it
would still show the parent's memory. ``exec`` closes it.
"""

import os

from phyr._phyr import Phyr
from phyr.errors import RangeError
from phyr.pagemap.process import Pagemap

__all__ = ["KEPT", "forget", "own_pagemap", "own_pages"]

MOST = 4
"""Maps kept for threads that pin at the same time: two descriptors each."""

KEPT: list[Pagemap] = []
"""Maps that nobody uses now."""


class own_pagemap:  # noqa: N801 - used like a function
    """Lend an open page map of this process, to one thread at a time.

    Raises:
        PhyrError: As of `Pagemap`.
        OSError: It cannot be opened: descriptors have run out, say.
    """

    def __enter__(self) -> Pagemap:
        """Lend it."""
        self._pagemap = _kept() or Pagemap()
        return self._pagemap

    def __exit__(self, kind: type[BaseException] | None, *_failure: object) -> None:
        """Take it back."""
        # Not after a failure: whatever state an interrupt left it in.
        if kind is None and len(KEPT) < MOST:
            KEPT.append(self._pagemap)
        else:
            self._pagemap.close()


def _kept() -> Pagemap | None:
    """Take one that is kept, and is still what it was."""
    while KEPT:
        try:
            pagemap = KEPT.pop()
        except IndexError:  # pragma: no cover - another thread had it
            break
        # One that is not is not closed either: the numbers of its files may be those of others.
        if pagemap.is_own:
            return pagemap
    return None


def own_pages(uaddr: int, length: int, *, is_written: bool = True) -> Phyr:
    """Return the list of memory of this process, which is all in RAM.

    Args:
        uaddr: User virtual address of the first byte.
        length: Bytes.
        is_written: False if some of it may never have been written, so that a page of zeros may
            stand in for it. The kernel may have made its huge one since the map was opened.

    Raises:
        RangeError: It is not.
        HiddenPagesError: The kernel hides page numbers.
        OSError: As of `own_pagemap`.
    """
    try:
        with own_pagemap() as pagemap:
            if not is_written:
                pagemap.renew_zero()
            return pagemap.of_range(uaddr, length)
    except RangeError:
        # The machine may have got more memory since the map was opened.
        forget()
    with own_pagemap() as pagemap:
        return pagemap.of_range(uaddr, length)


def forget() -> None:
    """Close all that are kept, a forked child's copies included."""
    while KEPT:
        KEPT.pop().close()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none
    os.register_at_fork(after_in_child=forget)
