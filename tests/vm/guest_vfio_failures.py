"""Checks of what goes wrong: kills, pulled devices, the order of closing."""

import errno
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from backends import BOTH, Backend, edu_moves_bytes, edu_of, iommufd, noiommu
from harness import (
    EDU,
    IOMMUS,
    KINDS,
    NVME,
    PAGE,
    Checks,
    Edu,
    fork,
    kind,
    raises,
    scattered,
    traced,
)

import phyr
from phyr import PinError, VfioError, pci
from phyr.iommu import dma_map
from phyr.iommufd import Ioas
from phyr.vfio import Type1

checks = Checks()


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
