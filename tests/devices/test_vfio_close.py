"""Backends and devices close in any order and leave nothing."""

import weakref
from collections.abc import Callable
from gc import collect
from warnings import catch_warnings, simplefilter

import pytest

from phyr import VfioError
from phyr.iommu import Prot, dma_map
from phyr.iommufd import Ioas
from phyr.vfio import NoIommu, Type1
from support.fake_vfio import CONFIG, FakeKernel
from support.vfio import ALL, BOTH, MAPPERS, ONE, PAGE, TWO, UADDR, Backend, Mapper, Pin, buffer_of

pytest_plugins = ["support.vfio"]


@ALL
def test_a_dropped_backend_says_so_and_closes_all(
    kernel: FakeKernel, make: Callable[[], Backend]
) -> None:
    backend = make()
    device = backend.open(TWO)
    device.bus_master = True
    region = device.region(0)
    with pytest.warns(ResourceWarning, match="never closed"):
        del backend
    assert device.closed
    assert (kernel.open_files, kernel.maps) == ([], {})
    with pytest.raises(ValueError, match="released"):
        region.u8[0]


@pytest.mark.parametrize("make", [Type1, Ioas, NoIommu])
def test_what_does_not_open_is_dropped_in_silence(kernel: FakeKernel, make: type[Backend]) -> None:
    with catch_warnings(record=True) as said:
        simplefilter("always")
        make.__new__(make).__del__()
        kernel.fail_at = 1
        with pytest.raises(VfioError):
            make()
        collect()
    assert said == []


@ALL
def test_devices_that_are_closed_are_forgotten(
    kernel: FakeKernel, make: Callable[[], Backend]
) -> None:
    with make() as backend:
        for _ in range(3):
            with backend.open(TWO) as device:
                there = weakref.ref(device)
        del device
        collect()
        assert there() is not None
        with backend.open(TWO):
            collect()
            assert there() is None
    assert kernel.open_files == []


@ALL
def test_closing_twice_does_nothing(kernel: FakeKernel, make: Callable[[], Backend]) -> None:
    with make() as backend:
        device = backend.open(TWO)
        for each in (device, backend, backend, device):
            each.close()
        calls = kernel.calls
    assert calls == kernel.calls


@ALL
@pytest.mark.parametrize("device_first", [True, False])
def test_closing_in_any_order_leaves_nothing(
    kernel: FakeKernel,
    make: Callable[[], Backend],
    device_first: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    backend = make()
    device = backend.open(TWO)
    device.bus_master = True
    assert device.bus_master
    mapping = dma_map(buffer_of(7, owner=Pin("vfio")), backend, BOTH)
    closing = [device.close, backend.close]
    for close in closing if device_first else reversed(closing):
        close()
    assert (kernel.open_files, kernel.maps) == ([], {})
    config = (kernel.dev / f"device-{TWO}").read_bytes()[CONFIG:]
    assert not config[4] & 4
    mapping.unmap()


@MAPPERS
def test_a_closed_backend_maps_and_opens_nothing(
    kernel: FakeKernel, make: Callable[[], Mapper]
) -> None:
    backend = make()
    backend.open(TWO)
    iova = backend.map_user(UADDR, PAGE, Prot.READ)
    backend.close()
    backend.unmap_user(iova)
    for call in (lambda: backend.map(buffer_of(7), BOTH), lambda: backend.open(ONE)):
        with pytest.raises(VfioError, match="the backend is closed"):
            call()
    assert kernel.maps == {}


@MAPPERS
def test_what_cannot_be_unmapped_goes_with_the_backend(
    kernel: FakeKernel, make: Callable[[], Mapper]
) -> None:
    backend = make()
    backend.open(TWO)
    backend.map(buffer_of(7), BOTH)
    kernel.fail_at = kernel.calls + 1
    backend.close()
    assert kernel.calls >= kernel.fail_at


def test_type1_mappings_go_with_the_last_device_pulled_out(kernel: FakeKernel) -> None:
    with Type1() as backend:
        backend.open(TWO)
        dma = backend.map(buffer_of(7), BOTH)
        # The kernel took the group out of the container.
        kernel.space = None
        backend.unmap(dma, BOTH)


@ALL
def test_groups_stay_for_other_devices(kernel: FakeKernel, make: Callable[[], Backend]) -> None:
    kernel.add("0000:00:05.1", 5, "vfio-pci")
    with make() as backend:
        with backend.open(TWO), backend.open("0000:00:05.1"):
            pass
        with backend.open(TWO) as device:
            assert device.config.read(0, 4) == b"\x36\x1b\x10\x00"
