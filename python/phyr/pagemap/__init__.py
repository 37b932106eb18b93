"""The pages of a live process: the physical memory under its virtual addresses.

Linux tells a privileged reader which physical page is behind each virtual page
(``/proc/PID/pagemap``). This module reads that file in large pieces directly into a list, and tells
RAM from other memory:

======== ===========================================================================================
state    the memory is
======== ===========================================================================================
`ram`    present: it has physical pages of its own, or shares them with others
`device` present, but no RAM: a device's memory, mapped into the process
`zero`   read but never written: the kernel's page of zeros stands in for it
`swap`   in swap, or just being moved
`hole`   not there: never touched, given back, or not mapped at all
======== ===========================================================================================

Reading page numbers needs CAP_SYS_ADMIN in the initial user namespace, which root usually has.
Without it, every function here except `vmas` raises `HiddenPagesError` at the first present page. A
hidden number is never taken for page 0.

**Nothing is pinned.** The result was true when it was read. The kernel moves pages when it compacts
memory or makes huge pages, even after ``mlock``; it also swaps pages out and frees them. For DMA,
pin first. If a region is mapped or unmapped during a read, the result shows its state when that
piece was read. If the process ends, `ProcessGoneError` is raised.

``/proc/iomem`` tells device memory from RAM. If it is missing or shows no addresses, device pages
count as RAM, and `Pagemap.ram` is None. Pages that a driver maps by number only (``VM_PFNMAP``: a
PCI BAR through sysfs or VFIO, ``[vvar]``) are not in the kernel's page map and read as a hole.

Source:
    Documentation/admin-guide/mm/pagemap.rst; ``pagemap_read()``, fs/proc/task_mmu.c, Linux.
"""

import os

from phyr import _linux  # noqa: F401 - ends on Windows
from phyr._named import TYPE_CHECKING, Sequence
from phyr._phyr import Phyr
from phyr.pagemap.address import lent
from phyr.pagemap.own import own_pages
from phyr.pagemap.page_flags import Folio, Folios, Scan, counts, flags
from phyr.pagemap.proc import Pid, Vma, open_process, read_vmas
from phyr.pagemap.process import Extent, Pagemap, Progress, Resident

if TYPE_CHECKING:  # pragma: no cover - see `__getattr__`
    from phyr.pagemap.states import PageFlag, State

__all__ = [
    "Extent",
    "Folio",
    "Folios",
    "PageFlag",
    "Pagemap",
    "Pid",
    "Progress",
    "Resident",
    "Scan",
    "State",
    "Vma",
    "counts",
    "flags",
    "folios",
    "of",
    "present",
    "read",
    "resident",
    "vmas",
]

if not TYPE_CHECKING:  # pragma: no branch - who checks types knows the names

    def __getattr__(name: str) -> object:
        """Import an enumeration on first use."""
        if name not in ("PageFlag", "State"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from phyr.pagemap import states  # noqa: PLC0415 - not every reading needs them

        value = globals()[name] = getattr(states, name)
        return value

    def __dir__() -> list[str]:
        """Return all names, including those that are loaded later."""
        return sorted({*globals(), "PageFlag", "State"})


def read(pid: Pid, start: int, length: int, *, progress: Progress | None = None) -> list[Extent]:
    """Read the memory under a range of a process's virtual addresses.

    Args:
        pid: Number of the process, or ``"self"``.
        start: User virtual address of the first byte; need not be page aligned.
        length: Bytes.
        progress: Called now and then with bytes done and bytes in all.

    Returns:
        Extents that cover the range without gaps, in address order. Neighbours differ in state.

    Raises:
        RangeError: The range passes 2^64, or `pid` is not a process number.
        HiddenPagesError: The kernel hides page numbers, or the process as a whole.
        ProcessGoneError: There is no such process, or it ended meanwhile.
        PhyrError: This system has no page maps.

    Examples:
        .. code-block:: python

            for uaddr, length, state, phyr in read("self", start, length):
                print(f"{uaddr:#x}+{length:#x} {state}", phyr)
    """
    with Pagemap(pid) as pagemap:
        return pagemap.read(start, length, progress=progress)


def present(
    pid: Pid, start: int, length: int, *, progress: Progress | None = None
) -> list[tuple[int, Phyr]]:
    """Read the RAM under a range: virtual start and list of each stretch.

    Arguments and exceptions as for `read`. Everything else is left out: device memory, zero pages,
    swapped pages, holes.
    """
    with Pagemap(pid) as pagemap:
        return pagemap.present(start, length, progress=progress)


def resident(pid: Pid, start: int, length: int, *, progress: Progress | None = None) -> Resident:
    """Read all RAM under a range as one list, and count the bytes in each state.

    Arguments and exceptions as for `read`. Faster than `read` if there are many holes.
    """
    with Pagemap(pid) as pagemap:
        return pagemap.resident(start, length, progress=progress)


def folios(
    pid: Pid,
    start: int,
    length: int,
    *,
    block_sizes: Sequence[int] = (),
    progress: Progress | None = None,
) -> Folios:
    """Count the large pages under a range: transparent of any size, and from the reserve.

    Other arguments and exceptions are those of `read`. All of a page counts, also where only some
    bytes of it are asked for. Each page costs the kernel some 0.1 us.

    Args:
        pid: Number of the process, or ``"self"``.
        start: User virtual address of the first byte.
        length: Bytes.
        block_sizes: Sizes in bytes, powers of two: also count memory in aligned blocks of these,
            each inside one transparent huge page.
        progress: Called now and then with bytes done and bytes in all.

    Returns:
        Bytes by kind of page. A large page is whole if all of it is mapped, side by side, in the
        range; else what is mapped of it counts as part.

    Raises:
        RangeError: As for `read`; or a block size is no power of two of at least two pages.
        HiddenPagesError: As for `read`; the flags of pages take root.

    Examples:
        .. code-block:: python

            found = folios(pid, vma.start, vma.length, block_sizes=[64 << 10])
            found.large_bytes(sort="anon", shape="aligned"), found.blocks

    Source:
        The rules of ``tools/mm/thpmaps``, Linux.
    """
    with Pagemap(pid) as pagemap:
        return pagemap.folios(start, length, block_sizes=block_sizes, progress=progress)


def of(buffer: object) -> Phyr:
    """Return the physical memory of one of this process's own buffers.

    The list stands for the buffer byte by byte: ``of(b)[i]`` is the physical address of byte ``i``.
    It is a snapshot, **not a pin**: the kernel may move the pages at any time, so it must not be
    used for DMA without a pin.

    The page map stays open for the next call; a fork or ``exec`` closes it.

    Args:
        buffer: Anything with the buffer protocol and contiguous memory: bytes, bytearray, mmap,
            memoryview, array, a NumPy array. Or memory by its address, ``(uaddr, length)``.

    Raises:
        RangeError: Some of it is not in RAM; the attributes `uaddr`, `length` and `state` say
            where. Memory that was never written has no pages yet. Or it passes 2^64.
        ArrayTypeError: It has no buffer, and is not two integers.
        ArrayError: Its memory is not contiguous.
        HiddenPagesError: The kernel hides page numbers.
        PhyrError: This system has no page maps.

    Examples:
        .. code-block:: python

            ring = numpy.zeros(4096, dtype=numpy.uint64)
            ring[:] = 0
            hex(of(ring)[8])
    """
    with lent(buffer) as (uaddr, length):
        return own_pages(uaddr, length, is_written=False)


def vmas(pid: Pid = "self") -> list[Vma]:
    """List the virtual memory areas of a process, with their names, in address order.

    A kernel thread has none, and neither has a process that ended but was not waited for.

    Args:
        pid: Number of the process, or ``"self"``.

    Raises:
        RangeError: `pid` is neither ``"self"`` nor a number above 0.
        HiddenPagesError: This process may not read that process.
        ProcessGoneError: There is no such process.
        PhyrError: This system has no /proc.
    """
    process = open_process(pid)
    try:
        return read_vmas(process, pid)
    finally:
        os.close(process)


del TYPE_CHECKING
