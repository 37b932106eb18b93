"""Functions, drivers, configuration space and regions, on a sysfs that the test is."""

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from phyr import RangeError, VfioError, pci
from phyr.pci.device import OPEN, Device
from support.fake_vfio import FakeKernel

ONE, TWO = "0000:00:04.0", "0000:00:05.0"


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKernel]:
    fake = FakeKernel(tmp_path, monkeypatch)
    fake.add(ONE, 4, "nvme")
    fake.add(TWO, 5)
    yield fake
    assert fake.open_files == []
    assert fake.bound == {}
    assert OPEN == {}


# Drivers.


@pytest.mark.parametrize(("address", "before"), [(ONE, "nvme"), (TWO, None)])
@pytest.mark.parametrize("driver", ["vfio-pci", "nvme", None])
def test_what_was_bound_is_bound_again(
    kernel: FakeKernel, address: str, before: str | None, driver: str | None
) -> None:
    function = pci.Function(address)
    with suppress(KeyError), pci.bound(address, driver) as bound:
        assert bound.driver == function.driver == driver
        raise KeyError
    assert function.driver == before
    assert kernel.bound == {}


def test_an_override_that_was_there_is_there_again(kernel: FakeKernel) -> None:
    override = kernel.sys / "devices" / ONE / "driver_override"
    kernel.write_file(override, "nvme")
    function = pci.Function(ONE)
    function.bind("vfio-pci")
    assert function.driver == "vfio-pci"
    assert override.read_text() == "nvme\n"
    assert kernel.bound == {ONE: "nvme"}
    kernel.write_file(override, "\n")
    function.bind("nvme")
    assert override.read_text() == "(null)\n"
    override.unlink()
    with pytest.raises(VfioError, match=r"read: No such file.*driver_override"):
        function.bind("vfio-pci")


def test_a_driver_that_has_it_is_left_alone(kernel: FakeKernel) -> None:
    with pci.bound(ONE, "nvme"):
        pass
    assert kernel.calls == 0


def test_what_is_open_is_closed_before_it_is_given_back(kernel: FakeKernel) -> None:
    with pci.bound(ONE, None) as function:
        device = function.open()
    assert device.closed
    assert function.driver == "nvme"
    assert (kernel.sys / "devices" / ONE / "enable").read_text() == "0"


@pytest.mark.parametrize("driver", ["useless", "unheard-of"])
def test_a_driver_that_cannot_have_it_is_named(kernel: FakeKernel, driver: str) -> None:
    with pytest.raises(VfioError, match=f"bind.*driver {driver}, to {ONE}"), pci.bound(ONE, driver):
        raise AssertionError
    # The driver from before has it again, or still.
    assert pci.Function(ONE).driver == "nvme"
    assert kernel.bound == {}


def test_whichever_write_fails_the_driver_has_it_again(kernel: FakeKernel) -> None:
    for number in range(1, 5):
        kernel.calls, kernel.fail_at, kernel.errno = 0, number, errno.EACCES
        with (
            pytest.raises(VfioError, match="Permission denied") as caught,
            pci.bound(ONE, "vfio-pci"),
        ):
            raise AssertionError
        assert caught.value.errno == errno.EACCES
        assert pci.Function(ONE).driver == "nvme"


def test_restore_gives_it_to_the_driver_of_the_kernels_choice(kernel: FakeKernel) -> None:
    function = pci.Function(ONE)
    function.bind("vfio-pci")
    function.restore()
    assert function.driver == "nvme"
    function = pci.Function(TWO)
    function.restore()
    assert function.driver is None
    assert "write devices/0000:00:05.0/driver/unbind" not in kernel.log


def test_what_was_pulled_out_is_not_given_back(kernel: FakeKernel) -> None:
    with pci.bound(ONE, None) as function:
        device = function.open()
        function.path.rename(kernel.sys / "gone")
        device.close()
    assert not function.path.exists()


# Names.


@pytest.mark.parametrize(
    "address", ["", "00:04.0", "0000:00:04.8", "0000:00:4.0", "../x", ONE + "\n"]
)
def test_what_is_no_address_is_refused(kernel: FakeKernel, address: str) -> None:
    with pytest.raises(RangeError, match="is not the address of a PCI function"):
        pci.Function(address)
    assert kernel.calls == 0


def test_what_is_not_there_is_refused(kernel: FakeKernel) -> None:
    with pytest.raises(VfioError, match="find: No such device") as caught:
        pci.Function("0000:00:1f.7")
    assert caught.value.errno == errno.ENODEV
    assert kernel.calls == 0


def test_a_function_knows_driver_group_and_neighbours(kernel: FakeKernel) -> None:
    kernel.add("0000:00:04.1", 4)
    kernel.add("0001:00:00.0", None)
    function = pci.Function(ONE)
    assert (function.driver, function.group) == ("nvme", 4)
    assert [each.address for each in function.neighbours] == [ONE, "0000:00:04.1"]
    assert repr(function) == "Function('0000:00:04.0')"
    alone = pci.Function("0001:00:00.0")
    assert (alone.group, alone.neighbours) == (None, [])


# A device through sysfs.


def test_what_a_driver_has_is_not_opened(kernel: FakeKernel) -> None:
    with pytest.raises(VfioError, match="driver nvme") as caught:
        pci.Function(ONE).open()
    assert caught.value.errno == errno.EBUSY
    assert kernel.calls == 0


def test_configuration_space_is_read_and_written(kernel: FakeKernel) -> None:
    with pci.Function(TWO).open() as device:
        config = device.config
        assert (config.read(0, 4), config.length) == (b"\x36\x1b\x10\x00", 256)
        config.write(0x40, b"mail")
        assert config.read(0x3F, 6) == b"\0mail\0"
        for offset, length in ((-1, 1), (0, -1), (253, 4), (256, 1)):
            with pytest.raises(RangeError, match="is not inside the 0x100 bytes"):
                config.read(offset, length)
        with pytest.raises(RangeError):
            config.write(254, b"mail")
        assert config.read(256, 0) == b""
    assert kernel.log[-1] == f"write devices/{TWO}/enable"


def test_configuration_space_may_be_hidden_or_gone(kernel: FakeKernel) -> None:
    device = pci.Function(TWO).open()
    path = kernel.sys / "devices" / TWO / "config"
    path.write_bytes(bytes(64))
    with pytest.raises(VfioError, match=r"read config.*offset 0x3e, length 0x4") as caught:
        device.config.read(62, 4)
    assert caught.value.errno == errno.ENODATA
    path.write_bytes(b"")
    with pytest.raises(VfioError, match="read config"):
        assert device.bus_master
    # A device that cannot be reached any more is closed all the same.
    device.close()
    with pytest.raises(VfioError, match="write config: Bad file descriptor"):
        device.config.write(0, b"x")


def test_dma_is_allowed_and_forbidden(kernel: FakeKernel) -> None:
    path = kernel.sys / "devices" / TWO / "config"
    with pci.Function(TWO).open() as device:
        assert not device.bus_master
        device.bus_master = True
        assert device.bus_master
        # The other bits of the command are left as they are.
        assert path.read_bytes()[4] == 0b110
        device.bus_master = False
        assert path.read_bytes()[4] == 0b010
        device.bus_master = True
    assert path.read_bytes()[4] == 0b010


def test_a_region_is_mapped_once_and_its_registers_are_of_any_size(kernel: FakeKernel) -> None:
    with pci.Function(TWO).open() as device:
        region = device.region(0)
        assert device.region(0) is region
        assert (region.length, repr(region)) == (8192, "Region(0x2000 bytes)")
        region.u64[1] = 0x1122_3344_5566_7788
        assert (region.u32[2], region.u32[3]) == (0x5566_7788, 0x1122_3344)
        assert region.u8[15] == 0x11
        with pytest.raises(IndexError):
            region.u32[2048]
    with pytest.raises(ValueError, match="released"):
        region.u32[0]
    region.close()
    assert (kernel.sys / "devices" / TWO / "resource0").read_bytes()[
        8:16
    ].hex() == "8877665544332211"


@pytest.mark.parametrize("index", [-1, 1, 2, 5, 6])
def test_only_memory_from_a_pages_start_is_a_region(kernel: FakeKernel, index: int) -> None:
    with pci.Function(TWO).open() as device:
        with pytest.raises(RangeError, match=f"behind BAR {index}"):
            device.region(index)
        assert kernel.open_files == []


def test_a_region_that_mmap_refuses_is_named(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, "")

    with pci.Function(TWO).open() as device:
        monkeypatch.setattr("mmap.mmap", refuse)
        with pytest.raises(VfioError, match=r"mmap region.*length 0x2000") as caught:
            device.region(0)
    assert caught.value.errno == errno.EAGAIN
    assert kernel.open_files == []


def test_a_part_of_a_view_keeps_the_region_but_nothing_else(kernel: FakeKernel) -> None:
    device = pci.Function(TWO).open()
    device.bus_master = True
    part = device.region(0).u32[4:6]
    with pytest.raises(BufferError):
        device.close()
    assert device.closed
    assert repr(device) == f"<closed device {TWO}>"
    assert part[0] == 0
    assert kernel.open_files == []
    # The kernel would wait for ever.
    with pytest.raises(BufferError):
        pci.Function(TWO).bind("nvme")
    assert (kernel.sys / "devices" / TWO / "config").read_bytes()[4] == 0b010
    part.release()
    pci.Function(TWO).bind("nvme")
    assert OPEN == {}


def test_a_region_in_use_keeps_no_other_open(kernel: FakeKernel) -> None:
    folder = kernel.sys / "devices" / TWO
    lines = (folder / "resource").read_text().splitlines()
    (folder / "resource").write_text("\n".join([lines[0], lines[1], lines[0], *lines[3:]]))
    (folder / "resource2").write_bytes(bytes(8192))
    device = pci.Function(TWO).open()
    part = device.region(0).u32[4:6]
    other = device.region(2)
    with pytest.raises(BufferError):
        device.close()
    with pytest.raises(ValueError, match="released"):
        other.u8[0]
    part.release()
    device.close()


def test_a_fork_does_not_switch_off_what_the_parent_uses(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = pci.Function(TWO).open()
    device.bus_master = True
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        device.close()
    folder = kernel.sys / "devices" / TWO
    assert (folder / "enable").read_text() == "1"
    assert (folder / "config").read_bytes()[4] & 4


def test_a_dropped_device_says_so_and_closes(kernel: FakeKernel) -> None:
    device = pci.Function(TWO).open()
    device.bus_master = True
    with pytest.warns(ResourceWarning, match=f"never closed: <device {TWO}>"):
        del device
    folder = kernel.sys / "devices" / TWO
    assert kernel.open_files == []
    assert (folder / "enable").read_text() == "0"
    assert not (folder / "config").read_bytes()[4] & 4


def test_a_dropped_device_of_which_a_part_is_about_is_still_in_use(kernel: FakeKernel) -> None:
    device = pci.Function(TWO).open()
    part = device.region(0).u32[4:6]
    with pytest.warns(ResourceWarning, match="never closed"):
        del device
    with pytest.raises(BufferError):
        pci.Function(TWO).bind("nvme")
    part.release()
    pci.Function(TWO).bind("nvme")
    assert kernel.open_files == []


def test_a_device_that_never_began_is_dropped_in_silence() -> None:
    Device.__new__(Device).__del__()


def test_a_device_is_reset_if_it_can_be(kernel: FakeKernel) -> None:
    path = kernel.sys / "devices" / TWO / "reset"
    with pci.Function(TWO).open() as device:
        assert repr(device) == f"<device {TWO}>"
        device.reset()
        assert path.read_text() == "1"
        path.unlink()
        with pytest.raises(VfioError) as caught:
            device.reset()
        assert caught.value.errno == errno.ENOTTY
