"""An open page map, which returns extents of virtual memory and their physical pages."""

import os

from phyr._arguments import whole
from phyr._named import Callable, Iterator, NamedTuple, Sequence
from phyr._phyr import Builder, FolioScan, Phyr
from phyr._scope import Scope
from phyr.errors import MismatchError, RangeError
from phyr.pagemap.address import lent
from phyr.pagemap.page_flags import Folios, Scan
from phyr.pagemap.proc import Pid, Vma, is_device_memory, read_pmd_mapped, read_vmas
from phyr.pagemap.reader import Reader, Run

TYPE_CHECKING = False  # a name that type checkers know, as of `typing`
if TYPE_CHECKING:
    from typing import TypeAlias

    from phyr.pagemap.states import State
else:
    State = str  # a state is a text, too

__all__ = ["Extent", "Pagemap", "Progress", "Resident"]


Progress: "TypeAlias" = Callable[[int, int], object]
"""A function that is called with bytes done and bytes in all."""


class Extent(NamedTuple):
    """A stretch of virtual addresses in one state."""

    uaddr: int
    """User virtual address of the first byte."""
    length: int
    """Bytes."""
    state: State
    """``ram``, ``device``, ``zero``, ``swap`` or ``hole``."""
    phyr: Phyr | None
    """Its physical pages, of `length` bytes; None unless `state` is ``ram`` or ``device``."""


class Resident(NamedTuple):
    """The RAM under a range as one list, and the bytes of the range in each state."""

    phyr: Phyr
    """All RAM, in the order of the virtual addresses, without the holes."""
    ram: int
    """Bytes of RAM: the length of `phyr`."""
    device: int
    """Bytes of device memory."""
    zero: int
    """Bytes of zero pages."""
    swap: int
    """Bytes in swap."""
    hole: int
    """Bytes of holes."""


class Pagemap(Scope):
    """The page map of one process, held open.

    Use it to read more than once: opening asks the kernel for the machine's RAM and its zero pages,
    which takes longer than reading the map of some megabytes. Close it, best by ``with``. After
    that, everything except `granule` and `ram` raises `ClosedError`. Use it in one thread at a
    time.

    Args:
        pid: Number of the process, or ``"self"``.

    Raises:
        RangeError: `pid` is neither ``"self"`` nor a number above 0.
        PhyrError: This system has no page maps: it is not Linux, or has no /proc.
        ProcessGoneError: There is no such process, or it has no memory.
        HiddenPagesError: This process may not read that process.

    Examples:
        .. code-block:: python

            with Pagemap(pid) as pagemap:
                for vma in pagemap.vmas():
                    print(vma.name, pagemap.resident(vma.start, vma.length).ram)
    """

    def __init__(self, pid: Pid = "self") -> None:
        """Open the page map."""
        self._reader = Reader(pid)
        # Descriptors survive fork(), and still show the parent's memory in the child.
        self._owner = os.getpid() if pid == "self" else pid

    def __repr__(self) -> str:
        """Show whose it is."""
        return f"Pagemap(pid {self._owner}{', closed' if self._reader.pagemap < 0 else ''})"

    def _end(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptors. A second call does nothing."""
        self._reader.close()

    @property
    def is_own(self) -> bool:
        """True if it is open and shows the memory of the calling process, by the file it opened."""
        return self._owner == os.getpid() and self._reader.is_intact()

    @property
    def granule(self) -> int:
        """The system's page size in bytes, and the granule of every list read."""
        return self._reader.granule

    @property
    def ram(self) -> Sequence[tuple[int, int]] | None:
        """Physical ``(first, last)`` of the machine's RAM, or None if the kernel hides it."""
        return self._reader.ram

    def renew_zero(self) -> None:
        """Look for the kernel's huge page of zeros once more, if there was none at the opening."""
        self._reader.renew_zero()

    def vmas(self) -> list[Vma]:
        """Like `phyr.pagemap.vmas`."""
        self._reader.check_open()
        return read_vmas(self._reader.process, self._reader.pid)

    def pmd_mapped(self) -> dict[int, tuple[int, int]]:
        """Give the bytes mapped by whole huge pages, anonymous and of files, by start of VMA."""
        self._reader.check_open()
        return read_pmd_mapped(self._reader.process, self._reader.pid)

    def read(self, start: int, length: int, *, progress: Progress | None = None) -> list[Extent]:
        """Like `phyr.pagemap.read`."""
        from phyr.pagemap.states import STATES  # noqa: PLC0415 - not every reading needs them

        extents: list[Extent] = []
        for uaddr, size, name, phyr in self._extents(start, length, progress, join=False):
            # Only two holes can meet here: one of the process, and one beyond its address space.
            if extents and extents[-1].state == name == "hole":
                first, before, state, _ = extents[-1]
                extents[-1] = Extent(first, before + size, state, None)
            else:
                extents.append(Extent(uaddr, size, STATES[name], phyr))
        return extents

    def present(
        self, start: int, length: int, *, progress: Progress | None = None
    ) -> list[tuple[int, Phyr]]:
        """Like `phyr.pagemap.present`."""
        extents = self._extents(start, length, progress, join=False)
        return [
            (uaddr, phyr)
            for uaddr, _, state, phyr in extents
            if state == "ram" and phyr is not None
        ]

    def resident(
        self,
        start: int,
        length: int,
        *,
        progress: Progress | None = None,
        scan: Scan | None = None,
        stretches: list[tuple[int, Phyr]] | None = None,
    ) -> Resident:
        """Like `phyr.pagemap.resident`; `scan` is fed with the same records, in whole pages.

        `stretches` gets what `present` returns, of the same look.
        """
        sizes = dict.fromkeys(("ram", "device", "zero", "swap", "hole"), 0)
        lists = []
        counter = None if scan is None else scan.counter
        join = stretches is None
        for uaddr, size, state, phyr in self._extents(
            start, length, progress, join=join, scan=counter
        ):
            sizes[state] += size
            if state == "ram" and phyr is not None:
                lists.append(phyr)
                if stretches is not None:
                    stretches.append((uaddr, phyr))
        return Resident(self._joined(lists), **sizes)

    def folios(
        self,
        start: int,
        length: int,
        *,
        block_sizes: Sequence[int] = (),
        progress: Progress | None = None,
    ) -> Folios:
        """Like `phyr.pagemap.folios`."""
        scan = Scan(block_sizes)
        self.resident(start, length, progress=progress, scan=scan)
        return scan.finish()

    def of(self, buffer: object) -> Phyr:
        """Like `phyr.pagemap.of`. This must be the page map of the calling process."""
        with lent(buffer) as (uaddr, length):
            return self.of_range(uaddr, length)

    def of_range(self, uaddr: int, length: int) -> Phyr:
        """Like `of`, for memory given by its address, which is not checked."""
        if self._owner != os.getpid():
            raise MismatchError(
                f"the page map of process {self._owner} does not show the buffers of {os.getpid()}",
                pid=self._owner,
            )
        head = uaddr % self.granule
        phyr = self._reader.glance(uaddr - head, -(-(head + length) // self.granule))
        if phyr is not None:
            return phyr if phyr.length == length else phyr[head : head + length]
        extents = self.read(uaddr, length)
        for extent in extents:
            if extent.state != "ram":
                raise RangeError(
                    f"buffer {uaddr:#x}+{length:#x} is not all in RAM: "
                    f"{extent.uaddr:#x}+{extent.length:#x} is {_spelt(extent)}",
                    uaddr=extent.uaddr,
                    length=extent.length,
                    state=extent.state,
                )
        return self._joined([extent.phyr for extent in extents if extent.phyr is not None])

    def _joined(self, lists: list[Phyr]) -> Phyr:
        if len(lists) == 1:
            return lists[0]
        builder = Builder(self.granule)
        for phyr in lists:
            builder.extend(phyr)
        return builder.finish()

    def _extents(
        self,
        start: int,
        length: int,
        progress: Progress | None,
        *,
        join: bool,
        scan: FolioScan | None = None,
    ) -> Iterator[Run]:
        """Read a range of bytes: whole pages, with the ends trimmed to the range."""
        start, length = whole("start", start), whole("length", length)
        if start < 0 or length < 0 or start + length > 1 << 64:
            raise RangeError(
                f"range {start:#x}+{length:#x} is outside 64 bits", start=start, length=length
            )
        end = start + length
        for first, after in _stretches(start, end, self.granule, join=join):
            reached = _bytes(start, end, progress)
            runs = self._reader.runs(first, after, join=join, progress=reached, scan=scan)
            for run in runs:
                for uaddr, size, state, phyr in run:
                    if start <= uaddr and uaddr + size <= end:
                        yield uaddr, size, state, phyr
                        continue
                    front = max(start - uaddr, 0)
                    back = min(size, end - uaddr)
                    part = None if phyr is None else phyr[front:back]
                    yield uaddr + front, back - front, state, part


def _spelt(extent: Extent) -> str:
    """Say what memory is that has no RAM, and what helps."""
    if extent.state == "hole" and is_device_memory(extent.uaddr):
        return _DEVICE
    return _IS[extent.state]


_DEVICE = (
    "a device's own memory, such as a BAR: the page map does not show it, and nothing has to pin it"
)
_IS = {
    "device": "device memory",
    "zero": "a zero page that stands in for memory never written: write to it first",
    "swap": "swapped out: touch it first",
    "hole": "not there: write to it first",
}


def _stretches(start: int, end: int, granule: int, *, join: bool) -> list[tuple[int, int]]:
    """Round a range of bytes out to whole pages.

    If extents are joined, a page that is only partly in the range is a stretch of its own, because
    its bytes could not be separated later.
    """
    marks = [start - start % granule, end + -end % granule]
    if join and marks != [start, end]:
        marks += [start + -start % granule, end - end % granule]
        marks = sorted(set(marks))
    return list(zip(marks, marks[1:], strict=False)) if start < end else []  # noqa: RUF007 - quick


def _bytes(start: int, end: int, progress: Progress | None) -> Callable[[int], object]:
    """Convert the address reached into bytes done and bytes in all."""
    if progress is None:
        return lambda _: None
    return lambda uaddr: progress(min(uaddr, end) - start, end - start)
