"""The zero pages of the running kernel, found by mapping them.

Memory that was read but never written has no pages of its own. The kernel maps one page of zeros
wherever such memory is read, and one huge page of zeros where huge pages are wanted. The kernel
publishes their page numbers nowhere, so this module maps such memory and looks up its page numbers.
"""

import mmap
import os
import sys

from phyr._phyr import Loan
from phyr.pagemap.proc import PROC, read_file

TYPE_CHECKING = False  # a name that type checkers know, as of `typing`
if TYPE_CHECKING:
    from typing import Any

__all__ = ["has_huge_zero", "probe"]

PFN_MASK = (1 << 55) - 1
PRESENT = 1 << 63
THP = "/sys/kernel/mm/transparent_hugepage"


def probe(granule: int) -> tuple[list[tuple[int, int]], list[mmap.mmap]]:
    """Find the zero page and the huge zero page.

    Args:
        granule: The system's page size in bytes.

    Returns:
        Physical ``(first, last)`` of each zero page, `last` inclusive; no item for a page that is
        hidden or does not exist. And the mappings of these pages: while they exist, the kernel
        keeps the huge zero page, which it makes on demand, at the same address.

    Source:
        ``do_huge_pmd_anonymous_page()``, mm/huge_memory.c, Linux.
    """
    found = []
    kept = []
    pagemap = os.open(f"{PROC}/self/pagemap", os.O_RDONLY)
    try:
        for size in [granule, *_huge_size()]:
            # Read-only, so that no write can ever put an own page there.
            area = mmap.mmap(-1, 3 * size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)
            with Loan(area) as (base, _):
                number = _shared_page(pagemap, area, base, size, granule)
            if number:
                found.append((number * granule, number * granule + size - 1))
                kept.append(area)
            else:
                area.close()
    finally:
        os.close(pagemap)
    return found, kept


def has_huge_zero(found: list[tuple[int, int]], granule: int) -> bool:
    """Return true if the huge zero page is among those found, or this kernel never has one.

    False means look again: the kernel may be told to use one at any time.
    """
    return any(last - first >= granule for first, last in found) or not os.access(THP, os.F_OK)


def _huge_size() -> list[int]:
    """Return the size of the huge zero page in bytes, or 0 if the kernel uses none.

    This check matters: if it is switched off, a read fault would take real huge pages.
    """
    try:
        if int(read_file(f"{THP}/use_zero_page")):
            return [int(read_file(f"{THP}/hpage_pmd_size"))]
    except OSError:
        pass
    return []


def _shared_page(pagemap: int, area: mmap.mmap, base: int, size: int, granule: int) -> int:
    """Read two neighbouring pages of `size` bytes. Return the page number if both have the same.

    Two pages of private memory have the same number only if both are the zero page. 0 means none.
    """
    advice: Any = mmap.MADV_NOHUGEPAGE if size == granule else mmap.MADV_HUGEPAGE
    inside = -base % size
    try:  # noqa: SIM105 - `contextlib` takes long to import
        area.madvise(advice, inside, 2 * size)
    except OSError:
        pass  # a kernel without huge pages knows neither advice, nor needs it
    numbers = []
    for first in (inside, inside + size):
        _ = area[first]
        ends = [
            _page_number(pagemap, (base + first + offset) // granule)
            for offset in (0, size - granule)
        ]
        if not all(ends) or (ends[1] - ends[0] + 1) * granule != size:
            return 0
        numbers.append(ends[0])
    return numbers[0] if numbers[0] == numbers[1] else 0


def _page_number(pagemap: int, page: int) -> int:
    """Return the page number of one page of this process; 0 if it is not present, or hidden."""
    record = int.from_bytes(os.pread(pagemap, 8, page * 8), sys.byteorder)
    return record & PFN_MASK if record & PRESENT else 0
