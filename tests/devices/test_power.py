"""Power states, memory that is switched off, and resets of a bus."""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phyr import RangeError, VfioError, pci
from phyr._devices.uapi import Request
from phyr.iommufd import Ioas
from phyr.pci import power
from phyr.pci.config import Config, Window
from phyr.pci.device import Device
from phyr.vfio import NoIommu, Type1
from phyr.vfio import device as module
from support.fake_vfio import CONFIG, FakeKernel
from support.layouts import layout_of, layouts
from support.vfio import ONE, TWO, Backend

pytest_plugins = ["support.vfio"]
WAYS = pytest.mark.parametrize("make", [Type1, Ioas, NoIommu, lambda: NoIommu(sysfs=True)])
AT = 0x54  # the control register of power management


@pytest.fixture
def opened(kernel: FakeKernel, make: Callable[[], Backend]) -> Iterator[Device]:
    """Open a device with power management, whose capability is the second."""
    for path, start in ((kernel.dev / f"device-{TWO}", CONFIG), (config_file(kernel), 0)):
        with path.open("r+b") as file:
            for at, data in ((6, b"\x10"), (0x34, b"\x40"), (0x40, b"\x05\x50"), (0x50, b"\x01")):
                file.seek(start + at)
                file.write(data)
    if getattr(make, "__name__", "") == "<lambda>":
        pci.Function(TWO).bind(None)
    with make() as backend, backend.open(TWO) as device:
        yield device


def config_file(kernel: FakeKernel) -> Path:
    return kernel.sys / "devices" / TWO / "config"


@WAYS
def test_a_device_sleeps_and_wakes(opened: Device) -> None:
    assert opened.power_state == "D0"
    opened.config.write_int(AT, 2, 0x8100)
    for number, state in enumerate(power.STATES):
        opened.power_state = state
        assert opened.power_state == state
        assert opened.config.read_int(AT, 2) == 0x8100 | number, "other bits stay"
    with pytest.raises(VfioError, match=r"index 0.*state D3hot .asleep") as caught:
        opened.region(0)
    assert caught.value.errno == errno.ENXIO
    opened.recover()
    assert opened.power_state == "D0"
    opened.region(0)


@WAYS
def test_memory_that_is_switched_off_is_switched_on(opened: Device) -> None:
    opened.bus_master = True
    seen = [opened.memory_enabled]
    opened.memory_enabled = False
    seen.append(opened.memory_enabled)
    assert seen == [True, False]
    with pytest.raises(VfioError, match="its memory is switched off"):
        opened.region(0)
    opened.recover()
    assert opened.memory_enabled
    assert opened.bus_master, "other bits stay"
    opened.region(0)


@pytest.mark.parametrize("make", [Type1])
def test_a_virtual_functions_memory_is_always_on(kernel: FakeKernel, opened: Device) -> None:
    (kernel.sys / "devices" / TWO / "physfn").touch()
    opened.memory_enabled = False
    opened.region(0)


@pytest.mark.parametrize("make", [Type1])
def test_a_state_that_is_none_is_refused(opened: Device) -> None:
    with pytest.raises(RangeError, match="'D3cold' is none of D0, D1, D2, D3hot"):
        opened.power_state = "D3cold"


def test_a_device_without_power_management_stays_awake(kernel: FakeKernel) -> None:
    del kernel
    with Type1() as backend, backend.open(TWO) as device:
        assert device.power_state == "D0"
        device.power_state = "D0"
        with pytest.raises(VfioError, match="has no power management") as caught:
            device.power_state = "D3hot"
        assert caught.value.errno == errno.EOPNOTSUPP


class Slow(Config):
    """A configuration space whose power state changes late."""

    after = 3

    def read_int(self, offset: int, size: int) -> int:
        assert size
        values = {0x06: 0x10, 0x34: 0x50, 0x50: 0x01, 0x51: 0}
        if offset == AT:
            self.after -= 1
            return 0 if self.after else 3
        return values[offset]

    def write_int(self, offset: int, size: int, value: int) -> None:
        assert (offset, size, value) == (AT, 2, 3)


def test_a_state_is_waited_for_and_not_for_ever() -> None:
    slept: list[float] = []
    config = Slow(Window(-1, 0, 256))
    config.after = 4
    power.set_power_state(config, "D3hot", slept.append)
    assert len(slept) == 2
    config.after = -1
    with pytest.raises(VfioError, match="does not change it") as caught:
        power.set_power_state(config, "D3hot", slept.append)
    assert caught.value.errno == errno.EIO
    assert 1 < sum(slept) < 2


# Resets of a bus.


def test_a_bus_is_reset_with_the_groups_of_all_its_functions(kernel: FakeKernel) -> None:
    pci.Function(ONE).bind("vfio-pci")
    kernel.bus = [TWO, ONE]
    with Type1() as backend, backend.open(TWO) as device:
        assert device.reset_with == [ONE, TWO]
        with pytest.raises(VfioError, match=f"'{ONE}'.*open them in the same backend") as caught:
            device.hot_reset()
        assert caught.value.errno == errno.EPERM
        backend.open(ONE)
        device.hot_reset()
        assert kernel.log[-1] == "hot reset vfio/4 vfio/5"


def test_a_bus_is_reset_by_iommufd_without_groups(kernel: FakeKernel) -> None:
    kernel.bus = [TWO]
    with Ioas() as backend, backend.open(TWO) as device:
        assert device.reset_with == [TWO]
        device.hot_reset()
        assert kernel.log[-1] == "hot reset "


def test_a_bus_without_a_bridge_is_not_reset(kernel: FakeKernel) -> None:
    with Type1() as backend, backend.open(TWO) as device:
        with pytest.raises(VfioError, match="has no bridge to be reset by") as caught:
            device.hot_reset()
        assert caught.value.errno == errno.ENODEV
        # A kernel against its own rules: too little room, and no word of how much.
        kernel.bus, kernel.growing = [TWO], True
        with pytest.raises(VfioError, match="No space left"):
            assert device.reset_with


def test_structures_are_those_of_the_header(tmp_path: Path) -> None:
    requests = {each.name: each for each in vars(module).values() if isinstance(each, Request)}
    # The fixed part of each; the number of files or functions says how much comes then.
    structures = {
        "VFIO_DEVICE_GET_REGION_INFO": (
            "vfio_region_info",
            "flags index cap_offset size offset",
        ),
        "VFIO_DEVICE_GET_IRQ_INFO": ("vfio_irq_info", "flags index count"),
        "VFIO_DEVICE_SET_IRQS": ("vfio_irq_set", "flags index start count"),
        "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO": ("vfio_pci_hot_reset_info", "flags count"),
        "VFIO_DEVICE_PCI_HOT_RESET": ("vfio_pci_hot_reset", "flags count"),
    }
    told = layouts("linux/vfio.h", structures, tmp_path)
    assert told == {name: layout_of(requests[name]) for name in structures}


def test_a_bus_is_not_reset_through_sysfs(kernel: FakeKernel) -> None:
    del kernel
    with pci.bound(TWO, None), NoIommu(sysfs=True) as backend, backend.open(TWO) as device:
        for call in (device.hot_reset, lambda: device.reset_with):
            with pytest.raises(VfioError, match="VFIO resets a bus"):
                call()


def test_the_container_without_iommu_has_a_file(kernel: FakeKernel) -> None:
    del kernel
    with NoIommu() as backend:
        assert backend.fd is not None
        assert Path(f"/proc/self/fd/{backend.fd}").readlink().name == "vfio"
    with NoIommu(sysfs=True) as backend:
        assert backend.fd is None
