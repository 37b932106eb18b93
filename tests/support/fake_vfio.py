"""A kernel's VFIO and iommufd, as far as phyr uses them: tables instead of an IOMMU.

It stands behind `phyr._devices.uapi`. Requests are decoded here a second time, from the layouts of
include/uapi/linux/vfio.h and iommufd.h, and checked as the kernel checks them. Files are real ones,
so that reading, mapping into memory and leaking them are real.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phyr._devices import uapi
from support.fake_iommufd import PageTables
from support.fake_reset import Resets
from support.refusal import fail

TYPE1V2, NOIOMMU = 3, 8
BAR0, CONFIG = 0, 1 << 16
Range = tuple[int, int]


class Space:
    """An I/O page table: which stretches of user memory are where."""

    def __init__(self, ranges: list[Range], granule: int) -> None:
        self.ranges = ranges
        self.granule = granule
        self.limit = 65535
        # By I/O address: user address, length, access.
        self.maps: dict[int, tuple[int, int, int]] = {}

    def map(self, uaddr: int, iova: int, length: int, access: int) -> None:
        last = iova + length - 1
        if not length or (uaddr | iova | length) % self.granule or not 1 <= access <= 3:
            raise fail(errno.EINVAL)
        if not any(low <= iova and last <= high for low, high in self.ranges):
            raise fail(errno.EINVAL)
        if any(iova < at + size and at <= last for at, (_, size, _) in self.maps.items()):
            raise fail(errno.EEXIST)
        if len(self.maps) >= self.limit:
            raise fail(errno.ENOSPC)
        self.maps[iova] = (uaddr, length, access)

    def unmap(self, iova: int, length: int) -> None:
        if self.maps.get(iova, (0, 0, 0))[1] != length:
            raise fail(errno.ENOENT)
        del self.maps[iova]


class FakeKernel(PageTables, Resets):
    """One machine with a device in a group of its own, and one with a neighbour.

    `fail_at` is the number of the call, of all those that reach the kernel, which fails.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        PageTables.__init__(self)
        Resets.__init__(self)
        self.sys, self.dev = root / "sys", root / "dev"
        self.drivers = {"vfio-pci": True, "nvme": True, "useless": False}
        self.natural: dict[str, str] = {}
        self.groups: dict[str, int] = {}
        self.ranges = [(0, 0xFEDF_FFFF), (0xFEF0_0000, 2**39 - 1)]
        self.granule = 4096
        self.caps = True
        self.limit = 65535
        self.extensions = {TYPE1V2, NOIOMMU}
        self.viable = True
        self.exports = True
        self.mappable = True
        self.space: Space | None = None
        self.ioas: dict[int, Space] = {}
        # The open file that each of them belongs to.
        self.owners: dict[int, int] = {}
        self.asked = -1
        # How many interrupts of INTx, MSI and MSI-X each device has; what is enabled, by kind, as
        # this kernel's own files; and what is masked.
        self.irqs = [1, 4, 8]
        self.enabled: dict[int, list[int]] = {}
        self.masked = False
        self.pending = 0
        self.members: set[str] = set()
        self.bound: dict[str, str] = {}
        self.attached: list[int] = []
        self.calls = 0
        self.fail_at = 0
        self.errno = errno.EIO
        self.log: list[str] = []
        for name in self.drivers:
            (self.sys / "drivers" / name).mkdir(parents=True)
        for name in ("vfio/vfio", "iommu"):
            self._file(self.dev / name)
        patch.setattr(uapi, "SYSFS", self.sys)
        patch.setattr(uapi, "DEV", self.dev)
        for name, mine in (
            ("open_file", self.open_file),
            ("close", self.close),
            ("ioctl", self.ioctl),
            ("write_file", self.write_file),
        ):
            setattr(self, f"real_{name}", getattr(uapi, name))
            patch.setattr(uapi, name, mine)

    real_open_file: Callable[..., int]
    real_close: Callable[[int], None]

    @staticmethod
    def _file(path: Path, data: bytes = b"") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def add(self, address: str, group: int | None, driver: str | None = None) -> Path:
        """Plug in a device: BAR 0 is 8 KiB of memory, BAR 1 ports, BAR 5 a part of a page."""
        folder = self.sys / "devices" / address
        config = bytearray(256)
        config[:6] = b"\x36\x1b\x10\x00\x02\x04"
        self._file(folder / "config", bytes(config))
        self._file(folder / "enable", b"0")
        self._file(folder / "reset", b"")
        self._file(folder / "driver_override", b"(null)\n")
        self._file(folder / "resource0", bytes(8192))
        lines = ["0xfea00000 0xfea01fff 0x40200", "0xc000 0xc0ff 0x40101"] + ["0x0 0x0 0x0"] * 3
        # Less than a page, which other devices share.
        lines.append("0xfea02800 0xfea02fff 0x40200")
        (folder / "resource").write_text("".join(f"{line}\n" for line in lines))
        self._file(self.dev / f"device-{address}", bytes(8192).ljust(CONFIG, b"\0") + config)
        if group is not None:
            self.groups[address] = group
            self._file(self.dev / "vfio" / str(group))
            self._file(self.dev / "vfio" / f"noiommu-{group}")
            members = self.sys / "groups" / str(group) / "devices" / address
            members.mkdir(parents=True)
            (folder / "iommu_group").symlink_to(members.parents[1])
        if driver:
            self.natural[address] = driver
            self._give(address, driver)
        return folder

    # sysfs

    def _give(self, address: str, driver: str) -> None:
        folder = self.sys / "devices" / address
        (folder / "driver").symlink_to(self.sys / "drivers" / driver)
        if driver == "vfio-pci":
            number = f"vfio{len(self.groups)}"
            (folder / "vfio-dev" / number).mkdir(parents=True)
            cdev = self.dev / "vfio" / "devices" / number
            cdev.parent.mkdir(exist_ok=True)
            cdev.unlink(missing_ok=True)
            # The same file under another name.
            cdev.hardlink_to(self.dev / f"device-{address}")

    def _take(self, address: str) -> None:
        folder = self.sys / "devices" / address
        for path in folder.glob("vfio-dev/*"):
            path.rmdir()
        (folder / "driver").unlink()

    def write_file(self, path: Path, text: str) -> None:
        self._count(f"write {path.relative_to(self.sys)}")
        address = path.parent.name
        match path.name:
            case "unbind":
                assert path.parent.is_symlink()
                # The kernel would wait for those who have it open.
                assert not any("device" in name for name in self.open_files)
                self._take(text)
            case "driver_override":
                self.bound.pop(address, None)
                if text.strip():
                    self.bound[address] = text
                path.write_text(f"{text.strip() or '(null)'}\n")
            case "drivers_probe":
                driver = self.bound.get(text, self.natural.get(text))
                if driver and self.drivers[driver]:
                    self._give(text, driver)
            case "enable" | "reset":
                path.write_text(text)
            case _:
                raise AssertionError(path)

    # Files

    @staticmethod
    def _files() -> list[int]:
        return [int(path.name) for path in Path("/proc/self/fd").iterdir()]

    def _name(self, fd: int) -> str:
        try:
            path = Path(f"/proc/self/fd/{fd}").readlink()
        except FileNotFoundError:
            return ""
        return str(path.relative_to(self.dev)) if self.dev in path.parents else ""

    @property
    def open_files(self) -> list[str]:
        """Return the files of the machine that this process has open."""
        return sorted(filter(None, map(self._name, self._files())))

    def _count(self, what: str) -> None:
        self.log.append(what)
        self.calls += 1
        if self.calls == self.fail_at:
            raise fail(self.errno)

    def open_file(self, path: Path, **numbers: object) -> int:
        try:
            self._count(f"open {path.name}")
        except OSError as failure:
            raise uapi.refused(failure, "open", path=str(path), **numbers) from None
        return self.real_open_file(path, **numbers)

    def close(self, fd: int) -> None:
        name = self._name(fd)
        self.real_close(fd)
        self.members.discard(name)
        if "device" in name:
            # Its end disables its interrupts.
            for fds in self.enabled.values():
                for each in fds:
                    os.close(each)
            self.enabled.clear()
            self.seen.pop(name, None)
        if name.startswith("vfio/") and not self.members:
            # The last group leaves: the container has no page table any more.
            self.space = None
        for number, owner in list(self.owners.items()):
            if owner == fd:
                del self.owners[number], self.ioas[number]
                self.tables = {at: t for at, t in self.tables.items() if t.ioas != number}

    # Requests

    def ioctl(self, fd: int, number: int, argument: int | bytearray = 0) -> int:
        # Two numbers mean something else for a device than for a container.
        of_device = " device" if "device" in self._name(fd) and number in (0x3B70, 0x3B71) else ""
        self._count(f"ioctl {number:#x}{of_device}")
        assert number >> 8 == ord(";")
        handlers: dict[int, Callable[[str, Any], int | None]] = {
            101: self._check_extension,
            102: self._set_iommu,
            103: self._group_status,
            104: self._set_container,
            106: self._device_fd,
            108: self._region_info,
            109: self._irq_info,
            110: self._set_irqs,
            111: self._reset,
            112: self._get_info,
            113: self._map_dma,
            114: self._unmap_dma,
            117: self._feature,
            118: self._bind_iommufd,
            119: self._attach,
            0x81: self._ioas_alloc,
            0x84: self._iova_ranges,
            0x85: self._ioas_map,
            0x86: self._ioas_unmap,
            0x8F: self._ioas_map_file,
            **self.iommufd_requests(),
        }
        self.asked = fd
        if of_device:
            handlers |= {112: self._hot_reset_info, 113: self._hot_reset}
        return handlers[number & 0xFF](self._name(fd), argument) or 0

    def _check_extension(self, name: str, model: int) -> int:
        assert name == "vfio/vfio"
        return int(model in self.extensions)

    def _set_iommu(self, name: str, model: int) -> None:
        assert name == "vfio/vfio"
        if not self.members:
            raise fail(errno.EINVAL)
        assert ("noiommu" in next(iter(self.members))) == (model == NOIOMMU)
        self.space = Space(self.ranges, self.granule)
        self.space.limit = self.limit

    def _group_status(self, _: str, argument: bytearray) -> None:
        assert struct.unpack("=II", argument) == (8, 0)
        struct.pack_into("=I", argument, 4, int(self.viable))

    def _set_container(self, name: str, argument: bytearray) -> None:
        (fd,) = struct.unpack("=i", argument)
        assert self._name(fd) == "vfio/vfio"
        self.members.add(name)

    def _device_fd(self, name: str, argument: bytearray) -> int:
        assert argument[-1] == 0
        address = argument[:-1].decode()
        assert name.endswith(str(self.groups[address]))
        if not (self.sys / "devices" / address / "vfio-dev").exists() or not self.space:
            raise fail(errno.ENODEV)
        return os.open(self.dev / f"device-{address}", os.O_RDWR)

    def _region_info(self, _: str, argument: bytearray) -> None:
        size, _, index, _, _, _ = struct.unpack("=IIIIQQ", argument)
        assert size == len(argument) == 32
        flags = 7 if self.mappable or index == 7 else 3
        length, offset = {0: (8192, BAR0), 7: (256, CONFIG)}.get(index, (0, 0))
        struct.pack_into("=IIIIQQ", argument, 0, size, flags, index, 0, length, offset)

    def _irq_info(self, name: str, argument: bytearray) -> None:
        size, flags, index, _ = struct.unpack("=IIII", argument)
        assert (size, flags) == (16, 0)
        assert "device" in name
        # INTx can be masked, and masks itself; the others are as many as were enabled.
        flags = 1 | (2 | 4 if index == 0 else 8)
        struct.pack_into("=IIII", argument, 0, 16, flags, index, self.irqs[index])

    def _set_irqs(self, name: str, argument: bytearray) -> None:
        size, flags, index, first, count = struct.unpack_from("=IIIII", argument)
        assert "device" in name
        data, action = flags & 7, flags & 0x38
        assert flags == data | action
        assert (data, size) == (4, 20 + 4 * count) or (data, size, len(argument)) == (1, 20, 20)
        if first + count > self.irqs[index]:
            raise fail(errno.EINVAL)
        if action == 32 and data == 4:
            if self.enabled:
                raise fail(errno.EINVAL)
            files = struct.unpack_from(f"={count}i", argument, 20)
            self.enabled[index] = [os.dup(fd) for fd in files]
        elif action == 32 and count == 0:
            for fd in self.enabled.pop(index):
                os.close(fd)
        elif action == 32:
            for number in range(first, first + count):
                self.interrupt(index, number)
        elif index != 0:
            raise fail(errno.ENOTTY)
        else:
            self.masked = action == 8
            if not self.masked and self.pending:
                self.interrupt(0, 0)

    def interrupt(self, index: int, number: int) -> None:
        """Do what the kernel does when a device interrupts."""
        if index == 0 and self.masked:
            self.pending = 1
            return
        self.masked, self.pending = index == 0, 0
        os.eventfd_write(self.enabled[index][number], 1)

    def _reset(self, name: str, argument: int) -> None:
        assert "device" in name
        assert argument == 0
        self.log.append("reset")

    def _get_info(self, name: str, argument: bytearray) -> None:
        assert name == "vfio/vfio"
        if not self.space:
            raise fail(errno.EINVAL)
        (size,) = struct.unpack_from("=I", argument)
        assert size == len(argument) >= 20
        sizes = self.granule | 0x4020_0000
        if not self.caps:
            struct.pack_into("=IIQ", argument, 0, size, 1, sizes)
            return
        ranges = b"".join(struct.pack("=QQ", *each) for each in self.space.ranges)
        one = struct.pack("=HHIII", 1, 1, 24 + 16 + len(ranges), len(self.space.ranges), 0) + ranges
        # One that phyr does not know, between those that it does.
        two = struct.pack("=HHIQ", 2, 1, 24 + len(one) + 16, 0)
        three = struct.pack("=HHII", 3, 1, 0, self.space.limit - len(self.space.maps))
        needed = 24 + len(one) + len(two) + len(three)
        where = 0
        if size >= needed:
            where = 24
            argument[24:needed] = one + two + three
        struct.pack_into("=IIQI", argument, 0, max(size, needed), 3, sizes, where)

    def _map_dma(self, name: str, argument: bytearray) -> None:
        size, flags, uaddr, iova, length = struct.unpack("=IIQQQ", argument)
        assert (name, size) == ("vfio/vfio", 32)
        assert self.space
        self.space.map(uaddr, iova, length, flags)

    def _unmap_dma(self, name: str, argument: bytearray) -> None:
        size, flags, iova, length = struct.unpack("=IIQQ", argument)
        assert (name, size, flags) == ("vfio/vfio", 24, 0)
        if not self.space:
            raise fail(errno.EINVAL)
        self.space.unmap(iova, length)

    def _feature(self, name: str, argument: bytearray) -> int:
        """Make what stands for a dma-buf: a file that says of which region it is."""
        size, flags, region, how, zero, count, offset, length = struct.unpack("=6I2Q", argument)
        assert "device" in name
        assert (size, flags, how, zero, count) == (
            40,
            1 << 16 | 11,
            os.O_RDWR | os.O_CLOEXEC,
            0,
            1,
        )
        if not self.exports:
            raise fail(errno.ENOTTY)
        if (offset | length) % 4096 or offset + length > 8192 or region:
            raise fail(errno.EINVAL)
        fd = os.memfd_create("dmabuf", os.MFD_CLOEXEC)
        os.write(fd, struct.pack("=2Q", offset, length))
        return fd

    def _ioas_map_file(self, name: str, argument: bytearray) -> None:
        size, flags, number, fd, start, length, iova = struct.unpack("=3Ii3Q", argument)
        assert (name, size, flags & ~6) == ("iommu", 40, 1)
        offset = start
        if "dmabuf" in str(Path(f"/proc/self/fd/{fd}").readlink()):
            offset, there = struct.unpack("=2Q", os.pread(fd, 16, 0))
            assert (start, there) == (0, length)
        elif start + length > os.fstat(fd).st_size:
            raise fail(errno.EINVAL)
        access = (flags >> 2 & 1) | (flags >> 1 & 1) << 1
        self.ioas[number].map(offset, iova, length, access)

    def _bind_iommufd(self, name: str, argument: bytearray) -> None:
        size, flags, fd, _ = struct.unpack("=IIiI", argument)
        assert (size, flags, self._name(fd)) == (16, 0, "iommu")
        assert name.startswith("vfio/devices/")
        number = self.number()
        self.devices.add(number)
        struct.pack_into("=I", argument, 12, number)

    def _attach(self, name: str, argument: bytearray) -> None:
        size, flags, number = struct.unpack("=III", argument)
        assert (size, flags) == (12, 0)
        self.seen[name] = number
        if number in self.tables:
            number = self.tables[number].ioas
        self.ioas[number].ranges = self.ranges
        self.ioas[number].granule = self.granule

    def _ioas_alloc(self, name: str, argument: bytearray) -> None:
        size, flags, _ = struct.unpack("=III", argument)
        assert (name, size, flags) == ("iommu", 12, 0)
        number = self.number()
        self.owners[number] = self.asked
        self.ioas[number] = Space([(0, 2**64 - 1)], 1)
        struct.pack_into("=I", argument, 8, number)

    def _iova_ranges(self, _: str, argument: bytearray) -> None:
        size, number, room, reserved, where, _ = struct.unpack("=IIIIQQ", argument)
        assert (size, reserved) == (32, 0)
        ranges = self.ioas[number].ranges
        struct.pack_into("=I", argument, 8, len(ranges))
        struct.pack_into("=Q", argument, 24, self.ioas[number].granule)
        data = b"".join(struct.pack("=QQ", *each) for each in ranges[:room])
        ctypes.memmove(where, data, len(data))
        if len(ranges) > room:
            raise fail(errno.EMSGSIZE)

    def _ioas_map(self, _: str, argument: bytearray) -> None:
        size, flags, number, reserved, uaddr, length, iova = struct.unpack("=IIIIQQQ", argument)
        # The address is fixed; writing is bit 1 and reading bit 2.
        assert (size, reserved, flags & ~6) == (40, 0, 1)
        access = (flags >> 2 & 1) | (flags >> 1 & 1) << 1
        self.ioas[number].map(uaddr, iova, length, access)

    def _ioas_unmap(self, _: str, argument: bytearray) -> None:
        size, number, iova, length = struct.unpack("=IIQQ", argument)
        assert size == 24
        self.ioas[number].unmap(iova, length)

    @property
    def maps(self) -> dict[int, tuple[int, int, int]]:
        """All that is mapped, anywhere."""
        spaces = [*self.ioas.values(), *([self.space] if self.space else [])]
        return {iova: one for space in spaces for iova, one in space.maps.items()}
