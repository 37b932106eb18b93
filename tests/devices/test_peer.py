"""A device's own memory as a list, and mapped for another device."""

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from phyr import AlignmentError, LimitError, MismatchError, Phyr, RangeError, VfioError, pci
from phyr.iommu import Direction, Prot, dma_map
from phyr.iommufd import Ioas
from phyr.pci.device import OPEN
from phyr.vfio import NoIommu, Type1
from support.fake_vfio import FakeKernel

ONE, TWO = "0000:00:04.0", "0001:02:05.3"
PAGE = 4096
BAR = 0xFEA0_0000
NUMBER = 1 << 16 | 2 << 8 | 5 << 3 | 3
BOTH = Direction.BIDIRECTIONAL
MAPPERS = pytest.mark.parametrize("make", [Type1, Ioas])


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKernel]:
    fake = FakeKernel(tmp_path, monkeypatch)
    fake.add(ONE, 4, "vfio-pci")
    fake.add(TWO, 5, "vfio-pci")
    yield fake
    assert fake.open_files == []
    assert fake.maps == {}
    assert OPEN == {}


@MAPPERS
def test_a_region_is_a_list_of_its_provider(
    kernel: FakeKernel, make: Callable[[], Type1 | Ioas]
) -> None:
    with make() as backend, backend.open(TWO) as device:
        region = device.region(0)
        phyr = region.phyr
        assert [tuple(chunk) for chunk in phyr.chunks] == [(BAR, 2 * PAGE)]
        assert (phyr.kind, phyr.uaddr, phyr.owner) == (f"mmio:{NUMBER}", region.uaddr, region)
        assert region.uaddr == ctypes.addressof(ctypes.c_char.from_buffer(region.u8))
        assert phyr == region.phyr
        with pytest.raises(MismatchError, match="mmio"):
            phyr + Phyr.from_pfns([1])
        (kernel.sys / "devices" / TWO / "resource").unlink()
        with pytest.raises(VfioError, match="read: No such file") as caught:
            region.phyr  # noqa: B018
        assert caught.value.errno == errno.ENOENT


@MAPPERS
def test_a_region_is_mapped_for_another_device(
    kernel: FakeKernel, make: Callable[[], Type1 | Ioas]
) -> None:
    with make() as backend, backend.open(ONE), backend.open(TWO) as peer:
        region = peer.region(0)
        # By dma-buf it is told by its place in the region, by Type1 by its address.
        base = 0 if isinstance(backend, Ioas) else region.uaddr
        dma = backend.map_region(region)
        assert (dma.length, dma.kind) == (2 * PAGE, f"mmio:{NUMBER}")
        assert kernel.maps == {dma[0]: (base, 2 * PAGE, 3)}
        backend.unmap(dma, BOTH)
        part = region.phyr[PAGE + 8 : PAGE + 16]
        with dma_map(part, backend, Direction.TO_DEVICE) as mapping:
            ((iova, length),) = mapping.dma.chunks
            assert (iova % PAGE, length) == (8, 8)
            assert kernel.maps == {iova - 8: (base + PAGE, PAGE, 1)}
        assert kernel.maps == {}
        assert not [name for name in kernel.open_files if "dmabuf" in name]


def test_what_cannot_be_exported_says_why(kernel: FakeKernel) -> None:
    kernel.exports = False
    with Ioas() as backend, backend.open(ONE) as device:
        with pytest.raises(VfioError, match=r"DMA_BUF, .*it exports no regions") as caught:
            backend.map_region(device.region(0))
        assert caught.value.errno == errno.ENOTTY
        assert kernel.maps == {}
    with (
        pci.bound(TWO, None) as function,
        function.open() as device,
        Ioas() as backend,
        pytest.raises(VfioError, match=r"export: .*VFIO exports regions"),
    ):
        backend.map_region(device.region(0))


@MAPPERS
def test_a_region_that_is_closed_is_not_mapped(
    kernel: FakeKernel, make: Callable[[], Type1 | Ioas]
) -> None:
    with make() as backend, backend.open(ONE):
        with backend.open(TWO) as peer:
            phyr = peer.region(0).phyr
        with pytest.raises(VfioError, match=r"map region: .*it is closed"):
            dma_map(phyr, backend, BOTH)
        assert kernel.maps == {}


def test_without_iommu_a_region_is_its_own_mapping(kernel: FakeKernel) -> None:
    with (
        pci.bound(TWO, None) as function,
        NoIommu(sysfs=True) as backend,
        NoIommu(sysfs=True, dma_mask=2**28 - 1) as narrow,
        backend.open(function) as device,
    ):
        phyr = device.region(0).phyr
        with dma_map(phyr, backend, BOTH) as mapping:
            assert mapping.dma is phyr
        with pytest.raises(LimitError, match="above the DMA mask 0xfffffff"):
            dma_map(phyr, narrow, BOTH)
    assert kernel.maps == {}


def test_registers_of_two_bytes_are_read_and_written(kernel: FakeKernel) -> None:
    with Type1() as backend, backend.open(ONE) as device:
        region = device.region(0)
        region.u16[3] = 0xBEEF
        assert bytes(region.u8[6:8]) == b"\xef\xbe"
        assert region.u32[1] == 0xBEEF_0000
        assert kernel.maps == {}


# Files.


def test_a_part_of_a_memfd_is_mapped(kernel: FakeKernel) -> None:
    fd = os.memfd_create("guest")
    try:
        os.truncate(fd, 4 * PAGE)
        with Ioas() as backend, backend.open(ONE):
            iova = backend.map_file(fd, PAGE, 2 * PAGE, Prot.READ)
            assert kernel.maps == {iova: (PAGE, 2 * PAGE, 1)}
            for offset, length in ((1, PAGE), (0, 0), (0, PAGE + 1)):
                with pytest.raises(AlignmentError, match="is not whole granules"):
                    backend.map_file(fd, offset, length, Prot.READ)
            with pytest.raises(VfioError, match=r"IOMMU_IOAS_MAP_FILE: .*length 0x5000"):
                backend.map_file(fd, 0, 5 * PAGE, Prot.READ)
            backend.unmap_user(iova)
            assert kernel.maps == {}
    finally:
        os.close(fd)


# Gaps, and files for requests that phyr does not make.


@MAPPERS
@pytest.mark.parametrize("guard", [1, PAGE, 3 * PAGE])
def test_windows_have_gaps_between_them(
    kernel: FakeKernel, make: Callable[..., Type1 | Ioas], guard: int
) -> None:
    with make(guard=guard) as backend, backend.open(ONE):
        assert backend.guard == guard
        buffer = bytearray(PAGE)
        mappings = [backend.map_buffer(buffer) for _ in range(5)]
        with backend.open(TWO):  # what may be used is asked for anew
            mappings += [backend.map_buffer(buffer) for _ in range(5)]
            windows = sorted((iova, size) for iova, (_, size, _) in kernel.maps.items())
            assert len(windows) == 10
            for (low, size), (high, _) in pairwise(windows):
                assert low + size + guard <= high
            for mapping in mappings:
                mapping.unmap()
        assert kernel.maps == {}
        assert len(backend._iovas) == 0  # noqa: SLF001


@MAPPERS
def test_a_gap_is_no_less_than_nothing(
    kernel: FakeKernel, make: Callable[..., Type1 | Ioas]
) -> None:
    with pytest.raises(RangeError, match="a gap of -0x1 bytes is none"):
        make(guard=-1)
    assert kernel.calls == 0


@MAPPERS
def test_a_backend_has_a_file(kernel: FakeKernel, make: Callable[[], Type1 | Ioas]) -> None:
    with make() as backend:
        name = str(Path(f"/proc/self/fd/{backend.fd}").readlink().relative_to(kernel.dev))
        assert name == ("vfio/vfio" if isinstance(backend, Type1) else "iommu")
