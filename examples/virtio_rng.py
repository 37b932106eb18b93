"""A virtio driver of user space: random bytes from an entropy device, by interrupt.

    python examples/virtio_rng.py [--backend type1|iommufd] ADDRESS [COUNT]

ADDRESS is a PCI function behind an IOMMU. Numbers: Virtual I/O Device Specification 1.2.
"""

import argparse
import struct
from contextlib import ExitStack, closing

import phyr
from phyr import pci
from phyr.iommufd import Ioas
from phyr.vfio import Type1

Backend = Type1 | Ioas
BACKENDS: dict[str, type[Backend]] = {"type1": Type1, "iommufd": Ioas}
VENDOR, COMMON, NOTIFY = 0x09, 1, 2  # structures behind vendor capabilities, section 4.1.4
# Fields of the common one, section 4.1.4.3, and bits of the device's status, section 2.1.
FEATURE_SELECT, FEATURES, DRIVER_SELECT, DRIVER_FEATURES = 0x00, 0x04, 0x08, 0x0C
STATUS, QUEUE_SIZE, QUEUE_VECTOR, QUEUE_ON = 0x14, 0x18, 0x1A, 0x1C
NOTIFY_OFFSET, TABLE, AVAILABLE, USED = 0x1E, 0x20, 0x28, 0x30
FOUND, DRIVER, RUNNING, FEATURES_OK = 1, 2, 4, 8
VERSION_1, ACCESS_PLATFORM = 1 << 32, 1 << 33  # features, section 6: an IOMMU translates
DEVICE_WRITES = 2  # a descriptor's flag, section 2.7.5
AVAIL_AT, USED_AT = 0x100, 0x200  # the parts of a queue of one descriptor, section 2.7


class Rng:
    """An entropy device, with its only queue."""

    def __init__(self, device: pci.Device, backend: Backend) -> None:
        places: dict[int, tuple[int, ...]] = {}
        for capability in device.config.capabilities():
            if capability.id == VENDOR and not capability.is_extended:
                kind, *place = struct.unpack("<3xBB3xI", device.config.read(capability.offset, 12))
                places.setdefault(kind, (capability.offset, *place))
        _, bar, self.at = places[COMMON]
        common = device.region(bar)
        self.views = {1: common.u8, 2: common.u16, 4: common.u32}
        with ExitStack() as stack:
            self.pool = stack.enter_context(phyr.DmaPool(backend, 2 * 4096))
            stack.callback(self.reset)  # before its memory goes
            self.reset()
            self.put(STATUS, 1, FOUND | DRIVER)
            self.negotiate(VERSION_1 | ACCESS_PLATFORM)
            (self.irq,) = device.irqs["msix"].enable(1)
            self.put(QUEUE_SIZE, 2, 1)
            self.put(QUEUE_VECTOR, 2, 0)
            self.buffer, self.ring = self.pool.take(4096), self.pool.take(4096)
            for field, at in ((TABLE, 0), (AVAILABLE, AVAIL_AT), (USED, USED_AT)):
                self.put(field, 4, self.ring.dma[at] & 0xFFFF_FFFF)
                self.put(field + 4, 4, self.ring.dma[at] >> 32)
            where, bar, offset = places[NOTIFY]
            step = device.config.read_int(where + 16, 4)
            self.doorbell = device.region(bar).u16
            self.door = (offset + self.get(NOTIFY_OFFSET, 2) * step) // 2
            self.put(QUEUE_ON, 2, 1)
            device.bus_master = True
            self.put(STATUS, 1, FOUND | DRIVER | FEATURES_OK | RUNNING)
            self.count = 0
            self.close = stack.pop_all().close

    def get(self, field: int, size: int) -> int:
        return self.views[size][(self.at + field) // size]

    def put(self, field: int, size: int, value: int) -> None:
        self.views[size][(self.at + field) // size] = value

    def reset(self) -> None:
        """Have the device forget its queue: it reaches no memory any more."""
        self.put(STATUS, 1, 0)

    def negotiate(self, wanted: int) -> None:
        """Settle the features: all of those, and no others."""
        for half in (0, 1):
            self.put(FEATURE_SELECT, 4, half)
            if wanted >> 32 * half & ~self.get(FEATURES, 4) & 0xFFFF_FFFF:
                raise ValueError(f"the device lacks one of the features {wanted:#x}")
            self.put(DRIVER_SELECT, 4, half)
            self.put(DRIVER_FEATURES, 4, wanted >> 32 * half & 0xFFFF_FFFF)
        self.put(STATUS, 1, FOUND | DRIVER | FEATURES_OK)

    def read(self, length: int) -> bytes:
        """Return random bytes, at most a page."""
        view = self.ring.view
        struct.pack_into("<QIHH", view, 0, self.buffer.dma_addr, length, DEVICE_WRITES, 0)
        self.count = self.count + 1 & 0xFFFF
        struct.pack_into("<HHH", view, AVAIL_AT, 0, self.count, 0)
        self.doorbell[self.door] = 0
        while struct.unpack_from("<H", view, USED_AT + 2)[0] != self.count:
            if not self.irq.wait(10):
                raise TimeoutError("the device does not answer")
        return bytes(self.buffer.view[: struct.unpack_from("<I", view, USED_AT + 8)[0]])


def main(words: list[str] | None = None) -> bytes:
    """Read from the device that the command line names."""
    parser = argparse.ArgumentParser(description="Read random bytes from a virtio entropy device.")
    parser.add_argument("address", help="PCI function, such as 0000:00:06.0")
    parser.add_argument("count", nargs="?", type=int, default=16, help="bytes, 16 by default")
    parser.add_argument("--backend", choices=BACKENDS, default="type1")
    arguments = parser.parse_args(words)
    data = b""
    with (
        pci.bound(arguments.address, "vfio-pci") as function,
        BACKENDS[arguments.backend]() as backend,
        backend.open(function) as device,
        closing(Rng(device, backend)) as rng,
    ):
        while len(data) < arguments.count:
            data += rng.read(min(arguments.count - len(data), 4096))
    print(data.hex(" ", 4))
    return data


if __name__ == "__main__":
    main()
