"""Access by calls: a function's configuration space, and regions that are not mapped."""

import errno
import os
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

from phyr._arguments import whole
from phyr._devices.uapi import refused
from phyr.errors import RangeError

__all__ = ["Capability", "Config", "Registers", "Window"]

_STATUS, _HAS_LIST = 0x06, 1 << 4
_FIRST = 0x34
_EXTENDED = 0x100


class Window(NamedTuple):
    """The place of a region in an open file."""

    fd: int
    offset: int
    length: int


class Capability(NamedTuple):
    """One capability of a function."""

    id: int
    """Its number: 0x05 is MSI, 0x11 MSI-X; of an extended one 0x01 is AER."""
    offset: int
    """Where it is in the configuration space, in bytes."""
    is_extended: bool
    """True of those of PCI Express, from 0x100 on, which have numbers of their own."""


class Registers:
    """A region that is not mapped: it is read and written by calls, at byte offsets."""

    name: ClassVar[str] = "registers"
    spelt: ClassVar[str] = "region"

    def __init__(self, window: Window) -> None:
        """Store the file and the offset."""
        self._window = window
        self.length = window.length

    def __repr__(self) -> str:
        """Show its length."""
        return f"{type(self).__name__}({self.length:#x} bytes)"

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes at `offset`.

        Raises:
            RangeError: They are not all inside.
            VfioError: They cannot be read.
        """
        self._check(offset, length)
        try:
            data = os.pread(self._window.fd, length, self._window.offset + offset)
            if len(data) < length:
                raise OSError(errno.ENODATA, "")  # noqa: TRY301 - as if the kernel had
        except OSError as failure:
            raise refused(failure, f"read {self.name}", offset=offset, length=length) from None
        return data

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes at `offset`.

        Raises:
            RangeError: They are not all inside.
            VfioError: They cannot be written.
        """
        self._check(offset, len(data))
        try:
            os.pwrite(self._window.fd, data, self._window.offset + offset)
        except OSError as failure:
            raise refused(failure, f"write {self.name}", offset=offset, length=len(data)) from None

    def _check(self, offset: int, length: int) -> None:
        offset, length = whole("offset", offset), whole("length", length)
        if offset < 0 or length < 0 or offset + length > self.length:
            raise RangeError(
                f"{offset:#x}+{length:#x} is not inside the {self.length:#x} bytes of the "
                f"{self.spelt}",
                offset=offset,
                length=length,
            )

    def read_int(self, offset: int, size: int) -> int:
        """Return the number of `size` bytes at `offset`, least byte first.

        Raises:
            RangeError: It is not all inside.
            VfioError: It cannot be read.
        """
        return int.from_bytes(self.read(offset, size), "little")

    def write_int(self, offset: int, size: int, value: int) -> None:
        """Write a number of `size` bytes at `offset`, least byte first, by one access.

        Raises:
            RangeError: It is not all inside, or the number has more bytes.
            VfioError: It cannot be written.
        """
        if not 0 <= value < 1 << 8 * size:
            text = f"{value:#x} is no number of {size} bytes"
            raise RangeError(text, value=value, size=size)
        self.write(offset, value.to_bytes(size, "little"))


class Config(Registers):
    """The configuration space of a PCI function, by byte offsets.

    Without rights, sysfs shows its first 64 bytes only.
    """

    name = "config"
    spelt = "configuration space"

    @property
    def vendor(self) -> int:
        """Number of its vendor."""
        return self.read_int(0, 2)

    @property
    def device(self) -> int:
        """The vendor's number of this device."""
        return self.read_int(2, 2)

    def capabilities(self) -> Iterator[Capability]:
        """Yield the capabilities in the order of their chains: ordinary ones, then extended ones.

        A chain that comes back to itself ends there.

        Raises:
            VfioError: The space cannot be read.

        Source:
            PCI Local Bus Specification 3.0, section 6.7; PCI Express Base Specification, 7.6.3.
        """
        if self.read_int(_STATUS, 2) & _HAS_LIST:
            yield from self._chain()
        if self.length > _EXTENDED:
            yield from self._chain_of_extended()

    def _chain(self) -> Iterator[Capability]:
        seen = {0}
        offset = self.read_int(_FIRST, 1) & ~3
        while offset not in seen:
            seen.add(offset)
            yield Capability(self.read_int(offset, 1), offset, is_extended=False)
            offset = self.read_int(offset + 1, 1) & ~3

    def _chain_of_extended(self) -> Iterator[Capability]:
        seen = {0}
        offset = _EXTENDED
        while offset not in seen and (header := self.read_int(offset, 4)) not in (0, 0xFFFF_FFFF):
            seen.add(offset)
            yield Capability(header & 0xFFFF, offset, is_extended=True)
            offset = header >> 20 & ~3
