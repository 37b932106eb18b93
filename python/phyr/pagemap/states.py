"""The states of memory, and the flags of pages: enumerations, loaded when they are first used."""

from enum import IntFlag, StrEnum

__all__ = ["STATES", "PageFlag", "State"]


class State(StrEnum):
    """The states of memory; see `phyr.pagemap`. Members are equal to their names as strings."""

    RAM = "ram"
    DEVICE = "device"
    ZERO = "zero"
    SWAP = "swap"
    HOLE = "hole"


STATES = {state.value: state for state in State}
"""Each by its name."""


class PageFlag(IntFlag):
    """Bits of `flags`, by the kernel's names; those from `RESERVED` on may change with the kernel.

    Examples:
        >>> PageFlag(1 << 12 | 1 << 22)
        <PageFlag.ANON|THP: 4198400>

    Source:
        ``include/uapi/linux/kernel-page-flags.h``, ``include/linux/kernel-page-flags.h``;
        Documentation/admin-guide/mm/pagemap.rst.
    """

    LOCKED = 1 << 0
    ERROR = 1 << 1
    REFERENCED = 1 << 2
    UPTODATE = 1 << 3
    DIRTY = 1 << 4
    LRU = 1 << 5
    ACTIVE = 1 << 6
    SLAB = 1 << 7
    WRITEBACK = 1 << 8
    RECLAIM = 1 << 9
    BUDDY = 1 << 10
    MMAP = 1 << 11
    ANON = 1 << 12
    SWAPCACHE = 1 << 13
    SWAPBACKED = 1 << 14
    COMPOUND_HEAD = 1 << 15
    COMPOUND_TAIL = 1 << 16
    HUGE = 1 << 17
    UNEVICTABLE = 1 << 18
    HWPOISON = 1 << 19
    NOPAGE = 1 << 20
    KSM = 1 << 21
    THP = 1 << 22
    OFFLINE = 1 << 23
    ZERO_PAGE = 1 << 24
    IDLE = 1 << 25
    PGTABLE = 1 << 26
    RESERVED = 1 << 32
    MLOCKED = 1 << 33
    OWNER_2 = 1 << 34
    PRIVATE = 1 << 35
    PRIVATE_2 = 1 << 36
    OWNER_PRIVATE = 1 << 37
    ARCH = 1 << 38
    UNCACHED = 1 << 39
    SOFTDIRTY = 1 << 40
    ARCH_2 = 1 << 41
    ARCH_3 = 1 << 42
