"""Live processes for the tests: an independent look at their pages, and ways to run one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from phyr._phyr import Loan, Ring

PAGE = os.sysconf("SC_PAGE_SIZE")
PRESENT = 1 << 63
PFN = (1 << 55) - 1


def record_of(pid: int | str, page: int) -> int:
    """Look one page up: its record in the page map, 0 beyond it."""
    with Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as file:
        file.seek(page * 8)
        return int.from_bytes(file.read(8), sys.byteorder)


def look(pid: int | str, page: int) -> tuple[str, int]:
    """Look one page up: its state, and its number where it is RAM or a device's.

    Zero pages and device pages come from the page's own flags: another source than phyr's.
    """
    record = record_of(pid, page)
    if not record & PRESENT:
        return ("swap" if record & 1 << 62 else "hole"), 0
    with Path("/proc/kpageflags").open("rb", buffering=0) as file:
        file.seek((record & PFN) * 8)
        flags = int.from_bytes(file.read(8) or b"\xff" * 8, sys.byteorder)
    if flags & 1 << 20:  # KPF_NOPAGE
        return "device", record & PFN
    return ("zero", 0) if flags & 1 << 24 else ("ram", record & PFN)  # KPF_ZERO_PAGE


def numbers_are_shown() -> bool:
    """Tell whether the kernel shows page numbers to this process."""
    try:
        with Loan(b"present") as (uaddr, _):
            return record_of("self", uaddr // PAGE) & PFN != 0
    except OSError:
        return False


shown = pytest.mark.skipif(
    not numbers_are_shown(), reason="the kernel hides page numbers: needs CAP_SYS_ADMIN"
)
linux = pytest.mark.skipif(not Path("/proc/self/pagemap").exists(), reason="needs Linux")


def ring_is_allowed() -> bool:
    """Tell whether io_uring can pin here at all."""
    try:
        ring = Ring()
        ring.reserve(1)
    except OSError:
        return False
    ring.unregister()
    return True


uring = pytest.mark.skipif(
    not Path("/proc/self/pagemap").exists() or not ring_is_allowed(),
    reason="io_uring is not allowed here, or too old",
)

_WITHOUT_CAPABILITY = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(24, 21, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_SYS_ADMIN
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def python(*arguments: str, admin: bool = True) -> subprocess.CompletedProcess[str]:
    """Run this Python, without CAP_SYS_ADMIN if so wished, and wait for it."""
    drop = [] if admin else ["-c", _WITHOUT_CAPABILITY]
    return subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, *drop, *arguments], capture_output=True, text=True, check=False
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and wait until it is no more."""
    process.kill()
    process.wait()
