"""Requests to the kernel about devices. Only this file opens device files and makes requests.

```text
| size of all | fields of the request ... | capabilities, for some replies |
    4 bytes
```

The structures of VFIO and iommufd both start with their size, so one function packs, requests and
unpacks all of them. Tests replace `open_file`, `write_file`, `close` and `ioctl` by a simulated
kernel.

Source:
    include/uapi/linux/vfio.h and include/uapi/linux/iommufd.h, Linux. Both number their requests by
    ``_IO(';', n)``, without size and direction, as x86, Arm, RISC-V and s390 encode it.
"""

import errno
import os
from fcntl import ioctl as _ioctl
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from phyr.errors import VfioError

__all__ = [
    "DEV",
    "SYSFS",
    "Request",
    "ask",
    "ask_long",
    "close",
    "ioctl",
    "linked",
    "open_file",
    "refused",
    "tell",
    "write_file",
]

DEV = Path("/dev")
SYSFS = Path("/sys/bus/pci")


class Request(NamedTuple):
    """One request: its name, its number, and the fields after the size."""

    name: str
    number: int
    fields: Struct = Struct("=")

    def pack(self, *values: int, tail: bytes = b"") -> bytearray:
        """Return the structure with these fields, and with what lies behind them."""
        size = 4 + self.fields.size + len(tail)
        return bytearray(size.to_bytes(4, "little") + self.fields.pack(*values) + tail)


# Explanations for an errno where the kernel's own text says too little.
_MEMLOCK = "more memory than RLIMIT_MEMLOCK lets this process pin"
_ISOLATION = "an interrupt of the device could reach anything: no interrupt remapping"
_FORK = "the backend is that of the process of which this is a fork"
_HINTS = {
    ("VFIO_IOMMU_MAP_DMA", errno.ENOMEM): _MEMLOCK,
    ("VFIO_IOMMU_MAP_DMA", errno.EFAULT): "no memory there that can be pinned",
    ("IOMMU_IOAS_MAP", errno.ENOMEM): _MEMLOCK,
    ("IOMMU_IOAS_MAP", errno.EFAULT): "no memory there that can be pinned",
    ("VFIO_SET_IOMMU", errno.EPERM): _ISOLATION,
    ("VFIO_DEVICE_BIND_IOMMUFD", errno.EPERM): _ISOLATION,
    ("VFIO_DEVICE_BIND_IOMMUFD", errno.EINVAL): "somebody has it open, perhaps",
    ("VFIO_DEVICE_SET_IRQS", errno.EINVAL): "interrupts of another kind are enabled, perhaps",
    ("VFIO_DEVICE_SET_IRQS", errno.ENOTTY): "the kernel does not mask those of this kind",
    (
        "VFIO_DEVICE_FEATURE",
        errno.ENOTTY,
    ): "the kernel has no VFIO_PCI_DMABUF: it exports no regions",
    ("VFIO_DEVICE_FEATURE", errno.EOPNOTSUPP): "no other device can reach this one's memory here",
    ("export", errno.ENOTTY): "opened through sysfs: VFIO exports regions",
    ("map region", errno.EBADF): "it is closed",
    ("IOMMU_IOAS_MAP_FILE", errno.EINVAL): "the kernel does not map device memory, perhaps",
    ("IOMMU_IOAS_COPY", errno.ENOENT): "the two are not of one iommufd, or it was unmapped",
    ("IOMMU_HWPT_ALLOC", errno.EOPNOTSUPP): "this IOMMU does not keep track of dirty memory",
    ("IOMMU_HWPT_SET_DIRTY_TRACKING", errno.EOPNOTSUPP): "make it with tracks=True",
    ("IOMMU_HWPT_GET_DIRTY_BITMAP", errno.EOPNOTSUPP): "make it with tracks=True",
    ("IOMMU_HWPT_GET_DIRTY_BITMAP", errno.EINVAL): "not all of it is mapped, or track comes first",
    ("page table", errno.ENODEV): "the device is not open in this address space",
    ("page table", errno.EOPNOTSUPP): "this IOMMU's table has no addresses until a device sees it",
    ("page table", errno.ECHILD): _FORK,
    ("page table", errno.EBADF): "the address space is closed",
    **{
        (f"{verb} page table", number): text
        for verb in ("attach", "track", "read")
        for number, text in ((errno.ECHILD, _FORK), (errno.EBADF, "it is closed"))
    },
    ("interrupt", errno.EBADF): "it is disabled",
    ("enable", errno.EBUSY): "some are enabled already",
    ("enable", errno.EINVAL): "the device has not as many",
    ("await", errno.EBUSY): "another task awaits it",
    ("VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", errno.ENODEV): "its bus has no bridge to be reset by",
    ("VFIO_DEVICE_PCI_HOT_RESET", errno.EINVAL): "another function of its bus is in use",
    ("hot reset", errno.EPERM): "they are reset with it: open them in the same backend",
    ("hot reset", errno.ENOTTY): "opened through sysfs: VFIO resets a bus",
    ("find region", errno.ENXIO): "asleep, or its memory is switched off: see recover",
    ("power state", errno.EOPNOTSUPP): "the device has no power management",
    ("power state", errno.EIO): "the device does not change it",
    ("VFIO_DEVICE_RESET", errno.EINVAL): "it has no way to be reset",
    ("map", errno.ENODEV): "open a device first: without one there is no IOMMU",
    ("map", errno.EBADF): "the backend is closed",
    ("map", errno.ECHILD): _FORK,
    ("open", errno.ECHILD): _FORK,
    ("open", errno.EBADF): "the backend is closed",
    ("open", errno.EBUSY): "somebody has it open",
    ("open", errno.ENOENT): "the kernel lacks it, or its module is not loaded",
}


# The names of numbers that are written in hexadecimal.
_BYTES = ("iova", "length", "offset", "uaddr")


def refused(failure: OSError, name: str, **numbers: object) -> VfioError:
    """Return the exception for a request that the kernel refused, with its numbers."""
    number = failure.errno or errno.EIO
    said = "".join(
        f", {key} {value:#x}" if key in _BYTES else f", {key} {value}"
        for key, value in numbers.items()
    )
    hint = _HINTS.get((name, number))
    text = f"{name}: {os.strerror(number)}{said}" + (f" ({hint})" if hint else "")
    return VfioError(number, text, request=name, **numbers)


def open_file(path: Path, **numbers: object) -> int:
    """Open a device file for reading and writing.

    Raises:
        VfioError: It cannot be opened; `path` is an attribute.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as failure:
        raise refused(failure, "open", path=str(path), **numbers) from None


def write_file(path: Path, text: str) -> None:
    """Write to a file of sysfs. Raises `OSError`."""
    path.write_text(text)


def linked(path: Path) -> str | None:
    """Return the name of the file that a link of sysfs leads to; None if there is no link.

    Raises:
        VfioError: The kernel does not say.
    """
    try:
        return path.readlink().name
    except FileNotFoundError:
        return None
    except OSError as failure:
        raise refused(failure, "readlink", path=str(path)) from None


close = os.close
"""Close a file descriptor. It is not a function in Python, because an interrupt could end that."""


def ioctl(fd: int, number: int, argument: int | bytearray = 0) -> int:
    """Make one request; `argument` is changed in place. Raises `OSError`."""
    return _ioctl(fd, number, argument, True)  # noqa: FBT003 - the call has no names


def tell(fd: int, request: Request, argument: int | bytearray = 0, **numbers: object) -> int:
    """Make a request whose argument is a number or bytes, and return the kernel's number.

    Args:
        fd: The file descriptor of the device or backend.
        request: The request.
        argument: Its argument.
        numbers: Numbers for the message of an error.

    Raises:
        VfioError: The kernel refused.
    """
    try:
        return ioctl(fd, request.number, argument)
    except OSError as failure:
        raise refused(failure, request.name, **numbers) from None


def ask(fd: int, request: Request, *values: int, **numbers: object) -> tuple[int, ...]:
    """Make a request with these fields and return the fields of the reply.

    Raises:
        VfioError: The kernel refused.
    """
    argument = request.pack(*values)
    tell(fd, request, argument, **numbers)
    fields: tuple[int, ...] = request.fields.unpack_from(argument, 4)
    return fields


def ask_long(fd: int, request: Request, *values: int) -> tuple[tuple[int, ...], bytes]:
    """Make a request whose reply may be longer than its fields. Ask for its length first.

    Returns:
        The fields of the reply, and all of its bytes.

    Raises:
        VfioError: The kernel refused.
    """
    argument = request.pack(*values)
    tell(fd, request, argument)
    argument = argument.ljust(int.from_bytes(argument[:4], "little"), b"\0")
    tell(fd, request, argument)
    fields: tuple[int, ...] = request.fields.unpack_from(argument, 4)
    return fields, bytes(argument)
