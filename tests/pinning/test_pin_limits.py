"""Limits, sandboxes and failing calls: each is named, and leaves nothing pinned."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import phyr
from phyr import PinError
from phyr.pinning import methods, reasons
from support.live import PAGE, linux, python, ring_is_allowed, shown, uring
from support.pages import pinned_bytes, private, status, where
from support.pins import check
from support.rings import Rings

pytest_plugins = ["support.pins"]
pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")

LIMITED = """
import ctypes, os, resource, sys, mmap
if len(sys.argv) > 3:
    ctypes.CDLL(None).prctl(24, 14, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_IPC_LOCK
    os.execv(sys.executable, [sys.executable, "-c", os.environ["LIMITED"], *sys.argv[1:3]])
import phyr
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
area = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
try:
    phyr.pin(area, method=sys.argv[1])
except phyr.PinError as error:
    print(error.errno, error.limit, error.length, error.total, error)
status = open("/proc/self/status").read()
print(status.split("VmLck:")[1].split()[0], status.split("VmPin:")[1].split()[0])
area.close()
"""


@shown
@uring
@pytest.mark.parametrize(
    ("method", "limit", "number"),
    [("io_uring", 65536, errno.ENOMEM), ("mlock", 65536, errno.ENOMEM), ("mlock", 0, errno.EPERM)],
)
def test_the_limit_on_locked_memory_is_named(method: str, limit: int, number: int) -> None:
    run = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", LIMITED, method, str(limit), "drop"],
        env={**os.environ, "LIMITED": LIMITED},
        capture_output=True,
        text=True,
        check=True,
    )
    refusal, rest = run.stdout.splitlines()
    assert refusal.startswith(f"{number} {limit} {1 << 20} {1 << 20} [Errno {number}] {method} ")
    assert f"RLIMIT_MEMLOCK allows this user {limit:#x} bytes, and 0x100000" in refusal
    assert rest == "0 0"


HIDDEN = """
import mmap, sys, phyr
area = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
try:
    phyr.pin(area, method=sys.argv[1])
except phyr.HiddenPagesError as error:
    print(error.errno)
status = open("/proc/self/status").read()
print(status.split("VmLck:")[1].split()[0], status.split("VmPin:")[1].split()[0])
area.close()
"""


@shown
@uring
@pytest.mark.parametrize("method", ["io_uring", "mlock"])
def test_it_is_undone_where_page_numbers_are_hidden(method: str) -> None:
    run = python("-W", "error", "-c", HIDDEN, method, admin=False)
    assert run.stdout.split() == [str(errno.EPERM), "0", "0"], run.stderr


SANDBOX = """
import ctypes, struct, sys, phyr
# Load the number of the call; if it is io_uring_setup (425) return an error, else allow.
refuse, allow = 0x50000 | int(sys.argv[1]), 0x7FFF0000
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (6, 0, 0, refuse), (6, 0, 0, allow)]
program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in code))
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
argument = Program(len(code), ctypes.addressof(program))
assert libc.prctl(22, 2, ctypes.byref(argument), 0, 0) == 0  # PR_SET_SECCOMP
try:
    phyr.pin(bytearray(1))
except phyr.PinError as error:
    print(error)
"""


@linux
@pytest.mark.parametrize(
    ("number", "text"),
    [(errno.EPERM, "forbidden to this process, by a sandbox"), (errno.ENOSYS, "has no io_uring")],
)
def test_a_sandbox_without_io_uring_is_named(number: int, text: str) -> None:
    run = python("-c", SANDBOX, str(number))
    assert run.stdout.startswith(f"[Errno {number}] "), run.stderr
    assert text in run.stdout
    assert "vfio and iommufd pin without" in run.stdout


@linux
@pytest.mark.parametrize(
    ("step", "number", "text"),
    [
        ("setup", errno.EMFILE, r"Too many open files \(RLIMIT_NOFILE is [0-9]+: ulimit -n\)"),
        ("setup", errno.ENFILE, r"Too many open files in system \(fs.file-max"),
        ("setup", errno.ENOMEM, "no io_uring to pin with: Cannot allocate memory"),
        ("setup", errno.ENOSYS, "this kernel has no io_uring"),
        ("reserve", errno.EINVAL, "that takes Linux 5.19"),
        ("register", errno.ENOMEM, "Cannot allocate memory"),
    ],
)
@pytest.mark.parametrize("shared", [0, PAGE], ids=["alone", "shared"])
def test_whatever_fails_is_told(
    monkeypatch: pytest.MonkeyPatch, shared: int, step: str, number: int, text: str
) -> None:
    monkeypatch.setattr(methods, "SHARED", shared)
    monkeypatch.setattr(reasons, "_memlock", lambda: None)
    if step != "setup" and not ring_is_allowed():
        pytest.skip("io_uring is not allowed here")
    Rings(monkeypatch, step, number)
    with pytest.raises(PinError, match=text) as caught:
        phyr.pin(private(PAGE))
    assert caught.value.errno == number


@linux
@pytest.mark.parametrize("capabilities", ["000001ffffffffff", "0000000000000000"])
def test_the_limit_is_named_only_to_those_it_holds_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capabilities: str
) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/status").write_text(f"CapPrm:\t0\nCapEff:\t{capabilities}\nSeccomp:\t0\n")
    area = bytearray(PAGE)
    uaddr, length = where(area)
    with monkeypatch.context() as patch:
        patch.setattr(reasons, "PROC", tmp_path)
        patch.setattr(reasons, "_vmas", list)
        error = OSError(errno.EPERM, "no")
        text = str(reasons.refused(error, "mlock", uaddr, length, length))
        assert ("RLIMIT_MEMLOCK" in text) == (capabilities == "0" * 16)
        patch.setattr("resource.getrlimit", lambda _: (-1, -1))
        assert "RLIMIT" not in str(reasons.refused(error, "mlock", uaddr, length, length))


@linux
@pytest.mark.parametrize("knob", ["1\n", "2\n", None])
def test_the_switch_of_io_uring_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knob: str | None
) -> None:
    if knob is not None:
        (tmp_path / "sys/kernel").mkdir(parents=True)
        (tmp_path / "sys/kernel/io_uring_disabled").write_text(knob)
    monkeypatch.setattr(reasons, "PROC", tmp_path)
    Rings(monkeypatch, "setup", errno.EPERM)
    text = f"kernel.io_uring_disabled is {knob.strip()}" if knob else "a sandbox"
    with pytest.raises(PinError, match=text):
        phyr.pin(bytearray(PAGE))


@shown
@uring
@pytest.mark.parametrize("fails_at", range(9))
def test_a_piece_that_fails_leaves_nothing_pinned(
    monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    monkeypatch.setattr(methods, "PIECE", 16 * PAGE)
    monkeypatch.setattr(methods, "SHARED", 0)
    rings = Rings(monkeypatch, "register", errno.EIO, fails_at)
    area = private(8 * 16 * PAGE)
    uaddr, length = where(area)
    if fails_at == 8:
        with phyr.pin(area) as pinned:
            check(pinned, area)
        assert rings.pieces == [(uaddr + at, 16 * PAGE) for at in range(0, length, 16 * PAGE)]
        return
    with pytest.raises(PinError, match=f"{uaddr + fails_at * 16 * PAGE:#x}\\+0x10000: Input/o"):
        phyr.pin(area)
    assert len(rings.pieces) == fails_at
    assert pinned_bytes() == 0
    area.close()


@shown
@uring
@pytest.mark.parametrize("method", ["io_uring", "mlock"])
def test_progress_climbs_to_the_length_and_may_stop_it(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(methods, "PIECE", 4 * PAGE)
    monkeypatch.setattr(methods, "SHARED", 0)
    area = private(18 * PAGE)
    view = memoryview(area)[10:-10]
    told: list[tuple[int, int]] = []
    with phyr.pin(view, method=method, progress=lambda *each: told.append(each)) as pinned:
        check(pinned, view)
    assert told == [(min(end * PAGE - 10, len(view)), len(view)) for end in (4, 8, 12, 16, 18)]

    def interrupt(done: int, _total: int) -> None:
        if done > 8 * PAGE:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        phyr.pin(view, method=method, progress=interrupt)
    assert (pinned_bytes(), status("VmLck")) == (0, 0)
    view.release()
    area.close()


@linux
def test_more_than_a_ring_can_hold_is_refused() -> None:
    with pytest.raises(
        PinError, match=r"0x100000001000 bytes are more than the 0x100000000000"
    ) as caught:
        phyr.pin((0, (1 << 44) + 1))
    assert (caught.value.name, caught.value.limit) == ("IORING_MAX_REG_BUFFERS", 1 << 44)
    assert caught.value.errno == errno.E2BIG
