"""The kernel's data on physical pages: their flags, their users, and the folios they are in."""

import os

from phyr._arguments import items, whole
from phyr._named import Iterable, NamedTuple, Sequence
from phyr._phyr import Column, FolioScan, FrozenPhyr, Phyr, page_records
from phyr.errors import HiddenPagesError, PhyrError, RangeError
from phyr.pagemap.proc import PROC

TYPE_CHECKING = False  # a name that type checkers know, as of `typing`
if TYPE_CHECKING:
    from typing import Self
else:
    Self = object

__all__ = ["Folio", "Folios", "Scan", "counts", "flags"]


class Folio(NamedTuple):
    """Memory in large pages of one kind."""

    origin: str
    """``thp`` (transparent, of any size) or ``hugetlb`` (from the reserve)."""
    sort: str
    """``anon`` or ``file``."""
    shape: str
    """``aligned``: whole, at a multiple of its size; ``unaligned``: whole, elsewhere; ``part``."""
    size: int
    """Bytes of one large page; 0 for a part, whose large page may have any size."""
    length: int
    """Bytes mapped."""


class Folios(NamedTuple):
    """How memory is made up of large and single pages; all figures in bytes."""

    large: tuple[Folio, ...] = ()
    """Memory in large pages, each kind once, in the order of its fields."""
    anon: int = 0
    """Single pages of anonymous memory, those that KSM merged left out."""
    file: int = 0
    """Single pages of files, shared memory among them."""
    ksm: int = 0
    """Single pages that KSM merged."""
    zero: int = 0
    """Pages of zeros, single or huge, that stand in for memory never written."""
    device: int = 0
    """Numbers behind which the kernel has no page: a device's memory."""
    blocks: tuple[tuple[int, int, int], ...] = ()
    """For each block size asked for: size, and bytes of anonymous memory and files in aligned
    blocks of it, each inside one transparent huge page."""
    shared: int = 0
    """Memory of all these kinds that is mapped elsewhere, too, by any process; as the page map
    tells. Zero pages and device memory are left out."""

    @classmethod
    def total(cls, parts: Iterable[Self]) -> Self:
        """Add up.

        Examples:
            >>> Folios.total([Folios(anon=4096), Folios(anon=4096, zero=8192)])[1:5]
            (8192, 0, 0, 8192)
        """
        large: dict[tuple[str, str, str, int], int] = {}
        blocks: dict[int, tuple[int, int]] = {}
        singles = [0] * 6
        for part in parts:
            for folio in part.large:
                key = (folio.origin, folio.sort, folio.shape, folio.size)
                large[key] = large.get(key, 0) + folio.length
            for size, anon, file in part.blocks:
                before = blocks.get(size, (0, 0))
                blocks[size] = before[0] + anon, before[1] + file
            more = (part.anon, part.file, part.ksm, part.zero, part.device, part.shared)
            singles = [total + count for total, count in zip(singles, more, strict=True)]
        anon, file, ksm, zero, device, shared = singles
        return cls(
            tuple(Folio(*key, length) for key, length in sorted(large.items())),
            anon,
            file,
            ksm,
            zero,
            device,
            tuple((size, *both) for size, both in blocks.items()),
            shared,
        )

    def large_bytes(self, **kind: str) -> int:
        """Add up the large pages whose fields have the given values.

        Examples:
            >>> thp = Folio("thp", "anon", "aligned", 2 << 20, 8 << 20)
            >>> Folios((thp,)).large_bytes(sort="anon"), Folios((thp,)).large_bytes(shape="part")
            (8388608, 0)
        """
        return sum(
            folio.length
            for folio in self.large
            if all(getattr(folio, name) == value for name, value in kind.items())
        )


class Scan:
    """Counts folios while a page map is read.

    Args:
        block_sizes: Sizes in bytes of aligned blocks to count, powers of two.

    Raises:
        RangeError: A size is no power of two, or below that of two pages.
        HiddenPagesError: The kernel hides the flags of pages.
        PhyrError: This system has no flags of pages.
        TypeError: A size is not an int.
    """

    def __init__(self, block_sizes: Sequence[int] = ()) -> None:
        """Open the file of flags."""
        self._page_size = os.sysconf("SC_PAGE_SIZE")
        sizes = items("block_sizes", block_sizes, "ints")
        orders = [self._order(whole("a block size", size)) for size in sizes]
        with _proc_errors("kpageflags"):
            path = f"{PROC}/kpageflags"
            self._scan = FolioScan(path, self._page_size, orders)
        self._orders = sorted({*orders})

    def __repr__(self) -> str:
        """Show the sizes of the blocks that it counts."""
        sizes = ", ".join(f"{self._page_size << order:#x}" for order in self._orders)
        return f"Scan(blocks of {sizes} bytes)" if sizes else "Scan(no blocks)"

    def _order(self, size: int) -> int:
        order = (size // self._page_size).bit_length() - 1
        if order < 1 or size != self._page_size << order:
            raise RangeError(
                f"a block of {size:#x} bytes is not a power of two of at least 2 pages", size=size
            )
        return order

    @property
    def counter(self) -> FolioScan:
        """The counter that takes the records."""
        return self._scan

    def feed(self, uaddr: int, records: memoryview) -> None:
        """Take page-map records of the pages from user virtual address `uaddr` on."""
        with _proc_errors("kpageflags"):
            self._scan.feed(uaddr, records)

    def finish(self) -> Folios:
        """Give what was counted, and start over."""
        with _proc_errors("kpageflags"):
            large, singles, blocks = self._scan.finish()
        page = self._page_size
        anon, file, ksm, zero, device, shared = (page * pages for pages in singles)
        return Folios(
            tuple(
                Folio(origin, sort, shape, page << order if order else 0, page * pages)
                for origin, sort, shape, order, pages in sorted(large)
            ),
            anon,
            file,
            ksm,
            zero,
            device,
            tuple((page << order, page * anon, page * file) for order, anon, file in blocks),
            shared,
        )


def flags(phyr: Phyr | FrozenPhyr) -> Column:
    """Give the kernel's flags of each page of a list: bits of `PageFlag`.

    Args:
        phyr: A list of RAM; its granule is the system's page size, or a multiple.

    Returns:
        A number for each page that the list touches, in the list's order; `PageFlag.NOPAGE` where
        there is no page. It costs the kernel some 0.1 us a page.

    Raises:
        HiddenPagesError: It takes root to read them.
        AlignmentError: The list's granule is smaller than a page.
        PhyrError: This system has no flags of pages.

    Examples:
        .. code-block:: python

            for number in flags(phyr.pagemap.of(buffer)):
                print(PageFlag(number))

    Source:
        ``/proc/kpageflags``, Documentation/admin-guide/mm/pagemap.rst, Linux.
    """
    from phyr.pagemap.states import PageFlag  # noqa: PLC0415 - not every reading needs it

    with _proc_errors("kpageflags"):
        path, page_size = f"{PROC}/kpageflags", os.sysconf("SC_PAGE_SIZE")
        return page_records(path, phyr, page_size, PageFlag.NOPAGE)


def counts(phyr: Phyr | FrozenPhyr) -> Column:
    """Give how many times each page of a list is mapped, by any process.

    Args:
        phyr: A list of RAM; its granule is the system's page size, or a multiple.

    Returns:
        A number for each page that the list touches, in the list's order; 0 where there is no
        page. For a page inside a folio recent kernels may give the folio's average.

    Raises:
        HiddenPagesError: It takes root to read them.
        AlignmentError: The list's granule is smaller than a page.
        PhyrError: This system does not count.

    Source:
        ``/proc/kpagecount``, Documentation/admin-guide/mm/pagemap.rst, Linux.
    """
    with _proc_errors("kpagecount"):
        path, page_size = f"{PROC}/kpagecount", os.sysconf("SC_PAGE_SIZE")
        return page_records(path, phyr, page_size, 0)


class _proc_errors:  # noqa: N801 - used like a function
    """Turn what the kernel answers into phyr's exceptions."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Raise another exception."""
        if isinstance(error, PermissionError) and not isinstance(error, HiddenPagesError):
            text = f"{PROC}/{self._name} is for root: run as root (CAP_SYS_ADMIN)"
            raise HiddenPagesError(error.errno, text) from error
        if isinstance(error, FileNotFoundError):
            text = f"this system has no {PROC}/{self._name} (CONFIG_PROC_PAGE_MONITOR)"
            raise PhyrError(text) from error
