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
    "range_of",
    "running",
    "take_pids",
    "vma_filter",
]

Wanted = Callable[[Vma], bool]

_CGROUPS = "/sys/fs/cgroup"
_DIGITS = 20


class Chosen(NamedTuple):
    """Processes to look at."""

    pids: list[Pid]
    by_name: bool
    """They were not named one by one: those that cannot be read are left out, and counted."""


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
    return Chosen(list(dict.fromkeys(chosen)), by_name=not pids)


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
        texts: ``anon``, ``file``, ``heap``, ``stack``; an address or a range ``0x1000-0x2000``; or
            a pattern of names, as of a shell.

    Raises:
        ValueError: A range ends before it starts.
    """
    tests = [_one_filter(text) for text in texts]
    return lambda vma: not tests or any(test(vma) for test in tests)


def _one_filter(text: str) -> Wanted:
    kinds: dict[str, Wanted] = {
        "anon": lambda vma: not vma.inode and not vma.name.startswith("[v"),
        "file": lambda vma: vma.inode != 0,
        "heap": lambda vma: vma.name == "[heap]",
        "stack": lambda vma: vma.name.startswith("[stack"),
    }
    if text in kinds:
        return kinds[text]
    if (span := range_of(text)) is not None:
        start, end = span
        if end <= start:
            raise ValueError(f"range {text!r} ends before it starts.")
        return lambda vma: vma.start < end and start < vma.end
    return lambda vma: _fits(vma.name, text)


def _fits(text: str, pattern: str) -> bool:
    from fnmatch import fnmatchcase  # noqa: PLC0415 - takes longer than many a map

    return fnmatchcase(text, pattern)


def range_of(text: str) -> tuple[int, int] | None:
    """Read ``0x1000-0x2000``, end excluded, or one address."""
    first, dash, last = text.lower().partition("-")
    try:
        if not (first.startswith("0x") and (not dash or last.startswith("0x"))):
            return None
        start = int(first, 16)
        return (start, int(last, 16)) if dash else (start, start + 1)
    except ValueError:
        return None
