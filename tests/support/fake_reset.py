"""The part of a simulated kernel that resets buses.

Requests are decoded from the layouts of include/uapi/linux/vfio.h, as in `support.fake_vfio`.
"""

import errno
import struct
from collections.abc import Callable

from support.refusal import fail


class Resets:
    """Knows which functions share a bus, and in which groups they are."""

    groups: dict[str, int]
    log: list[str]
    _name: Callable[[int], str]

    def __init__(self) -> None:
        self.bus: list[str] | None = None
        """The functions of the bus that can be reset."""
        self.growing = False

    def _hot_reset_info(self, name: str, argument: bytearray) -> None:
        size, flags, _ = struct.unpack_from("=III", argument)
        assert "device" in name
        assert (size, flags) == (len(argument), 0)
        if self.bus is None:
            raise fail(errno.ENODEV)
        struct.pack_into("=I", argument, 8, len(self.bus) * (not self.growing))
        if size < 12 + 8 * len(self.bus):
            raise fail(errno.ENOSPC)
        for number, address in enumerate(self.bus):
            domain, bus, slot = address.split(":")
            device, function = (int(part, 16) for part in slot.split("."))
            row = (self.groups[address], int(domain, 16), int(bus, 16), device << 3 | function)
            struct.pack_into("=IHBB", argument, 12 + 8 * number, *row)

    def _hot_reset(self, name: str, argument: bytearray) -> None:
        size, flags, count = struct.unpack_from("=III", argument)
        assert "device" in name
        assert (size, flags) == (len(argument), 0)
        assert size == 12 + 4 * count
        files = [self._name(fd) for fd in struct.unpack_from(f"={count}i", argument, 12)]
        self.log.append(f"hot reset {' '.join(files)}")
