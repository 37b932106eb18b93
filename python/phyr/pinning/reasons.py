"""Messages that explain why the kernel does not pin memory: which limit, address or right."""

import errno
import os
import sys
from pathlib import Path

from phyr.errors import PinError
from phyr.pagemap import proc
from phyr.pagemap.proc import Vma, is_device_memory, open_process, read_vmas

if sys.platform != "win32":  # pragma: no branch - it has no such limits
    # Here, since it takes a descriptor: where they ran out is where it is needed.
    import resource

__all__ = ["map_refused", "refused", "ring_refused"]

PROC = Path(proc.PROC)

_CAP_IPC_LOCK = 14
_ADDRESS = {errno.EFAULT, errno.EINVAL, errno.ENOMEM, errno.EOPNOTSUPP, errno.EOVERFLOW}
_INSTEAD = "vfio and iommufd pin without io_uring (docs/real-devices.md)"


def ring_refused(error: OSError) -> PinError:
    """Return the error for a kernel that gives no ring, or no table of buffers."""
    if error.errno == errno.EPERM:
        knob = _number(PROC / "sys/kernel/io_uring_disabled")
        if knob:
            text = f"io_uring is switched off: kernel.io_uring_disabled is {knob}; {_INSTEAD}"
        else:
            text = f"io_uring is forbidden to this process, by a sandbox (seccomp); {_INSTEAD}"
    elif error.errno == errno.ENOSYS:
        text = f"this kernel has no io_uring, or a sandbox (seccomp) hides it; {_INSTEAD}"
    elif error.errno == errno.EINVAL:
        text = f"io_uring of this kernel cannot pin in pieces: that takes Linux 5.19; {_INSTEAD}"
    else:
        return _short("no io_uring to pin with", error)
    return PinError(error.errno, text)


def map_refused(error: OSError) -> PinError:
    """Tell why the page map cannot be opened or read."""
    return _short("no page map to find the pages of a pin with", error)


def _short(what: str, error: OSError) -> PinError:
    """Tell what is missing, and the limit that the kernel speaks of."""
    text = f"{what}: {error.strerror}"
    if error.errno == errno.EMFILE:
        name, (limit, _) = "RLIMIT_NOFILE", resource.getrlimit(resource.RLIMIT_NOFILE)
        text += f" ({name} is {limit}: ulimit -n)"
    elif error.errno == errno.ENFILE:
        # 0 where no descriptor was left to read it with.
        name, limit = "fs.file-max", _number(PROC / "sys/fs/file-max")
        text += f" ({name} is {limit})" if limit else f" ({name})"
    else:
        return PinError(error.errno, text)
    return PinError(error.errno, text, name=name, limit=limit)


def refused(error: OSError, method: str, uaddr: int, length: int, total: int) -> PinError:
    """Return the error for a piece at `uaddr` that was not pinned, of `total` bytes in all."""
    where = f"{method} cannot pin {uaddr:#x}+{length:#x}"
    numbers: dict[str, object] = {"uaddr": uaddr, "length": length}
    if error.errno in _ADDRESS:
        unfit = _unfit(uaddr, length, writable=error.errno != errno.ENOMEM)
        if unfit:
            return PinError(error.errno, f"{where}: {unfit}", **numbers)
    limit = _memlock()
    if error.errno in {errno.ENOMEM, errno.EPERM, errno.EAGAIN} and limit is not None:
        text = (
            f"{where}: RLIMIT_MEMLOCK allows this user {limit:#x} bytes, and {total:#x} are to be "
            "pinned; raise it (ulimit -l) or give the process CAP_IPC_LOCK"
        )
        name = "RLIMIT_MEMLOCK"
        return PinError(error.errno, text, name=name, limit=limit, total=total, **numbers)
    return PinError(error.errno, f"{where}: {error.strerror}", **numbers)


def _unfit(uaddr: int, length: int, *, writable: bool) -> str | None:
    """Return what is wrong with a stretch of this process's memory; None if nothing is found.

    Args:
        uaddr: User virtual address.
        length: Bytes.
        writable: Check that the kernel can use it for writing.
    """
    at, end = uaddr, uaddr + length
    for vma in _vmas():
        if vma.start > at or at >= end:
            break
        if vma.end <= at:
            continue
        if is_device_memory(at):
            return f"{at:#x} is a device's own memory, such as a BAR: nothing moves it, or pins it"
        if writable and "w" not in vma.perms:
            return f"{at:#x} is read-only memory ({vma.perms} {vma.name or 'anonymous'})"
        if writable and _is_on_disk(vma):
            return f"{at:#x} is memory of the file {vma.name}, whose file system tracks writes"
        at = vma.end
    return None if at >= end else f"{at:#x} is not mapped"


def _is_on_disk(vma: Vma) -> bool:
    """Return true for shared memory of a file that is on a disk, not only in memory."""
    if vma.inode == 0 or "s" not in vma.perms:
        return False
    device = ":".join(str(int(number, 16)) for number in vma.device.split(":"))
    for line in (PROC / "self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[2] == device:
            return fields[fields.index("-") + 1] not in {"tmpfs", "devtmpfs", "hugetlbfs", "ramfs"}
    return False


def _vmas() -> list[Vma]:
    process = open_process("self")
    try:
        return read_vmas(process, "self")
    finally:
        os.close(process)


def _memlock() -> int | None:
    """Return the limit for this process in bytes; None if there is no limit."""
    status = (PROC / "self/status").read_text()
    capabilities = int(status.partition("CapEff:")[2].split()[0], 16)
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    is_free = capabilities >> _CAP_IPC_LOCK & 1 or soft == resource.RLIM_INFINITY
    return None if is_free else soft


def _number(path: Path) -> int:
    """Read a number from a file of /proc; 0 if there is none."""
    try:
        return int(path.read_text())
    except OSError:
        return 0
