"""Each system call of pinning, allocating and the page map fails once, with each errno it may have.

The operation then raises an error of phyr or of the system, or does without the call. It leaves no
memory pinned or locked, and no file open but those that it keeps; done again, it works.
"""

import errno
import gc
import itertools
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

import phyr
from phyr import pagemap
from phyr.pinning.methods import Registered
from support import syscalls
from support.live import linux, shown, uring
from support.syscalls import Fault

WHY_NOT = syscalls.supported()

pytestmark = [linux, shown, uring, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

ERRNOS = {
    "openat": "EACCES EINTR EMFILE ENFILE ENOENT ENOMEM EPERM",
    "read": "EINTR EINVAL EIO",
    "pread64": "EINTR EINVAL EIO",
    "ioctl": "EFAULT EINTR EINVAL ENOMEM ENOTTY EPERM",
    "mmap": "EACCES EAGAIN ENOMEM EPERM",
    "mprotect": "EACCES ENOMEM",
    "munmap": "EINVAL ENOMEM",
    "mremap": "EAGAIN ENOMEM",
    "madvise": "EAGAIN EINVAL EIO ENOMEM",
    "mbind": "EFAULT EINVAL EIO ENOMEM EPERM",
    "mlock": "EAGAIN EINVAL ENOMEM EPERM",
    "munlock": "EAGAIN EINVAL ENOMEM EPERM",
    "io_uring_setup": "EFAULT EINVAL EMFILE ENFILE ENOMEM ENOSYS EPERM",
    "io_uring_register": "EACCES EBUSY EFAULT EINTR EINVAL EMFILE ENOMEM EOPNOTSUPP EPERM",
}
"""Those that the manual pages name, and ENOSYS where a sandbox may refuse. close(2) is left out:
Linux closes the file whatever the call returns, which a call that does nothing cannot show."""

BUFFER = bytearray(1 << 16)
PLACES = itertools.count(1 << 44, 1 << 20)
"""Another one each time: memory that the kernel does not unmap stays where it is."""


def pin() -> list[object]:
    with phyr.pin(BUFFER) as pinned:
        return [len(pinned.phyr), pinned.moved()]


def lock() -> list[object]:
    with phyr.pin(BUFFER, method="mlock") as pinned:
        return [len(pinned.phyr), pinned.method]


def alloc() -> list[object]:
    with warnings.catch_warnings():
        # Where a setting of the kernel cannot be read, other pages are taken, with a warning.
        warnings.simplefilter("ignore")
        with phyr.alloc(2 << 20, huge="thp", node=0) as memory:
            return [len(memoryview(memory)), bytes(memoryview(memory)[:16]).hex()]


def place() -> list[object]:
    uaddr = next(PLACES)
    with phyr.alloc(1 << 16, uaddr=uaddr) as memory:
        return [memory.uaddr - uaddr]


def own() -> list[object]:
    return [len(pagemap.of(BUFFER))]


def lease() -> list[object]:
    with phyr.PinCache(limit=1 << 20) as kept, kept.pin(BUFFER) as found:
        return [len(found.phyr)]


OPERATIONS: dict[str, Callable[[], list[object]]] = {
    work.__name__: work for work in (pin, lock, alloc, place, own, lease)
}


def left() -> dict[str, object]:
    """Count what the kernel has of this process: files, and memory pinned and locked."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    kept = dict(re.findall(r"(VmPin|VmLck):\s+(\d+)", status))
    return {"files": len(os.listdir("/proc/self/fd")), **kept}  # noqa: PTH208 - no objects kept


def failed_and_again(work: Callable[[], list[object]]) -> dict[str, object]:
    """Do something that may fail, and do it again."""
    # Otherwise the collector looks at all objects of the parent, each time.
    gc.freeze()
    found: dict[str, object] = {"first": None, "error": ""}
    try:
        found["first"] = work()
    except BaseException as error:  # noqa: BLE001 - the test judges
        found["error"] = " ".join(kind.__name__ for kind in type(error).__mro__)
    found["again"] = work()
    return found | left()


@cache
def usual(name: str) -> tuple[dict[str, object], Counter[str]]:
    """Return what happens without a fault, and the calls of doing it once."""
    work = OPERATIONS[name]
    work()  # imports
    outcome = syscalls.run(lambda: failed_and_again(work))
    assert isinstance(outcome.result, dict), outcome
    assert (outcome.result["error"], outcome.result["VmPin"], outcome.result["VmLck"]) == (
        "",
        "0",
        "0",
    )
    return outcome.result, syscalls.run(work).calls


def check(name: str, fault: Fault) -> str:
    """Return what is wrong after a fault, or nothing."""
    expected, _ = usual(name)
    outcome = syscalls.run(lambda: failed_and_again(OPERATIONS[name]), fault)
    found = outcome.result
    if not isinstance(found, dict):
        return f"the second time: {outcome.error} {outcome.text}"
    if found["error"]:
        kinds = str(found["error"]).split()
        if not {"PhyrError", "OSError", "MemoryError"} & set(kinds):
            return f"raised {kinds[0]}"
        found |= {"first": expected["first"], "error": ""}
    return "" if found == expected else f"{found}"


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_call_that_fails_leaves_nothing(name: str) -> None:
    _, calls = usual(name)
    wrong = {}
    for call, count in calls.items():
        for nth in range(count):
            for code in ERRNOS[call].split():
                problem = check(name, Fault(call, nth, getattr(errno, code)))
                if problem:
                    wrong[call, nth, code] = problem
    assert wrong == {}


def test_the_faults_reach_the_calls_that_matter() -> None:
    calls = {name: set(usual(name)[1]) for name in OPERATIONS}
    assert calls["pin"] >= {"io_uring_setup", "io_uring_register", "pread64", "openat"}
    assert calls["lock"] >= {"mlock", "munlock", "pread64"}
    assert calls["alloc"] >= {"mmap", "munmap", "madvise", "mbind"}
    assert calls["place"] >= {"mmap", "munmap"}


def test_memory_that_the_kernel_does_not_unpin_is_unpinned_at_a_later_pin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Registered, "shared", type(Registered.shared)())
    _, calls = usual("pin")

    def twice() -> list[object]:
        pin()
        stuck = left()["VmPin"]
        pin()
        return [stuck, left()["VmPin"]]

    last = Fault("io_uring_register", calls["io_uring_register"] - 1, errno.ENOMEM)
    found = syscalls.run(twice, last).result
    assert isinstance(found, list)
    stuck, after = found
    assert int(stuck) >= len(BUFFER) >> 10
    assert after == "0"
