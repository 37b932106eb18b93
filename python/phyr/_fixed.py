"""Anonymous memory at a user virtual address that the caller chooses."""

import ctypes
import errno
import mmap
import os
from pathlib import Path

from phyr._libc import call
from phyr.errors import MappedError, NoMemoryError, RangeError

__all__ = ["Fixed", "make_fixed"]

_PROC = Path("/proc")
_MAP_FIXED_NOREPLACE = 0x10_0000
_FAILED = ctypes.c_void_p(-1).value


class Fixed(ctypes.Array[ctypes.c_char]):
    """Memory that is unmapped with this object, which lends it as a buffer. By `make_fixed`."""

    _type_ = ctypes.c_char
    _length_ = 0
    is_mapped = False

    def madvise(self, advice: int, start: int, length: int) -> None:
        """Give the kernel advice about a part, as ``mmap.madvise`` does."""
        call("madvise", ctypes.addressof(self) + start, length, advice)

    def close(self) -> None:
        """Unmap the memory. If it is unmapped already, do nothing."""
        if self.is_mapped:
            self.is_mapped = False
            call("munmap", ctypes.addressof(self), self._length_)

    def __del__(self) -> None:
        """Unmap the memory when nothing refers to it."""
        self.close()


def make_fixed(uaddr: int, length: int, flags: int) -> Fixed:
    """Make private, anonymous memory at `uaddr`, which is a multiple of the page size.

    Raises:
        MappedError: Something is there; the text says what.
        NoMemoryError: There is no memory, or no address space.
        RangeError: The kernel gives this process no memory there.

    Source:
        ``MAP_FIXED_NOREPLACE``, mmap(2), Linux 4.17.
    """
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    flags |= mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED_NOREPLACE
    words = [ctypes.c_size_t(uaddr), ctypes.c_size_t(length)]
    prot = mmap.PROT_READ | mmap.PROT_WRITE
    got = library.mmap(*words, prot, flags, -1, ctypes.c_long(0))
    number = ctypes.get_errno()
    if got == _FAILED:
        text = f"memory {uaddr:#x}+{length:#x} cannot be mapped: "
        if number == errno.EEXIST:
            text += _what_is_at(uaddr, length)
            raise MappedError(text, uaddr=uaddr, length=length)
        text += os.strerror(number)
        kind = NoMemoryError if number == errno.ENOMEM else RangeError
        raise kind(text, uaddr=uaddr, length=length)
    # One class for each length: ctypes keeps the length in it.
    sized: type[Fixed] = type("Fixed", (Fixed,), {"_length_": length})
    memory = sized.from_address(got)
    memory.is_mapped = True
    return memory


def _what_is_at(uaddr: int, length: int) -> str:
    """Name the first mapping of this process that overlaps a range."""
    for line in (_PROC / "self/maps").read_text().splitlines():
        span, *fields = line.split(maxsplit=5)
        start, end = (int(bound, 16) for bound in span.split("-"))
        if start < uaddr + length and uaddr < end:
            name = fields[4] if len(fields) > 4 else "memory"  # noqa: PLR2004 - the sixth field
            return f"{name} is at {start:#x}+{end - start:#x}"
    return "something was there"
