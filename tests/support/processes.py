"""Processes to look into, and page maps that are made up."""

import errno
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from support.live import end
from support.page_map import FakeMap

CHILD = """
import mmap, sys
areas = []
for advice in (mmap.MADV_NOHUGEPAGE, mmap.MADV_HUGEPAGE):
    area = mmap.mmap(-1, 12 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.madvise(advice)
    for page in range(1 << 10):
        if page % 7 < 3:
            area[page * 4096] = 1
        elif page % 7 < 5:
            area[page * 4096]
    area[6 << 20]
    area[8 << 20] = 1
    areas.append(area)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """Run a process whose memory has all sorts of pages, and stop it so that they stay."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGSTOP)
        yield process
        process.kill()


@contextmanager
def running(code: str) -> Iterator[int]:
    """Run a process until it is ready; give its number."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as made:
        assert made.stdout is not None
        assert made.stdout.readline() == b"ready\n"
        try:
            yield made.pid
        finally:
            end(made)


class Scans:
    """A kernel's PAGEMAP_SCAN, counted; or one that has none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, known: bool) -> None:
        import fcntl  # noqa: PLC0415 - Linux only

        self.calls = 0
        self.known = known
        self.real: Callable[[int, int, bytearray], int] = fcntl.ioctl
        monkeypatch.setattr(fcntl, "ioctl", self)

    def __call__(self, file: int, request: int, argument: bytearray) -> int:
        self.calls += 1
        if not self.known:
            raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")
        return self.real(file, request, argument)


START = 0x10000
"""Where `synthetic` puts its pages."""


def synthetic(monkeypatch: pytest.MonkeyPatch, records: list[int]) -> None:
    """Let page maps have these records, from address `START` on."""
    FakeMap(monkeypatch, START, records, can_scan=False)
