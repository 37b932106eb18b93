"""Checks of PCI: power states, memory switched off, resets of a function and of its bus."""

import errno
import os
from pathlib import Path

from backends import Backend, iommufd, noiommu
from harness import EDU, IOMMUS, PORT, Checks, Edu, raises

from phyr import VfioError, pci
from phyr.vfio import NoIommu, Type1

checks = Checks()
# Of virtio, in BAR 4: what the driver last said of itself. A reset clears it.
STATUS = 0x14


def behind_the_port() -> str:
    """Return the address of the function behind the port: an entropy device."""
    (path,) = Path("/sys/bus/pci/devices", PORT).glob("0000:*:00.0")
    return path.name


def sleeps_and_is_reset(backend: Backend) -> dict[str, object]:
    """Send it to sleep, find it asleep or with its memory off, and reset it and its bus."""
    address = behind_the_port()
    with pci.bound(address, "vfio-pci") as function, backend:
        with backend.open(function) as device:
            status = device.region(4).u8
            assert device.power_state == "D0"
            assert device.memory_enabled
            assert device.reset_with == [address]
            for reset in (device.reset, device.hot_reset):
                status[STATUS] = 1
                assert status[STATUS] == 1
                reset()
                assert status[STATUS] == 0, reset
            device.power_state = "D3hot"
            assert device.power_state == "D3hot"
            with raises(VfioError, errno=errno.ENXIO):
                device.region(1)
            device.recover()
            assert device.power_state == "D0"
            status[STATUS] = 1
            assert status[STATUS] == 1
            device.memory_enabled = False
            with raises(VfioError, errno=errno.ENXIO):
                device.region(1)
            device.recover()
            assert status[STATUS] == 1
            assert os.fstat(device.fd).st_mode
            device.power_state = "D3hot"
        # Found asleep: opening it wakes it.
        with backend.open(function) as device:
            assert device.power_state == "D0"
            device.region(4).u8[STATUS] = 0
            device.memory_enabled = False
        with backend.open(function) as device:
            assert device.memory_enabled
            assert device.region(4).u8[STATUS] == 0
        with pci.bound(EDU, "vfio-pci") as other, backend.open(other) as device:
            Edu(device)
            assert device.power_state == "D0"
            with raises(VfioError, errno=errno.EOPNOTSUPP):
                device.power_state = "D3hot"
            # The root bus has no bridge.
            with raises(VfioError, errno=errno.ENODEV):
                device.hot_reset()
    return {"address": address}


@checks.on(*IOMMUS)
def type1_device_sleeps_and_is_reset() -> object:
    return sleeps_and_is_reset(Type1())


@checks.on("intel")
def iommufd_device_sleeps_and_is_reset() -> object:
    return sleeps_and_is_reset(iommufd())


@checks.on("none")
def noiommu_device_sleeps_and_is_reset() -> object:
    return sleeps_and_is_reset(noiommu())


@checks.on("none")
def device_by_sysfs_sleeps_and_wakes() -> None:
    with pci.bound(behind_the_port(), None) as function, NoIommu(sysfs=True) as backend:
        with backend.open(function) as device:
            device.power_state = "D3hot"
            assert device.power_state == "D3hot"
            device.recover()
            device.region(4).u8[STATUS] = 1
            device.memory_enabled = False
            device.power_state = "D3hot"
        with backend.open(function) as device:
            device.recover()
            assert device.memory_enabled
            device.reset()
            assert device.region(4).u8[STATUS] == 0
            with raises(VfioError, errno=errno.ENOTTY):
                device.hot_reset()
