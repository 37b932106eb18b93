"""Forks, interrupts and the end of the process leave nothing pinned."""

import errno
import mmap
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import pytest

import phyr
from phyr import PinError
from phyr.pinning import hold, methods
from support.interrupts import interrupted
from support.live import PAGE, linux, python, ring_is_allowed, shown, uring
from support.pages import frames, huge_pages, pinned_bytes, private, status, where
from support.pins import FakeBackend, check
from support.rings import Rings

pytest_plugins = ["support.pins"]
pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


def wrong_in_a_child(area: mmap.mmap, pins: list[phyr.Pinned]) -> int:
    """Return 0 if this forked child has no pin and no ring, and can pin its own memory."""
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the directory's own
            if str(descriptor.readlink()) == "anon_inode:[io_uring]":
                return 2
    for each in pins:
        try:
            each.phyr  # noqa: B018 - it raises
        except PinError as error:
            if error.errno != errno.ECHILD:
                return 3
        else:
            return 4
        each.unpin()
        each.unpin()
    if status("VmLck"):
        return 5
    area[:] = b"c" * len(area)
    with phyr.pin(area, method="mlock") as own:
        check(own, area)
        if status("VmLck") != len(area):
            return 6
    return 7 if status("VmLck") else 0


@shown
@uring
def test_a_forked_child_has_no_pin_and_leaves_the_parents_alone() -> None:
    area = private(16 * PAGE)
    with phyr.pin(area) as pinned, phyr.pin(area, method="mlock") as locked:
        before = frames(*where(area))
        child = os.fork()
        if not child:
            code = 1
            try:
                code = wrong_in_a_child(area, [pinned, locked])
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        area[:] = b"p" * len(area)
        assert frames(*where(area)) == before
        assert pinned.moved() is None
        assert pinned_bytes() >= len(area)
        assert status("VmLck") == len(area)


@shown
@uring
def test_a_fork_that_python_does_not_know_of_leaves_the_parents_pin_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pinned = phyr.pin(bytearray(PAGE))
    real = os.getpid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: real + 1)
        with pytest.raises(PinError, match=f"pinned by process {real}"):
            pinned.moved()
        abandoned: list[str] = []
        patch.setattr(methods.Registered, "abandon", lambda _: abandoned.append("ring"))
        pinned.unpin()
        assert abandoned == ["ring"]


ENDS = """
import mmap, os, signal, sys, phyr
area = mmap.mmap(-1, 2 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000 | 21 << 26)
pinned = phyr.pin(area, method="mlock" if sys.argv[1] == "mlock" else None)
print("pinned", flush=True)
if sys.argv[1] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "_exit":
    os._exit(0)
if sys.argv[1] == "circle":
    pinned.circle = pinned
    sys.modules["keeper"] = pinned
"""


@shown
@uring
@pytest.mark.parametrize("end", ["kill", "_exit", "plain", "circle", "mlock"])
def test_it_is_unpinned_when_the_process_ends_whatever_happens(end: str) -> None:
    free = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
    with huge_pages(1):
        before = int(free.read_text())
        run = python("-W", "ignore", "-c", ENDS, end)
        assert run.stdout == "pinned\n", run.stderr
        assert run.stderr == ""
        assert run.returncode == (-signal.SIGKILL if end == "kill" else 0)
        deadline = time.monotonic() + 10
        while int(free.read_text()) != before and time.monotonic() < deadline:
            time.sleep(0.01)  # the kernel takes rings down in the background
        assert int(free.read_text()) == before


OURS = str(Path(phyr.__file__).parent)


@shown
@uring
@pytest.mark.parametrize("part", ["pin", "unpin"])
@pytest.mark.parametrize("method", ["io_uring", "mlock", "iommufd"])
def test_wherever_an_interrupt_comes_nothing_stays_pinned(method: str, part: str) -> None:
    buffer = bytearray(b"x") * (3 * PAGE)
    backend = FakeBackend()
    options: dict[str, Any] = {"backend": backend} if method == "iommufd" else {"method": method}
    with phyr.pin(buffer, **options):
        pass  # everything is imported now
    at, left = -1, list[int]()
    while not left:
        at += 1
        left = [at]
        with catch_warnings():
            simplefilter("ignore", ResourceWarning)
            try:
                if part == "pin":
                    with interrupted(at, OURS) as left:
                        pinned = phyr.pin(buffer, **options)
                    pinned.unpin()
                else:
                    pinned = phyr.pin(buffer, **options)
                    with interrupted(at, OURS) as left:
                        pinned.unpin()
            except KeyboardInterrupt:
                assert left == []
            pinned = None  # type: ignore[assignment]
        assert (pinned_bytes(), status("VmLck"), backend.lost) == (0, 0, set()), at
        buffer.append(1)
        del buffer[-1]
    assert at > 5


@shown
@linux
@pytest.mark.parametrize("shared", [0, PAGE], ids=["alone", "shared"])
def test_a_forked_child_leaves_mappings_and_locks_alone_and_closes_rings(
    monkeypatch: pytest.MonkeyPatch, shared: int
) -> None:
    """Call what a fork calls, here, where its branches are counted."""
    monkeypatch.setattr(methods, "SHARED", shared)
    backend, buffer = FakeBackend(), private(PAGE)
    buffer[0] = 1
    by_backend = phyr.pin(buffer, backend=backend)
    locked = phyr.pin(buffer, method="mlock")
    rings = Rings(monkeypatch, "none", 0)
    ringed = phyr.pin(buffer) if ring_is_allowed() else by_backend
    hold._forked()  # noqa: SLF001
    methods.Locked.forked()
    methods.Registered.shared.forked()
    assert len(backend.mapped) == 1
    assert rings.abandoned == (ringed is not by_backend)
    for each in (by_backend, locked, ringed):
        with pytest.raises(PinError, match="no longer pinned"):
            each.moved()
        each.unpin()
    rings.close()
    methods.Registered().abandon()
    phyr.pin(buffer, method="mlock").unpin()
    buffer.close()
