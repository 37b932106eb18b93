"""NoIommu: devices that nothing stands before."""

import errno

import pytest

from phyr import LimitError, Phyr, PinError, RangeError, VfioError, pci
from phyr.iommu import DmaBackend, Owner, dma_map
from phyr.vfio import NoIommu
from support.fake_vfio import FakeKernel
from support.vfio import BOTH, ONE, PAGE, TWO, Pin, buffer_of

pytest_plugins = ["support.vfio"]


@pytest.mark.parametrize("last", [0x9000 + PAGE - 1, 0x9000 + PAGE - 2, 0xFFFF_FFFF, 2**64 - 1])
def test_without_iommu_nothing_beyond_the_reach_of_a_device_is_mapped(
    kernel: FakeKernel, last: int
) -> None:
    phyr = buffer_of(3, 9, owner=Pin("io_uring"))
    with NoIommu(sysfs=True, dma_mask=last) as backend:
        assert backend.dma_mask == last
        assert backend.map(phyr[: PAGE + PAGE // 2], BOTH).length == PAGE + PAGE // 2
        if last >= 0x9FFF:
            assert backend.map(phyr, BOTH) is phyr
        else:
            with pytest.raises(LimitError, match="ends above the DMA mask 0x9ffe") as caught:
                backend.map(phyr, BOTH)
            assert (caught.value.number, caught.value.dma_addr) == (1, 0x9000)
    assert kernel.calls == 0


def test_a_reach_of_nothing_is_refused_without_iommu(kernel: FakeKernel) -> None:
    with pytest.raises(RangeError, match="dma_mask -0x1"):
        NoIommu(dma_mask=-1)
    assert kernel.calls == 0


def test_without_iommu_a_list_is_its_own_mapping(kernel: FakeKernel) -> None:
    with NoIommu() as backend, backend.open(TWO):
        for method in ("io_uring", "vfio", "iommufd"):
            phyr = buffer_of(7, 9, owner=Pin(method))
            with dma_map(phyr, backend, BOTH) as mapping:
                assert mapping.dma is phyr
        empty = Phyr.from_pfns([])
        assert backend.map(empty, BOTH) is empty
        assert isinstance(backend, DmaBackend)
    assert kernel.maps == {}


@pytest.mark.parametrize(
    ("owner", "words"), [(None, "no pin holds"), (Pin("mlock"), "a pin of method 'mlock' holds")]
)
def test_without_iommu_only_what_stays_is_mapped(
    kernel: FakeKernel, owner: Owner | None, words: str
) -> None:
    with NoIommu() as backend, pytest.raises(PinError, match=words) as caught:
        dma_map(buffer_of(7, owner=owner), backend, BOTH)
    assert caught.value.errno == errno.EPERM
    assert kernel.maps == {}


class Ended(Pin):
    """The owner of a pin that ended: its method stays what it was."""

    def check(self) -> None:
        raise PinError(errno.EINVAL, "is no longer pinned")


def test_without_iommu_each_part_must_be_pinned_still(kernel: FakeKernel) -> None:
    good, ended, locked = Pin("io_uring"), Ended("io_uring"), Pin("mlock")
    cases: list[tuple[list[Pin], str]] = [
        ([ended], "no longer"),
        ([good, ended], "no longer"),
        ([good, locked], "'mlock'"),
    ]
    with NoIommu(sysfs=True) as backend:
        for owners, words in cases:
            phyr = buffer_of(7, owner=owners[0])
            for owner in owners[1:]:
                phyr = phyr + buffer_of(9, owner=owner)
            with pytest.raises(PinError, match=words):
                backend.map(phyr, BOTH)
        joined = buffer_of(7, owner=good) + buffer_of(9, owner=Pin("vfio"))
        assert backend.map(joined, BOTH) is joined
        with pytest.raises(PinError, match="no pin"):
            backend.map(joined + Phyr.from_pfns([3]), BOTH)
    assert kernel.calls == 0


def test_without_iommu_a_closed_backend_opens_nothing(kernel: FakeKernel) -> None:
    backend = NoIommu(sysfs=True)
    backend.close()
    with pytest.raises(VfioError, match="the backend is closed"):
        backend.open(TWO)
    assert kernel.calls == 0


def test_without_iommu_sysfs_opens_what_no_driver_has(kernel: FakeKernel) -> None:
    with NoIommu(sysfs=True) as backend:
        with pci.bound(ONE, None) as function, backend.open(function) as device:
            device.region(0).u32[3] = 0x1234_5678
            assert kernel.open_files == []
        resource = (function.path / "resource0").read_bytes()
        assert resource[12:16] == bytes.fromhex("78563412")
