"""Every public class shows the numbers one debugs with, in few words."""

import importlib
import inspect
import re
from collections import defaultdict
from pathlib import Path

import pytest

import phyr
from phyr import DmaPool, Phyr, iommu, pagemap, pci, sim, testing, vfio
from phyr.iommu import Direct, Staging
from phyr.pci.config import Window
from phyr.vfio import NoIommu
from support.fake_vfio import FakeKernel
from support.live import PAGE, linux, shown, uring

pytest_plugins = ["support.vfio"]

MODULES = ["phyr", "desc", "errors", "iommu", "iommufd", "pagemap", "pci", "sim", "testing", "vfio"]

# Names that two modules have: the simulated one stands in for the real one.
STAND_IN = {"Device", "Region"}


def public() -> dict[str, list[object]]:
    """Return what each public name means, in every module that has it."""
    found: dict[str, list[object]] = defaultdict(list)
    for name in MODULES:
        module = phyr if name == "phyr" else importlib.import_module(f"phyr.{name}")
        for each in module.__all__:
            value = getattr(module, each)
            if value not in found[each]:
                found[each].append(value)
    return found


CLASSES = {
    f"{value.__module__}.{name}": value
    for name, values in public().items()
    for value in values
    if inspect.isclass(value) and not getattr(value, "_is_protocol", False)
}


def test_a_public_name_means_one_thing() -> None:
    assert {name for name, values in public().items() if len(values) > 1} == STAND_IN


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_class_has_a_repr_of_its_own(name: str) -> None:
    assert CLASSES[name].__repr__ is not object.__repr__


def test_simulated_devices_show_how_they_reach_memory() -> None:
    memory = sim.Memory(1 << 20)
    device = sim.Device(memory, offset=0x8000, mask=0xFFFF_FFFF)
    assert repr(device) == f"Device({memory!r}, offset 0x8000, mask 0xffffffff)"
    assert (
        repr(sim.Region(device, size=1 << 32)) == f"Region(0x100000000 bytes, {device!r}, 0 faults)"
    )
    domain = sim.SimDomain(memory)
    assert repr(sim.Device(memory, domain)).startswith(f"Device({memory!r}, SimDomain(4 levels")


def test_copies_show_the_part_and_its_pages() -> None:
    memory = sim.Memory(1 << 20)
    staging = Staging(memory, memory)
    assert repr(staging) == f"Staging({memory!r}, {memory!r})"
    part = Phyr.from_chunks([(0x5000, 0x10)])
    copy = staging.stage(part)
    assert repr(copy) == f"Copy({part!r} at {copy.copy!r})"
    copy.release()
    assert repr(copy).endswith(", freed)")


def test_registers_show_their_length() -> None:
    assert repr(pci.Registers(Window(-1, 0, 64))) == "Registers(0x40 bytes)"
    assert repr(pci.Config(Window(-1, 0, 4096))) == "Config(0x1000 bytes)"


@pytest.mark.parametrize("make", [vfio.Type1, phyr.iommufd.Ioas])
def test_address_spaces_show_devices_and_windows(
    kernel: FakeKernel, make: type[vfio.Type1 | phyr.iommufd.Ioas]
) -> None:
    name = make.__name__
    with make(dma_mask=0xFFFF_FFFF) as backend, backend.open("0000:00:05.0"):
        backend.map_user(0x7F00_0000_0000, 4096, iommu.Prot.READ)
        assert repr(backend) == f"{name}(1 devices, 1 windows, dma_mask 0xffffffff)"
    assert repr(backend) == f"{name}(0 devices, 0 windows, dma_mask 0xffffffff, closed)"
    assert kernel.maps == {}


@pytest.mark.usefixtures("kernel")
def test_a_backend_without_iommu_shows_its_devices() -> None:
    with NoIommu(dma_mask=0xFFFF) as backend, backend.open("0000:00:05.0"):
        assert repr(backend) == "NoIommu(1 devices, dma_mask 0xffff)"
    assert repr(backend) == "NoIommu(0 devices, dma_mask 0xffff, closed)"


@shown
@uring
def test_a_pin_shows_where_it_is_and_a_pool_what_is_in_use() -> None:
    with phyr.pin(bytearray(PAGE)) as pinned:
        text = f"{pinned.uaddr:#x}+{PAGE:#x} (io_uring), 0 mappings"
        assert repr(pinned) == f"Pinned({text})"
        assert repr(pinned.phyr.owner) == f"Hold({text})"
    with DmaPool(Direct(), 2 * PAGE) as pool:
        piece = pool.take(PAGE)
        assert repr(piece) == f"Piece({piece.dma!r})"
        assert re.fullmatch(rf"DmaPool\(Phyr\(.*\), 1 pieces, {PAGE:#x} bytes free\)", repr(pool))


@shown
@uring
def test_a_lease_shows_whether_it_was_released() -> None:
    with phyr.PinCache() as cache:
        lease = cache.pin(bytearray(PAGE))
        assert repr(lease) == f"Lease({lease.uaddr:#x}+{PAGE:#x})"
        lease.release()
        assert repr(lease) == f"Lease({lease.uaddr:#x}+{PAGE:#x}, released)"


@linux
def test_a_page_map_shows_whose_it_is() -> None:
    with pagemap.Pagemap() as opened:
        assert re.fullmatch(r"Pagemap\(pid \d+\)", repr(opened))
    assert repr(opened).endswith(", closed)")


@pytest.mark.skipif(not Path("/proc/kpageflags").exists(), reason="the kernel shows no page flags")
@shown
def test_a_scan_shows_its_blocks() -> None:
    assert (
        repr(pagemap.Scan([16 * PAGE, 4 * PAGE]))
        == f"Scan(blocks of {4 * PAGE:#x}, {16 * PAGE:#x} bytes)"
    )
    assert repr(pagemap.Scan()) == "Scan(no blocks)"


def test_a_table_of_pages_shows_how_many() -> None:
    domain = testing.TableDomain(1 << 12, (0, 0xFFFF))
    domain.map_pages(0x1000, 0x5000, 1 << 12, 2, iommu.Prot.READ)
    assert repr(domain) == "TableDomain(2 pages, aperture 0x0 to 0xffff, pgsize_bitmap 0x1000)"


def test_an_index_shows_how_much_it_holds() -> None:
    index = phyr.Index([Phyr.from_pfns([7, 8, 3]), Phyr.from_pfns([9])])
    assert repr(index) == "Index(2 lists, 3 chunks)"
