"""Which processes, and which of their VMAs."""

import os

from phyr._named import Callable, NamedTuple, Sequence
from phyr.errors import PhyrError
from phyr.pagemap.proc import PROC, Pid, Vma, read_file

__all__ = [
    "Chosen",
    "Wanted",
    "choose",
    "command_of",
    "every",
    "range_of",
    "refuse_nothing",
    "running",
    "take_pids",
    "vma_filter",
]

Wanted = Callable[[Vma], bool]

_CGROUPS = "/sys/fs/cgroup"
_DIGITS = 20
_TOP = 1 << 64


class Chosen(NamedTuple):
    """Processes to look at."""

    pids: list[Pid]
    named: Sequence[Pid]
    """Named one by one, and must be readable; of the others, those that are not are left out."""


def take_pids(texts: Sequence[str]) -> list[Pid]:
    """Read process numbers, and ``self``.

    Raises:
        ValueError: One is neither.
    """
    pids: list[Pid] = []
    for text in texts:
        # No number that the system could mean has more digits, and Python refuses to read some.
        is_number = text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text)
        if text != "self" and not is_number:
            raise ValueError(f"{text!r} is neither a process number nor 'self'.")
        pids.append("self" if text == "self" else int(text))
    return pids


def choose(pids: Sequence[Pid], cgroups: Sequence[str], names: Sequence[str]) -> Chosen:
    """Find the processes that are meant.

    Args:
        pids: Named one by one.
        cgroups: Directories of control groups; those inside them count.
        names: Patterns of a process's command, as of a shell.

    Raises:
        PhyrError: No process fits, or there is no such group.
    """
    chosen = list(dict.fromkeys(pids))
    for group in cgroups:
        chosen += _in_cgroup(group)
    if names:
        chosen += [pid for pid in running() if any(_fits(command_of(pid), name) for name in names)]
    if not chosen:
        text = f"no process is in {', '.join(cgroups)}" if cgroups else "no process has that name"
        raise PhyrError(text)
    return Chosen(list(dict.fromkeys(chosen)), list(dict.fromkeys(pids)))


def running() -> list[Pid]:
    """List all processes but this one, ascending."""
    me = os.getpid()
    found = (int(name) for name in os.listdir(PROC) if name.isdigit())  # noqa: PTH208
    return sorted(pid for pid in found if pid != me)


def _in_cgroup(group: str) -> list[int]:
    """List the processes of a control group and of those inside it, ascending."""
    from pathlib import Path  # noqa: PLC0415 - takes longer than many a map

    top = Path(group)
    if not (top / "cgroup.procs").is_file():
        top = Path(_CGROUPS) / group.lstrip("/")
    if not (top / "cgroup.procs").is_file():
        raise PhyrError(f"{group} is no control group: it has no cgroup.procs")
    found = []
    for directory, _, files in os.walk(top):
        if "cgroup.procs" in files:
            found += Path(directory, "cgroup.procs").read_text().split()
    # 0 stands for processes outside this container.
    return sorted({int(pid) for pid in found} - {0})


def command_of(pid: Pid) -> str:
    """Give a process's command, as ``ps`` shows it; empty if it has ended."""
    try:
        text = read_file(f"{PROC}/{pid}/comm")
    except OSError:
        return ""
    return os.fsdecode(text.removesuffix(b"\n"))


def vma_filter(texts: Sequence[str]) -> Wanted:
    """Make the test that a VMA must pass: one of the filters fits, or there is none.

    Args:
        texts: ``anon``, ``file``, ``heap``, ``stack``; what starts with ``0x``, as of `range_of`;
            or a pattern of names, as of a shell.

    Raises:
        ValueError: What starts with ``0x`` is no range.
    """
    if not texts:
        return every
    tests = [_one_filter(text) for text in texts]
    return lambda vma: any(test(vma) for test in tests)


def every(_vma: Vma) -> bool:
    """Return true: the filter of those who ask for no part."""
    return True


def refuse_nothing(rows: Sequence[object], wanted: Wanted) -> None:
    """Refuse a filter that left no row.

    Raises:
        PhyrError: It did.
    """
    if wanted is not every and not rows:
        raise PhyrError("no VMA fits --vma")


def _one_filter(text: str) -> Wanted:
    kinds: dict[str, Wanted] = {
        "anon": lambda vma: not vma.inode and not vma.name.startswith("[v"),
        "file": lambda vma: vma.inode != 0,
        "heap": lambda vma: vma.name == "[heap]",
        "stack": lambda vma: vma.name.startswith("[stack"),
    }
    if text in kinds:
        return kinds[text]
    if text[:2].lower() == "0x":  # as no name does
        start, end = range_of(text)
        return lambda vma: vma.start < end and start < vma.end
    return lambda vma: _fits(vma.name, text)


def _fits(text: str, pattern: str) -> bool:
    from fnmatch import fnmatchcase  # noqa: PLC0415 - takes longer than many a map

    return fnmatchcase(text, pattern)


def range_of(text: str) -> tuple[int, int]:
    """Read ``start-end``, ``base+length``, or one address; give start and end, which is excluded.

    Numbers are hexadecimal with ``0x``, else decimal.

    Raises:
        ValueError: It is none of these, or has no bytes, or passes 2^64.

    Examples:
        >>> range_of("0x1000-0x1020"), range_of("0x1000+0x20"), range_of("4096")
        ((4096, 4128), (4096, 4128), (4096, 4097))
    """
    first, sign, second = text.partition("+" if "+" in text else "-")
    try:
        # Python reads underscores, signs and blanks too, and refuses very long numbers.
        if set(text.lower()) - set("0123456789abcdefx+-"):
            raise ValueError  # noqa: TRY301 - one way out
        start = int(first, 0)
        number = int(second, 0) if sign else 1
    except ValueError:
        examples = "an address such as 0x1000, nor a range 0x1000-0x3000 or 0x1000+0x2000"
        raise ValueError(f"{text!r} is neither {examples}.") from None
    end = number if sign == "-" else start + number
    if not start < end <= _TOP:
        raise ValueError(f"range {text!r} is empty, ends before it starts or passes 2^64.")
    return start, end
