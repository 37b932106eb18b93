"""System calls that fail: a child whose calls the parent answers, by seccomp's user notification.

The child runs an operation. The kernel asks the parent before each call of `CALLS`; the parent lets
the kernel go on, or has one of them, the n-th, fail with an errno. The call then does nothing, as
in a kernel that refuses it. seccomp(2), seccomp_unotify(2).
"""

import ctypes
import errno
import fcntl
import json
import os
import platform
import select
import signal
import socket
import struct
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

CALLS = {
    "read": 0,
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "ioctl": 16,
    "pread64": 17,
    "mremap": 25,
    "madvise": 28,
    "mlock": 149,
    "munlock": 150,
    "mbind": 237,
    "openat": 257,
    "io_uring_setup": 425,
    "io_uring_register": 427,
}
"""By their numbers on x86-64."""

PATIENCE = 60_000
"""Milliseconds to wait for the next call of the child."""

_SECCOMP = 317
_SET_MODE_FILTER, _NEW_LISTENER = 1, 8
_NO_NEW_PRIVS = 38
_USER_NOTIF, _ALLOW = 0x7FC0_0000, 0x7FFF_0000
_RECV, _SEND = 0xC050_2100, 0xC018_2101
_CONTINUE = 1
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06


class Fault(NamedTuple):
    """The n-th call of a name, from 0, fails with an errno; later ones do not."""

    call: str
    nth: int
    errno: int


class Outcome(NamedTuple):
    """The end of an operation: its result, or its exception with bases; and its calls."""

    result: object
    error: str
    text: str
    calls: Counter[str]


def filter_calls() -> int:
    """Have the kernel ask before each call of `CALLS`; return the file that asks."""
    program = [(_LOAD, 0, 0, 0)]
    for left, number in zip(range(len(CALLS), 0, -1), CALLS.values(), strict=True):
        program.append((_JUMP_EQUAL, left, 0, number))
    program += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _USER_NOTIF)]
    code = b"".join(struct.pack("=HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    argument = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    listener = int(libc.syscall(_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER, argument))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener


def supported() -> str:
    """Return why calls cannot be made to fail here, or nothing."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return "the numbers of system calls are those of Linux on x86-64"
    try:
        run(lambda: None)
    except IndexError:
        return "no seccomp user notification"
    return ""


def run(operation: Callable[[], object], fault: Fault | None = None) -> Outcome:
    """Run an operation in a child of this process; its result must be plain data."""
    ours, theirs = socket.socketpair()
    results, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            ours.close()
            os.close(results)
            listener = filter_calls()
            socket.send_fds(theirs, [b"fd"], [listener])
            # With the parent's copy alone, a parent that ends does not leave this one waiting.
            os.close(listener)
            report: list[object] = [None, "", ""]
            try:
                report[0] = operation()
            except BaseException as error:  # noqa: BLE001 - the parent judges
                report[1:] = [" ".join(kind.__name__ for kind in type(error).__mro__), str(error)]
            os.write(write, json.dumps(report).encode())
            status = 0
        finally:
            os._exit(status)
    theirs.close()
    os.close(write)
    try:
        _, fds, _, _ = socket.recv_fds(ours, 2, 1)
        with os.fdopen(fds[0], "rb", buffering=0) as listener_file:
            calls = answer(listener_file.fileno(), fault)
        with os.fdopen(results, "rb") as file:
            text = file.read()
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        ours.close()
        _, status = os.waitpid(child, 0)
    if not text:
        raise AssertionError(f"the child ended with status {status:#x}")
    result, kinds, message = json.loads(text)
    return Outcome(result, kinds, message, calls)


def answer(listener: int, fault: Fault | None) -> Counter[str]:
    """Answer the kernel until the child is gone; return how often each call was made."""
    names = {number: name for name, number in CALLS.items()}
    calls: Counter[str] = Counter()
    waiting = select.poll()
    waiting.register(listener, select.POLLIN)
    while True:
        events = waiting.poll(PATIENCE)
        if not events:
            raise TimeoutError(f"no call for {PATIENCE} ms, after {calls}")
        if not events[0][1] & select.POLLIN:
            return calls
        request = bytearray(80)
        try:
            fcntl.ioctl(listener, _RECV, request)
        except OSError as error:
            if error.errno == errno.ENOENT:  # a signal interrupted the call
                continue
            raise
        ident, _, _, number = struct.unpack_from("=QIIi", request)
        name = names[number]
        failed = fault and (name, calls[name]) == (fault.call, fault.nth)
        calls[name] += 1
        if failed and fault:
            reply = struct.pack("=QqiI", ident, 0, -fault.errno, 0)
        else:
            reply = struct.pack("=QqiI", ident, 0, 0, _CONTINUE)
        try:
            fcntl.ioctl(listener, _SEND, reply)
        except OSError as error:
            if error.errno != errno.ENOENT:  # the child was killed meanwhile
                raise
