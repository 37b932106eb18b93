"""Opening devices: once, all or nothing, and with its reason where it fails."""

import errno
from collections.abc import Callable
from contextlib import ExitStack
from gc import collect

import pytest

from phyr import RangeError, VfioError, pci
from phyr.iommu import dma_map
from phyr.pci.device import OPEN
from phyr.vfio import NoIommu, Type1
from support.fake_vfio import TYPE1V2, FakeKernel
from support.vfio import ALL, BOTH, ONE, TWO, Backend, Pin, buffer_of

pytest_plugins = ["support.vfio"]


@pytest.mark.parametrize("make", [Type1, NoIommu])
def test_a_group_that_an_interrupt_keeps_out_is_asked_for_again(
    kernel: FakeKernel, make: Callable[[], Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    def rude(_: object, *__: object) -> None:
        raise KeyboardInterrupt

    with make() as backend:
        with monkeypatch.context() as patch:
            patch.setattr(ExitStack, "pop_all", rude)
            with pytest.raises(KeyboardInterrupt):
                backend.open(TWO)
        # As if its number were nobody's any more.
        collect()
        kernel.log.clear()
        with backend.open(TWO):
            assert any(line.endswith("5") for line in kernel.log if line.startswith("open"))


@ALL
def test_a_device_is_opened_once(kernel: FakeKernel, make: Callable[[], Backend]) -> None:
    with make() as backend, backend.open(TWO) as device:
        with pytest.raises(VfioError, match="somebody has it open") as caught:
            backend.open(TWO)
        assert caught.value.errno == errno.EBUSY
        assert OPEN.get(TWO) is device
        assert kernel.open_files


@ALL
def test_what_vfio_does_not_have_cannot_be_opened(
    kernel: FakeKernel, make: Callable[[], Backend]
) -> None:
    kernel.add("0000:00:06.0", None, "nvme")
    with make() as backend:
        for address in (ONE, "0000:00:06.0"):
            with pytest.raises(VfioError) as caught:
                backend.open(address)
            assert caught.value.errno == errno.ENODEV
    assert kernel.maps == {}


@pytest.mark.parametrize("make", [Type1, NoIommu])
def test_a_group_that_others_use_is_refused(
    kernel: FakeKernel, make: Callable[[], Backend]
) -> None:
    kernel.add("0000:00:05.1", 5, "nvme")
    kernel.viable = False
    with make() as backend:
        with pytest.raises(VfioError, match=r"0000:00:05\.1.*nvme") as caught:
            backend.open(TWO)
        assert caught.value.group == 5


def test_without_type1_there_is_no_container(kernel: FakeKernel) -> None:
    kernel.extensions.discard(TYPE1V2)
    with pytest.raises(VfioError, match="TYPE1V2"):
        Type1()
    assert kernel.open_files == []


@ALL
def test_without_vfio_the_file_is_named(kernel: FakeKernel, make: Callable[[], Backend]) -> None:
    for path in (kernel.dev / "vfio" / "vfio", kernel.dev / "iommu"):
        path.unlink()
    with pytest.raises(VfioError, match="its module is not loaded") as caught:
        make()
    assert caught.value.errno == errno.ENOENT


@ALL
def test_whatever_call_fails_nothing_is_left(
    kernel: FakeKernel, make: Callable[[], Backend]
) -> None:
    passed = False
    while not passed:
        kernel.calls, kernel.fail_at = 0, kernel.fail_at + 1
        pin = Pin("io_uring")
        kept = 0
        try:
            with pci.bound(ONE, "vfio-pci") as function, make() as backend:
                device = backend.open(function)
                other = backend.open(TWO)
                device.region(0)
                other.reset()
                mapping = dma_map(buffer_of(7, owner=pin), backend, BOTH)
                kept = 1
                mapping.unmap()
                kept = 0
            passed = kernel.calls < kernel.fail_at
        except VfioError as error:
            assert error.errno == errno.EIO  # noqa: PT017 - any of many calls
        assert kernel.open_files == []
        assert OPEN == {}
        assert kernel.maps == {}
        # Where unmapping itself failed, the owner does not learn of the backend's end.
        assert pin.holds == kept
        # Only what is to give it back can keep it from its driver.
        if kernel.log[-1].startswith("write") and not passed:
            kernel.fail_at, failed = 0, kernel.fail_at
            pci.Function(ONE).bind("nvme")
            kernel.fail_at = failed
        assert pci.Function(ONE).driver == "nvme"
    assert kernel.fail_at > 15


def test_a_region_that_cannot_be_mapped_is_refused(kernel: FakeKernel) -> None:
    with Type1() as backend, backend.open(TWO) as device:
        for index in (1, -1, 6):
            with pytest.raises(RangeError, match=f"behind BAR {index}"):
                device.region(index)
        kernel.mappable = False
        with pytest.raises(RangeError, match="behind BAR 0"):
            device.region(0)


def test_a_device_is_reset(kernel: FakeKernel) -> None:
    with Type1() as backend, backend.open(TWO) as device:
        device.reset()
        assert kernel.log[-1] == "reset"
        kernel.fail_at, kernel.errno = kernel.calls + 1, errno.EINVAL
        with pytest.raises(VfioError, match="no way to be reset"):
            device.reset()
