"""A daemon that pins memory and hands it to a C program, with the list of its physical pages.

The daemon may ask the kernel where pages are; the driver need not. Both are passed as files over a
socket: the memory, and the list, sealed, so that what the driver checked cannot change any more.
Where pages cannot be pinned or looked up (no Linux, no root) simulated addresses take their place.

Usage: daemon.py DRIVER, where DRIVER was made by
``cc -I"$(python3 -c 'import phyr; print(phyr.include())')" examples/c/drive.c -o drive``.
"""

import fcntl
import mmap
import os
import socket
import subprocess
import sys
from contextlib import ExitStack

import phyr
from phyr.sim import scatter

SIZE = 4 << 20
SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def sealed(data: bytes) -> int:
    """Return a file of some bytes that nobody can change."""
    file = os.memfd_create("list", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(file, data)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, SEALS)
    return file


if len(sys.argv) != 2:  # noqa: PLR2004 - the program and the driver
    sys.exit("usage: daemon.py DRIVER")
with ExitStack() as stack:
    memory = os.memfd_create("memory", os.MFD_CLOEXEC)
    stack.callback(os.close, memory)
    os.ftruncate(memory, SIZE)
    buffer = stack.enter_context(mmap.mmap(memory, SIZE))
    try:
        pinned = stack.enter_context(phyr.pin(buffer))
        print("daemon:", pinned.method, "holds", pinned.phyr, flush=True)
        pages = pinned.phyr
    except phyr.PhyrError as error:
        pages = scatter(SIZE, seed=1)
        print("daemon: simulated addresses,", error, flush=True)
    listed = sealed(pages.to_bytes())
    stack.callback(os.close, listed)

    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.argv[1], str(theirs.fileno())]
        driver = subprocess.Popen(command, pass_fds=[theirs.fileno()])  # noqa: S603 - the caller's
        socket.send_fds(ours, [b"!"], [memory, listed])
        driver.wait()
    print("daemon: the driver wrote", bytes(buffer[:5]), "and left with", driver.returncode)
sys.exit(driver.returncode)
