"""Text files of /proc: the VMAs of a process, and the machine's RAM.

Nothing here needs privileges. Information that the kernel hides is reported as hidden.
"""

import errno
import os

from phyr._named import NamedTuple
from phyr.errors import HiddenPagesError, PhyrError, ProcessGoneError, RangeError

TYPE_CHECKING = False  # a name that type checkers know, as of `typing`
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

__all__ = [
    "Pid",
    "Vma",
    "gone",
    "is_device_memory",
    "open_process",
    "process_errors",
    "ram_ranges",
    "read_file",
    "read_pmd_mapped",
    "read_stat",
    "read_vmas",
    "spelt",
]

if TYPE_CHECKING:
    Pid: TypeAlias = int | Literal["self"]
else:
    Pid = int | str
"""A process: its number, or this one."""

PROC = "/proc"


class Vma(NamedTuple):
    """One virtual memory area of a process: a line of ``/proc/PID/maps``.

    Examples:
        >>> vma = Vma(0x1000, 0x3000, "rw-p", 0, "00:00", 0, "[heap]")
        >>> vma.length
        8192
    """

    start: int
    """User virtual address of the first byte."""
    end: int
    """User virtual address after the last byte."""
    perms: str
    """Four letters: read, write, execute, private or shared; ``-`` for a missing right."""
    offset: int
    """Byte of the mapped file that lies at `start`; 0 for anonymous memory."""
    device: str
    """``major:minor`` of the file's device, hexadecimal."""
    inode: int
    """Inode of the mapped file; 0 for anonymous memory."""
    name: str
    """Path, ``[heap]`` and the like, or empty. A line feed is written ``\\012``, as in ``maps``."""

    @property
    def length(self) -> int:
        """Bytes from start to end."""
        return self.end - self.start


class process_errors:  # noqa: N801 - used like a function
    """Turn the kernel's errors about a process into exceptions of phyr.

    Raises:
        ProcessGoneError: ESRCH or ENOENT: there is no such process any more. Or EACCES for one that
            has no memory: of those the kernel lets only root look.
        HiddenPagesError: EACCES or EPERM: this process may not look at that one.
    """

    def __init__(self, pid: Pid) -> None:
        """Remember whose errors they are."""
        self._pid = pid

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Raise another exception."""
        if isinstance(error, (ProcessLookupError, FileNotFoundError)):
            raise gone(self._pid) from error
        if isinstance(error, PermissionError):
            if not _has_memory(self._pid):
                raise gone(self._pid) from error
            text = (
                f"{spelt(self._pid)} may not be looked into: that takes the right to trace it "
                "(CAP_SYS_PTRACE, or the same user), and CAP_SYS_ADMIN for its page numbers"
            )
            raise HiddenPagesError(error.errno, text, pid=self._pid) from error


def read_file(path: str) -> bytes:
    """Read a file; without `pathlib`, as importing it takes longer than reading most processes."""
    with open(path, "rb") as file:  # noqa: PTH123 - quick
        return file.read()


class Stat(NamedTuple):
    """Facts of a process that everyone may know, from ``/proc/PID/stat``."""

    name: str
    """Name of the program, at most 15 bytes of it."""
    is_zombie: bool
    """It has ended and was not waited for."""
    is_kernel_thread: bool
    """It has no memory of its own."""


_KERNEL_THREAD = 0x20_0000  # PF_KTHREAD, include/linux/sched.h


def read_stat(pid: Pid) -> Stat:
    """Read what everyone may know of a process.

    Raises:
        OSError: It is not there.
    """
    text = read_file(f"{PROC}/{pid}/stat").decode(errors="backslashreplace")
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    return Stat(name, fields[0] == "Z", bool(int(fields[6]) & _KERNEL_THREAD))


def _has_memory(pid: Pid) -> bool:
    """Return false for a process that is known to have none."""
    try:
        stat = read_stat(pid)
    except OSError:
        return True
    return not (stat.is_zombie or stat.is_kernel_thread)


def spelt(pid: Pid) -> str:
    """Name a process in the text of an error."""
    return "this process" if pid == "self" else f"process {pid}"


def gone(pid: Pid) -> ProcessGoneError:
    """Return the exception for a process without readable memory."""
    text = f"{spelt(pid)} has no memory to read: it is not there, has ended, or is a kernel thread"
    return ProcessGoneError(errno.ESRCH, text, pid=pid)


def open_process(pid: Pid) -> int:
    """Open the directory of a process under /proc.

    A file that is opened relative to this descriptor belongs to this process, or the open fails,
    even if another process gets the same number meanwhile.

    Args:
        pid: Number of the process (of any of its threads, too), or ``"self"``.

    Returns:
        A file descriptor, which the caller must close.

    Raises:
        RangeError: `pid` is neither ``"self"`` nor a number above 0.
        PhyrError: This system has no page maps: it is not Linux, or has no /proc.
        ProcessGoneError: There is no such process.
        HiddenPagesError: This process may not read that process.
    """
    if pid != "self" and not _is_number(pid):
        shown = pid if hasattr(type(pid), "__index__") else repr(pid)
        raise RangeError(f"pid {shown} is neither 'self' nor a number above 0", pid=pid)
    if not os.access(f"{PROC}/self/pagemap", os.F_OK):
        raise PhyrError(f"page maps need Linux: this system has no {PROC}/self/pagemap")
    with process_errors(pid):
        return os.open(f"{PROC}/{pid}", os.O_RDONLY | os.O_DIRECTORY)


def _is_number(pid: object) -> bool:
    """Return true for a number above 0, also one of NumPy; True does not count."""
    if isinstance(pid, bool) or not hasattr(type(pid), "__index__"):
        return False
    return bool(pid.__index__() > 0)  # type: ignore[attr-defined]


def read_vmas(process: int, pid: Pid) -> list[Vma]:
    """Read the VMAs of a process, in address order.

    Args:
        process: Descriptor from `open_process`.
        pid: The same process, for the text of errors.

    Raises:
        ProcessGoneError: It has ended.
        HiddenPagesError: This process may not read that process.
    """
    with process_errors(pid), os.fdopen(os.open("maps", os.O_RDONLY, dir_fd=process), "rb") as maps:
        # Not splitlines(): a file's name may hold any byte except the line feed, which is escaped.
        return [_parse(line) for line in os.fsdecode(maps.read()).split("\n") if line]


_PMD_MAPPED = {"AnonHugePages": 0, "ShmemPmdMapped": 1, "FilePmdMapped": 1}


def read_pmd_mapped(process: int, pid: Pid) -> dict[int, tuple[int, int]]:
    """Read how much of each VMA is mapped by entries for whole huge pages.

    The kernel walks all page tables for this.

    Args:
        process: Descriptor from `open_process`.
        pid: The same process, for the text of errors.

    Returns:
        For the start of each VMA with any: bytes of anonymous memory, and bytes of files.

    Raises:
        ProcessGoneError: It has ended.
        HiddenPagesError: It may not be looked into.

    Source:
        ``show_smap()``, fs/proc/task_mmu.c, Linux.
    """
    found: dict[int, tuple[int, int]] = {}
    start = 0
    with (
        process_errors(pid),
        os.fdopen(os.open("smaps", os.O_RDONLY, dir_fd=process), "rb") as smaps,
    ):
        for line in smaps.read().split(b"\n"):
            word, _, rest = line.partition(b" ")
            if not word.endswith(b":"):
                start = int(word.partition(b"-")[0] or b"0", 16)
            elif (which := _PMD_MAPPED.get(word[:-1].decode())) is not None:
                sizes = [*found.get(start, (0, 0))]
                sizes[which] += int(rest.split()[0]) << 10
                if any(sizes):
                    found[start] = (sizes[0], sizes[1])
    return found


def _parse(line: str) -> Vma:
    """Parse one line of ``maps``; a name may contain blanks."""
    span, perms, offset, device, inode, *name = line.split(maxsplit=5)
    start, end = _span(span)
    return Vma(start, end, perms, int(offset, 16), device, int(inode), "".join(name))


def _span(text: str) -> tuple[int, int]:
    first, second = text.split("-")
    return int(first, 16), int(second, 16)


def is_device_memory(uaddr: int) -> bool:
    """Return true if this process has a device's own memory at an address, such as a BAR.

    There are no pages behind it, and the page map shows a hole there.

    Source:
        ``VM_PFNMAP``, the flag ``pf`` of Documentation/filesystems/proc.rst, Linux.
    """
    inside = False
    for line in os.fsdecode(read_file(f"{PROC}/self/smaps")).splitlines():
        first = line.split(maxsplit=1)[0]
        if first == "VmFlags:":
            if inside:
                return "pf" in line.split()
        elif not first.endswith(":"):
            start, end = _span(first)
            inside = start <= uaddr < end
    return False


def ram_ranges() -> list[tuple[int, int]] | None:
    """Return the ranges of the machine's RAM, from ``/proc/iomem``.

    Memory that was plugged in later or handed over by a device driver is listed as "System RAM"
    inside another resource. It counts as RAM.

    Returns:
        Physical ``(first, last)`` of each stretch, ascending, `last` inclusive; or None if the
        kernel does not say: there is no such file, or addresses read 0 for lack of CAP_SYS_ADMIN.

    Source:
        ``walk_system_ram_range()`` and ``r_show()``, kernel/resource.c, Linux.
    """
    try:
        lines = os.fsdecode(read_file(f"{PROC}/iomem")).splitlines()
    except OSError:
        return None
    found = []
    for line in lines:
        span, _, name = line.strip().partition(" : ")
        if name.startswith("System RAM"):
            found.append(_span(span))
    ranges: list[tuple[int, int]] = []
    for first, last in sorted(found):
        if ranges and first <= ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], max(last, ranges[-1][1]))
        else:
            ranges.append((first, last))
    return None if ranges in ([], [(0, 0)]) else ranges
