"""Each system call of VFIO, iommufd and PCI code fails once, with each errno that it may have.

The operation then raises an error of phyr's, or does without the call. It leaves no file open, no
mapping, no interrupt, no pin held and no driver changed; done again, it works.
"""

import errno
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from phyr import PhyrError, VfioError, pci
from phyr.iommu import Prot, dma_map
from phyr.iommufd import Ioas
from phyr.pci.device import OPEN
from phyr.vfio import NoIommu, Type1
from support.device_faults import REQUESTS, FailingKernel, Fault
from support.live import linux
from support.vfio import BOTH, ONE, PAGE, TWO, UADDR, Pin, buffer_of

pytestmark = linux

Work: TypeAlias = Callable[[FailingKernel, Pin], None]

ERRNOS = {
    "open": "EACCES EBUSY EINTR EMFILE ENFILE ENODEV ENOENT ENOMEM ENXIO EPERM",
    "write": "EACCES EBUSY EINVAL EIO ENODEV ENOENT ENOMEM EPERM ENOTTY",
    "read": "EACCES EIO ENODEV ENOENT ENOMEM",
    "readlink": "EACCES EINVAL EIO ENOMEM",
    "getdents64": "EACCES EMFILE ENOENT ENOMEM",
    "fstat": "ENOMEM EOVERFLOW",
    "pread64": "EINVAL EIO ENODEV ENOMEM EPERM",
    "pwrite64": "EINVAL EIO ENODEV EPERM",
    "dup": "EBADF EMFILE ENOMEM",
    "eventfd2": "EINVAL EMFILE ENFILE ENODEV ENOMEM",
    "mmap": "EACCES EAGAIN EBUSY EINVAL ENODEV ENOMEM EPERM",
    "VFIO_CHECK_EXTENSION": "EFAULT EINVAL ENOTTY",
    "VFIO_SET_IOMMU": "EBUSY EINVAL ENODEV ENOMEM EPERM",
    "VFIO_GROUP_GET_STATUS": "EFAULT EINVAL ENODEV",
    "VFIO_GROUP_SET_CONTAINER": "EBADF EBUSY EFAULT EINVAL ENODEV ENOMEM EPERM",
    "VFIO_GROUP_GET_DEVICE_FD": "EBUSY EFAULT EINTR EINVAL EMFILE ENFILE ENODEV ENOMEM EPERM",
    "VFIO_DEVICE_GET_REGION_INFO": "EFAULT EINVAL ENODEV ENOMEM",
    "VFIO_DEVICE_GET_IRQ_INFO": "EFAULT EINVAL ENODEV",
    "VFIO_DEVICE_SET_IRQS": "EBADF EBUSY EFAULT EINVAL ENODEV ENOMEM ENOSPC ENOTTY",
    "VFIO_DEVICE_RESET": "EAGAIN EINVAL EIO ENODEV ENOTTY",
    "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO": "EFAULT EINVAL ENODEV ENOMEM ENOSPC",
    "VFIO_DEVICE_PCI_HOT_RESET": "EAGAIN EFAULT EINVAL ENODEV ENOMEM ENOSPC ENOTTY EPERM",
    "VFIO_DEVICE_FEATURE": "EFAULT EINVAL EMFILE ENODEV ENOMEM ENOTTY EOPNOTSUPP",
    "VFIO_DEVICE_BIND_IOMMUFD": "EBADF EBUSY EFAULT EINVAL ENODEV ENOMEM EPERM",
    "VFIO_DEVICE_ATTACH_IOMMUFD_PT": "EBUSY EFAULT EINVAL ENODEV ENOENT ENOMEM ENOSPC",
    "VFIO_IOMMU_GET_INFO": "EFAULT EINVAL ENOMEM",
    "VFIO_IOMMU_MAP_DMA": "EBUSY EEXIST EFAULT EINTR EINVAL ENOMEM ENOSPC EOPNOTSUPP EPERM",
    "VFIO_IOMMU_UNMAP_DMA": "EAGAIN EBUSY EFAULT EINVAL ENOENT ENOMEM",
    "IOMMU_IOAS_ALLOC": "E2BIG EFAULT EINVAL ENOMEM ENOTTY EOPNOTSUPP",
    "IOMMU_IOAS_IOVA_RANGES": "EFAULT EINVAL EMSGSIZE ENOENT EOPNOTSUPP",
    "IOMMU_IOAS_MAP": "EADDRINUSE EEXIST EFAULT EINVAL ENOENT ENOMEM ENOSPC EOVERFLOW EPERM",
    "IOMMU_IOAS_UNMAP": "EBUSY EDEADLOCK EFAULT EINVAL ENOENT ENOMEM EOVERFLOW",
    "IOMMU_IOAS_COPY": "EADDRINUSE EEXIST EINVAL ENOENT ENOMEM ENOSPC EOVERFLOW EPERM",
    "IOMMU_DESTROY": "EBUSY EFAULT ENOENT",
    "IOMMU_HWPT_ALLOC": "EBUSY EINVAL ENOENT ENOMEM EOPNOTSUPP",
    "IOMMU_HWPT_SET_DIRTY_TRACKING": "EINVAL ENOENT EOPNOTSUPP",
    "IOMMU_HWPT_GET_DIRTY_BITMAP": "EFAULT EINVAL ENOENT ENOMEM EOPNOTSUPP EOVERFLOW",
    "IOMMU_IOAS_MAP_FILE": "EBADF EEXIST EFAULT EINVAL ENOENT ENOMEM ENOSPC EOPNOTSUPP EPERM",
}
"""Those that the manual pages, vfio.h and iommufd.h name, and those that the code behind them
returns (drivers/vfio, drivers/iommu/iommufd, drivers/pci/pci-sysfs.c, Linux 7.3). close(2) is left
out: Linux closes the file whatever it returns."""


def use(device: pci.Device) -> None:
    """Do with a device what a driver does."""
    region = device.region(0)
    region.u32[0] = 7
    assert device.config.vendor == 0x1B36
    device.bus_master = True
    device.reset()


def interrupts(device: pci.Device) -> None:
    """Enable interrupts, take one, and disable them."""
    irqs = device.irqs["msi"]
    first, _ = irqs.enable(2)
    first.trigger()
    assert first.read() == 1
    irqs.disable()
    intx = device.irqs["intx"]
    (only,) = intx.enable()
    only.mask()
    only.unmask()


def type1(kernel: FailingKernel, pin: Pin) -> None:
    with pci.bound(ONE, "vfio-pci") as function, Type1() as backend:
        device = backend.open(function)
        other = backend.open(TWO)
        assert [each.address for each in function.neighbours] == [ONE]
        use(device)
        interrupts(other)
        with dma_map(buffer_of(7, owner=pin), backend, BOTH):
            backend.unmap_user(backend.map_user(UADDR, PAGE, Prot.READ))
            assert kernel.maps
        with dma_map(device.region(0).phyr, backend, BOTH):
            assert kernel.maps


def ioas(kernel: FailingKernel, pin: Pin) -> None:
    with pci.bound(ONE, "vfio-pci") as function, Ioas() as backend:
        device = backend.open(function)
        other = backend.open(TWO)
        use(device)
        interrupts(other)
        with dma_map(buffer_of(7, owner=pin), backend, BOTH) as mapping:
            backend.unmap_user(backend.map_user(UADDR, PAGE, Prot.READ))
            with Ioas(beside=backend) as space:
                space.copy(mapping.dma, backend)
            with backend.page_table(device, tracks=True) as table:
                table.attach(device)
                table.track(on=True)
                table.dirty(mapping.dma)
        with dma_map(device.region(0).phyr, backend, BOTH):
            assert kernel.maps
        kernel.bus = [ONE, TWO]
        device.hot_reset()


def noiommu(kernel: FailingKernel, pin: Pin) -> None:
    del kernel
    with pci.bound(ONE, "vfio-pci") as function, NoIommu() as backend:
        use(backend.open(function))
        with dma_map(buffer_of(7, owner=pin), backend, BOTH):
            pass


def sysfs(kernel: FailingKernel, pin: Pin) -> None:
    del kernel
    with pci.bound(ONE, None) as function, NoIommu(sysfs=True) as backend:
        use(backend.open(function))
        with dma_map(buffer_of(7, owner=pin), backend, BOTH):
            pass


OPERATIONS: dict[str, Work] = {work.__name__: work for work in (type1, ioas, noiommu, sysfs)}


@contextmanager
def machine(root: Path, fault: Fault | None = None) -> Iterator[FailingKernel]:
    """Make a machine of two devices, one of a driver's and one that VFIO has."""
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        kernel = FailingKernel(root, patch, fault)
        kernel.add(ONE, 4, "nvme")
        kernel.add(TWO, 5, "vfio-pci")
        yield kernel


def left(kernel: FailingKernel, pin: Pin, files: int) -> dict[str, object]:
    """Return what an operation left behind; empty if nothing."""
    kernel.fault = None
    override = (kernel.sys / "devices" / ONE / "driver_override").read_text().strip()
    found = {
        "open": kernel.open_files or dict(OPEN),
        "files": len(os.listdir("/proc/self/fd")) - files,  # noqa: PTH208 - no objects kept
        "maps": kernel.maps,
        "regions": str(kernel.sys) in Path("/proc/self/maps").read_text(),
        "interrupts": kernel.enabled,
        "held": pin.holds,
        "driver": "" if pci.Function(ONE).driver == "nvme" else pci.Function(ONE).driver or "none",
        "override": "" if override == "(null)" else override,
    }
    return {name: what for name, what in found.items() if what}


def excused(kernel: FailingKernel) -> set[str]:
    """Return what may be left, because the call that gives it back is the one that failed."""
    call, _, _ = kernel.failed_at.partition(" ")
    if call in ("VFIO_IOMMU_UNMAP_DMA", "IOMMU_IOAS_UNMAP"):
        # The owner does not learn that closing the backend has unmapped its memory.
        return {"held"}
    # To know and to change the driver.
    if call in ("write", "readlink") or "driver_override" in kernel.failed_at:
        return {"driver", "override"}
    return set()


def check(name: str, fault: Fault, root: Path) -> str:
    """Return what is wrong after a fault, or nothing."""
    work = OPERATIONS[name]
    with machine(root, fault) as kernel, warnings.catch_warnings():
        warnings.simplefilter("error")
        files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - no objects kept
        pin = Pin("io_uring")
        raised = False
        try:
            work(kernel, pin)
        except PhyrError:
            raised = True
        except Exception as error:  # noqa: BLE001 - the test judges
            return f"raised {error!r}"
        kept = left(kernel, pin, files)
        if set(kept) - (excused(kernel) if raised else set()):
            return f"left {kept}"
        # The driver is given back by hand.
        pci.Function(ONE).bind("nvme")
        (kernel.sys / "devices" / ONE / "driver_override").write_text("(null)\n")
        kernel.fault, pin = None, Pin("io_uring")
        work(kernel, pin)
        kept = left(kernel, pin, files)
        return f"the second time left {kept}" if kept else ""


def usual(name: str, root: Path) -> Counter[str]:
    """Return the calls of an operation without a fault."""
    with machine(root) as kernel:
        OPERATIONS[name](kernel, Pin("io_uring"))
        return kernel.counts


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_call_about_a_device_that_fails_leaves_nothing(name: str, tmp_path: Path) -> None:
    wrong = {}
    for call, count in usual(name, tmp_path / "usual").items():
        for nth in range(count):
            for code in ERRNOS[call].split():
                fault = Fault(call, nth, getattr(errno, code))
                problem = check(name, fault, tmp_path / f"{call}-{nth}-{code}")
                if problem:
                    wrong[call, nth, code] = problem
    assert wrong == {}


def test_every_request_is_made_to_fail(tmp_path: Path) -> None:
    calls = {name for work in OPERATIONS for name in usual(work, tmp_path / work)}
    assert calls == set(ERRNOS)
    assert calls >= set(REQUESTS.values())


def test_an_override_that_the_kernel_did_not_take_back_is_given_back_by_the_next_bind(
    tmp_path: Path,
) -> None:
    with machine(tmp_path / "usual") as kernel:
        pci.Function(ONE).bind("vfio-pci")
        last = kernel.counts["write"] - 1
    with machine(tmp_path / "failing", Fault("write", last, errno.EIO)) as kernel:
        function = pci.Function(ONE)
        override = kernel.sys / "devices" / ONE / "driver_override"
        with pytest.raises(VfioError, match="driver_override"):
            function.bind("vfio-pci")
        assert override.read_text() == "vfio-pci\n"
        function.bind("vfio-pci")
        assert (override.read_text(), function.driver) == ("(null)\n", "vfio-pci")
