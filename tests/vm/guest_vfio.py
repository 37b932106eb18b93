"""Checks of mapping, of the edu device and of what goes wrong: type1, iommufd, no IOMMU."""

import asyncio
import errno
import itertools
import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TypeAlias

from harness import (
    EDU,
    IOMMUS,
    KINDS,
    NVME,
    PAGE,
    RNG,
    Checks,
    Edu,
    Skip,
    expected,
    faults,
    fork,
    huge,
    kind,
    log,
    pages_of,
    raises,
    runs_of,
    scattered,
    traced,
    uaddr_of,
)

import phyr
from phyr import LimitError, PinError, VfioError, pci
from phyr._devices import uapi
from phyr.iommu import Direction, Prot, dma_map
from phyr.iommufd import Ioas
from phyr.vfio import NoIommu, Type1

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import virtio_rng

checks = Checks()
Backend: TypeAlias = Type1 | Ioas | NoIommu
BOTH = Direction.BIDIRECTIONAL


def iommufd() -> Ioas:
    """Return an address space, or skip where the kernel has none."""
    if not Path("/dev/iommu").exists():
        raise Skip("this kernel has no iommufd")
    return Ioas()


def noiommu() -> NoIommu:
    """Return VFIO without IOMMU, or skip where the kernel has none."""
    if not Path("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode").exists():
        raise Skip("this kernel has no VFIO without IOMMU")
    return NoIommu()


@contextmanager
def edu_of(backend: Backend) -> Iterator[Edu]:
    """Open the edu device through a backend."""
    with pci.bound(EDU, "vfio-pci") as function, backend, backend.open(function) as device:
        yield Edu(device)


def pattern(seed: int, length: int) -> bytes:
    """Return bytes that differ from place to place."""
    return bytes((seed + at * 7 + at // 251) & 0xFF for at in range(length))


# What the list says is what the IOMMU driver is told.


def driver_is_told_the_list(backend: Type1 | Ioas, buffer: mmap.mmap) -> dict[str, float]:
    """Map a buffer and compare: list, page map and trace."""
    asked = []

    def ioctl(fd: int, number: int, argument: int | bytearray = 0) -> int:
        asked.append(number)
        return real(fd, number, argument)

    with edu_of(backend), phyr.pin(buffer) as pinned:
        runs = runs_of(pages_of(pinned.uaddr, len(buffer)))
        assert [tuple(chunk) for chunk in pinned.phyr.chunks] == runs
        real, uapi.ioctl = uapi.ioctl, ioctl
        try:
            with traced() as trace:
                began = time.perf_counter()
                with dma_map(pinned.phyr, backend, BOTH) as mapping:
                    seconds = time.perf_counter() - began
                    ((iova, length),) = mapping.dma.chunks
                    assert length == len(buffer)
                    got = trace()
                assert got.maps == expected(iova, pinned.phyr)
                assert got.unmapped == 0
                assert trace().unmapped == len(buffer), trace()
        finally:
            uapi.ioctl = real
        assert len(asked) == 2, "one request to map, one to unmap"
        assert pinned.moved() is None
    return {"chunks": len(runs), "bytes": len(buffer), "map_ms": round(seconds * 1e3, 1)}


@checks.on(*IOMMUS)
def type1_driver_is_told_a_scattered_list() -> object:
    buffer = scattered(64 << 20)
    figures = driver_is_told_the_list(Type1(), buffer)
    assert figures["chunks"] > 10_000
    return figures


@checks.on(*IOMMUS)
def iommufd_driver_is_told_a_scattered_list() -> object:
    buffer = scattered(64 << 20)
    figures = driver_is_told_the_list(iommufd(), buffer)
    assert figures["chunks"] > 10_000
    return figures


@checks.on(*IOMMUS)
def type1_driver_is_told_a_list_of_huge_pages() -> object:
    return driver_is_told_the_list(Type1(), huge(4))


@checks.on(*IOMMUS)
def iommufd_driver_is_told_a_list_of_huge_pages() -> object:
    return driver_is_told_the_list(iommufd(), huge(4))


def large_pages_stay_large(backend: Type1 | Ioas) -> None:
    """A window lies as its memory does, modulo 2 MiB, so that the IOMMU can use large pages."""
    with edu_of(backend), phyr.pin(huge(2)) as pinned:
        with dma_map(pinned.phyr, backend, BOTH) as mapping:
            assert mapping.dma[0] % (2 << 20) == pinned.phyr[0] % (2 << 20) == 0
        part = pinned.phyr[0x5123:]
        with dma_map(part, backend, BOTH) as mapping:
            assert mapping.dma[0] % (2 << 20) == part[0] % (2 << 20) == 0x5123


@checks.on(*IOMMUS)
def type1_large_pages_stay_large() -> None:
    large_pages_stay_large(Type1())


@checks.on(*IOMMUS)
def iommufd_large_pages_stay_large() -> None:
    large_pages_stay_large(iommufd())


# Bytes through the mapping.


def edu_moves_bytes(backend: Backend) -> None:
    """Copy from here to there through the device, at odd places, and compare all of the buffer."""
    buffer = scattered(32 * PAGE, seed=3)
    buffer[:] = before = pattern(1, len(buffer))
    source, target, length = 5 * PAGE + 0x123, 20 * PAGE + 0x456, 0x789
    with edu_of(backend) as edu, phyr.pin(buffer) as pinned:
        part = pinned.phyr[source : source + length]
        with dma_map(part, backend, Direction.TO_DEVICE) as mapping:
            for dma_addr, there in mapping.dma.chunks:
                edu.fetch(dma_addr, there)
        part = pinned.phyr[target : target + length]
        with dma_map(part, backend, Direction.FROM_DEVICE) as mapping:
            for dma_addr, there in mapping.dma.chunks:
                edu.store(dma_addr, there)
    moved = before[source : source + length]
    assert buffer[:] == before[:target] + moved + before[target + length :]


@checks.on(*IOMMUS)
def type1_edu_moves_bytes() -> None:
    edu_moves_bytes(Type1())


@checks.on(*IOMMUS)
def iommufd_edu_moves_bytes() -> None:
    edu_moves_bytes(iommufd())


@checks.on("none")
def noiommu_edu_moves_bytes() -> None:
    edu_moves_bytes(noiommu())


@checks.on("none")
def noiommu_by_sysfs_edu_moves_bytes() -> None:
    buffer = scattered(PAGE)
    buffer[:4] = b"mail"
    with (
        pci.bound(EDU, None) as function,
        NoIommu(sysfs=True) as backend,
        backend.open(function) as device,
        phyr.pin(buffer) as pinned,
        dma_map(pinned.phyr, backend, BOTH) as mapping,
    ):
        edu = Edu(device)
        edu.fetch(mapping.dma[0], 4)
        edu.store(mapping.dma[8], 4)
    assert buffer[:12] == b"mail\0\0\0\0mail"


@checks.on("none")
def noiommu_maps_a_list_to_itself() -> None:
    with edu_of(backend := noiommu()), phyr.pin(scattered(PAGE)) as pinned:
        with dma_map(pinned.phyr, backend, BOTH) as mapping:
            assert mapping.dma is pinned.phyr
        assert backend.map(pinned.phyr, BOTH) is pinned.phyr


@checks.on("none")
def noiommu_refuses_memory_that_may_move() -> None:
    with (
        edu_of(backend := noiommu()),
        phyr.pin(scattered(PAGE), method="mlock") as locked,
        raises(PinError, method="mlock"),
    ):
        dma_map(locked.phyr, backend, BOTH)


# What a device may not do.


def stray_write_faults(backend: Type1 | Ioas) -> None:
    """Let the device write around the mapping, and into what it may only read."""
    buffer = scattered(3 * PAGE)
    buffer[:] = before = pattern(5, len(buffer))
    with edu_of(backend) as edu, phyr.pin(buffer) as pinned, log() as said:
        page = pinned.phyr[PAGE : 2 * PAGE]
        with dma_map(page, backend, Direction.TO_DEVICE) as mapping:
            dma_addr = mapping.dma[0]
            edu.fetch(dma_addr, 64)
            for stray in (dma_addr - PAGE, dma_addr + PAGE, dma_addr):
                edu.store(stray, 64)
        # It is no longer there at all.
        edu.store(dma_addr, 64)
        assert buffer[:] == before
        strays = {dma_addr - PAGE, dma_addr, dma_addr + PAGE}
        if kind() == "intel":
            assert faults(said, EDU, strays) >= strays


@checks.on(*IOMMUS)
def type1_stray_write_faults() -> None:
    stray_write_faults(Type1())


@checks.on(*IOMMUS)
def iommufd_stray_write_faults() -> None:
    stray_write_faults(iommufd())


def what_is_mapped_from_device_is_read(backend: Type1 | Ioas) -> dict[str, bool]:
    """Let the device read what it may only write; tell whether it got the bytes."""
    buffer = scattered(2 * PAGE)
    buffer[: 2 * PAGE] = bytes(2 * PAGE)
    buffer[:64] = secret = pattern(9, 64)
    with edu_of(backend) as edu, phyr.pin(buffer) as pinned:
        one, other = pinned.phyr[:PAGE], pinned.phyr[PAGE:]
        with (
            dma_map(one, backend, Direction.FROM_DEVICE) as source,
            dma_map(other, backend, BOTH) as target,
        ):
            # What the device held before is no secret.
            edu.fetch(target.dma[0], 64)
            edu.fetch(source.dma[0], 64)
            edu.store(target.dma[0], 64)
        got = buffer[PAGE : PAGE + 64] == secret
        # What is said of it is so; nothing is said of kernels between those that are tested.
        assert backend.enforces_write_only is not got
    return {"read": got}


@checks.on(*IOMMUS)
def type1_device_reads_what_it_may_only_write() -> object:
    return what_is_mapped_from_device_is_read(Type1())


@checks.on(*IOMMUS)
def iommufd_device_reads_what_it_may_only_write() -> object:
    return what_is_mapped_from_device_is_read(iommufd())


def addresses_are_of_the_kernels_ranges(backend: Type1 | Ioas) -> None:
    """Ranges are told, and the interrupts' own is not among them."""
    with edu_of(backend):
        ranges = backend.ranges
        assert not any(first <= 0xFEE0_0000 <= last for first, last in ranges)
        buffer = scattered(PAGE)
        low = backend.map_user(uaddr_of(buffer), PAGE, Prot.READ)
        assert any(first <= low <= last for first, last in ranges)


@checks.on(*IOMMUS)
def type1_addresses_are_of_the_kernels_ranges() -> None:
    addresses_are_of_the_kernels_ranges(Type1())


@checks.on(*IOMMUS)
def iommufd_addresses_are_of_the_kernels_ranges() -> None:
    addresses_are_of_the_kernels_ranges(iommufd())


@checks.on(*IOMMUS)
def narrow_device_gets_low_addresses() -> None:
    backend = Type1(dma_mask=0x1_0000)
    with edu_of(backend), phyr.pin(scattered(32 * PAGE)) as pinned:
        first = backend.map(pinned.phyr[: 14 * PAGE], BOTH)
        assert first[len(first) - 1] <= 0x1_0000
        with raises(phyr.IovaSpaceError, last=0x1_0000):
            backend.map(pinned.phyr, BOTH)


@checks.on(*IOMMUS)
def entry_limit_is_an_error_that_names_it() -> None:
    limit = Path("/sys/module/vfio_iommu_type1/parameters/dma_entry_limit")
    before = limit.read_text()
    limit.write_text("3")
    try:
        with edu_of(backend := Type1()), phyr.pin(scattered(4 * PAGE)) as pinned:
            assert backend.entry_limit == 3
            pages = [pinned.phyr[at : at + PAGE] for at in range(0, 4 * PAGE, PAGE)]
            mapped = [backend.map(page, BOTH) for page in pages[:3]]
            with raises(LimitError, limit=3, mapped=3):
                backend.map(pages[3], BOTH)
            backend.unmap(mapped[1], BOTH)
            backend.map(pages[3], BOTH)
    finally:
        limit.write_text(before)


# What goes wrong.


def opened_twice(make: Callable[[], Type1 | Ioas]) -> None:
    """A second user is refused, in this process and in another; the first one goes on."""
    buffer = scattered(PAGE)
    buffer[:4] = b"mail"

    def other() -> None:
        # This process has no device open, whatever its parent has.
        pci.device.OPEN.clear()
        with make() as backend, suppress(VfioError):
            backend.open(EDU)
            os._exit(7)

    with edu_of(backend := make()) as edu, phyr.pin(buffer) as pinned:
        with make() as another:
            for second in (backend, another):
                with raises(VfioError, errno=errno.EBUSY):
                    second.open(EDU)
        assert os.waitpid(fork(other), 0)[1] == 0
        with dma_map(pinned.phyr, backend, BOTH) as mapping:
            edu.fetch(mapping.dma[0], 4)
            edu.store(mapping.dma[4], 4)
    assert buffer[:8] == b"mailmail"


@checks.on("intel")
def type1_device_opened_twice() -> None:
    opened_twice(Type1)


@checks.on("intel")
def iommufd_device_opened_twice() -> None:
    opened_twice(iommufd)


def killed_in_the_midst(make: Callable[[], Backend]) -> None:
    """Kill a process while its device copies; the next one finds all as new."""
    # Skips the check where there is no such backend, which a child could not.
    make().close()
    read, write = os.pipe()

    def victim() -> None:
        buffer = scattered(PAGE)
        with edu_of(backend := make()) as edu, phyr.pin(buffer) as pinned:
            mapping = dma_map(pinned.phyr, backend, BOTH)
            for number in itertools.count():
                edu.start(edu.AT, mapping.dma[0], 4095, write=True)
                if number == 0:
                    os.write(write, b"x")
                edu.wait()

    pid = fork(victim)
    os.close(write)
    assert os.read(read, 1) == b"x"
    os.close(read)
    os.kill(pid, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    function = pci.Function(EDU)
    assert function.driver == "vfio-pci"
    assert not (function.path / "config").read_bytes()[4] & 4, "it may do DMA no more"
    edu_moves_bytes(make())
    function.restore()
    assert function.driver is None


@checks.on("intel")
def type1_killed_in_the_midst() -> None:
    killed_in_the_midst(Type1)


@checks.on("intel")
def iommufd_killed_in_the_midst() -> None:
    killed_in_the_midst(iommufd)


@checks.on("none")
def noiommu_killed_in_the_midst() -> None:
    killed_in_the_midst(noiommu)


@checks.on("intel", "none")
def buffer_freed_while_mapped() -> None:
    backend = noiommu() if kind() == "none" else Type1()
    buffer = scattered(PAGE)
    with edu_of(backend):
        pinned = phyr.pin(buffer)
        mapping = dma_map(pinned.phyr, backend, BOTH)
        with raises(BufferError):
            buffer.close()
        with raises(PinError):
            pinned.unpin()
        mapping.unmap()
        pinned.unpin()
    buffer.close()


def closed_first(make: Callable[[], Type1 | Ioas], *, device_first: bool) -> None:
    """Close device and backend while memory is mapped, in either order; nothing is left."""
    with phyr.pin(scattered(8 * PAGE)) as pinned, pci.bound(EDU, "vfio-pci") as function:
        backend = make()
        device = backend.open(function)
        with traced() as trace:
            mapping = dma_map(pinned.phyr, backend, BOTH)
            for each in (device, backend) if device_first else (backend, device):
                each.close()
            assert trace().unmapped == 8 * PAGE, trace()
        mapping.unmap()
        for each in (device, backend):
            each.close()


@checks.on("intel")
def type1_closed_before_and_after_its_device() -> None:
    closed_first(Type1, device_first=True)
    closed_first(Type1, device_first=False)


@checks.on("intel")
def iommufd_closed_before_and_after_its_device() -> None:
    closed_first(iommufd, device_first=True)
    closed_first(iommufd, device_first=False)


def unplugged(backend: Type1 | Ioas) -> None:
    """Pull the device out while memory is mapped, once while it is open, and plug it in again."""
    function = pci.Function(EDU)
    function.bind("vfio-pci")
    with phyr.pin(scattered(PAGE)) as pinned:
        device = backend.open(function)
        mapping = dma_map(pinned.phyr, backend, BOTH)
        # The kernel waits until nobody has it open: no child that inherits our files could do it.
        remove = subprocess.Popen(["sh", "-c", f"echo 1 >{function.path}/remove"])
        time.sleep(0.3)
        assert remove.poll() is None
        device.close()
        assert remove.wait() == 0
        assert not function.path.exists()
        with raises(VfioError, errno=errno.ENODEV):
            backend.open(EDU)
        mapping.unmap()
        backend.close()
    Path("/sys/bus/pci/rescan").write_text("1")
    assert function.driver is None


@checks.on(*IOMMUS)
def type1_unplugged() -> None:
    unplugged(Type1())
    edu_moves_bytes(Type1())


@checks.on(*IOMMUS)
def iommufd_unplugged() -> None:
    unplugged(iommufd())
    edu_moves_bytes(iommufd())


@checks.on(*KINDS)
def what_was_bound_is_bound_again() -> None:
    if kind() == "none":
        # Without an IOMMU, vfio-pci takes nothing where the kernel does not allow for that.
        noiommu().close()
    function = pci.Function(NVME)
    assert function.driver == "nvme"
    with suppress(KeyError), pci.bound(NVME, "vfio-pci"):
        assert function.driver == "vfio-pci"
        raise KeyError
    assert function.driver == "nvme"
    for _ in range(100):
        if Path("/dev/nvme0n1").exists():
            break
        time.sleep(0.05)
    with Path("/dev/nvme0n1").open("rb") as disk:
        assert len(disk.read(512)) == 512
    assert (function.path / "driver_override").read_text().strip() == "(null)"


@checks.on(*IOMMUS)
def iommufd_memory_may_be_mapped_before_a_device() -> None:
    buffer = scattered(2 * PAGE)
    buffer[:4] = b"mail"
    with phyr.pin(buffer) as pinned, iommufd() as backend:
        mapping = dma_map(pinned.phyr, backend, BOTH)
        with pci.bound(EDU, "vfio-pci") as function, backend.open(function) as device:
            edu = Edu(device)
            edu.fetch(mapping.dma[0], 4)
            edu.store(mapping.dma[PAGE], 4)
        mapping.unmap()
    assert buffer[PAGE : PAGE + 4] == b"mail"


@checks.on("intel")
def the_documents_example_runs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "real-devices.md").read_text()
    blocks = [block.partition("```")[0] for block in text.split("```python\n")[1:]]
    (block,) = [block for block in blocks if "pci.bound" in block]
    names = {"phyr": phyr, "buffer": scattered(64 << 10)}
    exec(block, names)  # noqa: S102 - our own document
    assert pci.Function(NVME).driver == "nvme"


def two_devices_share(backend: Type1 | Ioas) -> None:
    """Open both devices of the guest in one address space."""
    with pci.bound(EDU, "vfio-pci") as one, pci.bound(NVME, "vfio-pci") as other, backend:
        assert one.group != other.group
        edu = Edu(backend.open(one))
        nvme = backend.open(other)
        # The controller's version register.
        assert nvme.region(0).u32[2] >> 16 == 1
        with (
            phyr.pin(scattered(PAGE)) as pinned,
            dma_map(pinned.phyr, backend, BOTH) as mapping,
        ):
            edu.fetch(mapping.dma[0], 64)


@checks.on(*IOMMUS)
def type1_is_shared_by_two_devices() -> None:
    two_devices_share(Type1())


@checks.on(*IOMMUS)
def iommufd_is_shared_by_two_devices() -> None:
    two_devices_share(iommufd())


# Peers.


def edu_reaches_the_drives_memory(backend: Backend) -> None:
    """Copy to and from the NVMe drive's controller memory buffer, which is its BAR 2."""
    buffer = scattered(2 * PAGE)
    buffer[:] = before = pattern(11, len(buffer))
    with (
        pci.bound(EDU, "vfio-pci") as one,
        pci.bound(NVME, "vfio-pci") as other,
        backend,
        backend.open(one) as device,
        backend.open(other) as peer,
        phyr.pin(buffer) as pinned,
    ):
        edu, memory = Edu(device), peer.region(2)
        first = int((other.path / "resource").read_text().splitlines()[2].split()[0], 16)
        assert [tuple(chunk) for chunk in memory.phyr.chunks] == [(first, memory.length)]
        part = memory.phyr[PAGE + 0x100 : 3 * PAGE]
        with (
            dma_map(pinned.phyr, backend, BOTH) as mapping,
            dma_map(part, backend, BOTH) as theirs,
        ):
            # From this program's memory to the drive's.
            edu.fetch(mapping.dma[8], 64)
            edu.store(theirs.dma[16], 64)
            at = PAGE + 0x110
            assert bytes(memory.u8[at : at + 64]) == before[8:72]
            # And back, of what the program wrote there.
            memory.u32[(at + 64) // 4] = 0x600D_F00D
            edu.fetch(theirs.dma[16 + 64], 4)
            edu.store(mapping.dma[PAGE], 4)
    assert buffer[:PAGE] == before[:PAGE]
    assert buffer[PAGE : PAGE + 4] == b"\x0d\xf0\x0d\x60"


@checks.on(*IOMMUS)
def type1_edu_reaches_the_drives_memory() -> None:
    edu_reaches_the_drives_memory(Type1())


@checks.on(*IOMMUS)
def iommufd_edu_reaches_the_drives_memory() -> object:
    backend = iommufd()
    if os.environ["PHYR_VM_KERNEL"] == "newest":
        edu_reaches_the_drives_memory(backend)
        return {"by": "dma-buf"}
    with raises(VfioError, errno=errno.ENOTTY):
        edu_reaches_the_drives_memory(backend)
    return {"by": None}


@checks.on(*IOMMUS)
def iommufd_edu_reaches_a_memfd() -> object:
    """Copy to and from memory that the program need not have mapped."""
    fd = os.memfd_create("guest")
    os.truncate(fd, 4 * PAGE)
    os.pwrite(fd, pattern(13, 64), PAGE + 8)
    try:
        with edu_of(backend := iommufd()) as edu:
            try:
                iova = backend.map_file(fd, PAGE, 2 * PAGE, Prot.READ | Prot.WRITE)
            except VfioError:
                assert os.environ["PHYR_VM_KERNEL"] == "iommufd", "this kernel is older"
                return {"mapped": False}
            edu.fetch(iova + 8, 64)
            edu.store(iova + PAGE + 16, 64)
            backend.unmap_user(iova)
        assert os.pread(fd, 64, 2 * PAGE + 16) == pattern(13, 64)
    finally:
        os.close(fd)
    return {"mapped": True}


@checks.on("none")
def noiommu_edu_reaches_the_drives_memory() -> None:
    edu_reaches_the_drives_memory(noiommu())


# Interrupts.


def edu_interrupts(backend: Type1 | Ioas, many: int) -> dict[str, int]:
    """Let the device interrupt by MSI and by its pin, and the kernel many times in its stead."""
    few = 300
    with edu_of(backend) as edu:
        (irq,) = edu.device.irqs["msi"].enable(1)
        for _ in range(few):
            edu.interrupt()
            assert irq.wait(10) == 1
        # As fast as the kernel can.
        got = 0
        for turn in range(many):
            irq.trigger()
            if turn % 1000 == 0:
                got += irq.wait(10)
        assert got + irq.read() == many
        edu.device.irqs["msi"].disable()
        (irq,) = edu.device.irqs["intx"].enable(1)
        for _ in range(few):
            edu.registers.u32[0x60 // 4] = 1
            assert irq.wait(10) == 1
            # A pin stays up until the device is told.
            edu.registers.u32[0x64 // 4] = 1
            irq.unmask()
        assert irq.wait(0.01) == 0
        # In flight.
        edu.registers.u32[0x60 // 4] = 1
        edu.device.close()
        with raises(VfioError, errno=errno.EBADF):
            irq.read()
    left = Path("/proc/interrupts").read_text()
    assert "vfio" not in left, left
    return {"by MSI": few, "by the kernel": many, "by pin": few}


@checks.on(*IOMMUS)
def type1_interrupts_are_not_lost() -> object:
    return edu_interrupts(Type1(), 100_000)


@checks.on(*IOMMUS)
def iommufd_interrupts_are_not_lost() -> object:
    return edu_interrupts(iommufd(), 10_000)


@checks.on("none")
def noiommu_interrupts_are_awaited() -> None:
    async def main(edu: Edu) -> int:
        (irq,) = edu.device.irqs["msi"].enable(1)
        got = 0
        for _ in range(50):
            edu.interrupt()
            got += await asyncio.wait_for(wait(irq), 10)
        return got

    async def wait(irq: pci.Irq) -> int:
        return await irq

    with edu_of(noiommu()) as edu:
        assert asyncio.run(main(edu)) == 50


# A second driver.


@checks.on(*IOMMUS)
def virtio_rng_example_reads_random_bytes() -> object:
    function = pci.Function(RNG)
    before = function.driver
    backends = ["type1", *(["iommufd"] if Path("/dev/iommu").exists() else [])]
    found = []
    for backend in backends:
        with redirect_stdout(sys.stderr):  # the lines there are for the host
            found.append(virtio_rng.main([RNG, "5000", "--backend", backend]))
    for data in found:
        assert len(data) == 5000
        # A byte in 256 is like any other; zeros would be memory that was never written.
        assert max(data.count(value) for value in range(256)) < 100
    assert len(set(found)) == len(found)
    assert function.driver == before
    return {"backends": len(found)}
