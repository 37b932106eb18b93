"""tinygrad's own page-table code for AMD GPUs maps memory that phyr allocated and pinned."""

import ctypes
import errno
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

import phyr
from support.live import shown, uring
from support.pages import frames, pinned_bytes

ROOT = Path(__file__).parent.parent.parent
SIZE = 64 << 20
HUGE = 2 << 20
VALID, SYSTEM, IS_PAGE = 1 << 0, 1 << 1, 1 << 54  # amdgpu_vm.h, Linux, for gfx10 and gfx11
ADDRESS = 0x0000_FFFF_FFFF_F000

amdev = pytest.importorskip("tinygrad.runtime.support.am.amdev", exc_type=ImportError)
hcq = pytest.importorskip("tinygrad.runtime.support.hcq")
memory = pytest.importorskip("tinygrad.runtime.support.memory")
pytestmark = [shown, uring]


class FakeDevice:
    """As much of an AMD GPU as its page tables need: video memory, and nothing behind it."""

    def __init__(self) -> None:
        from tinygrad.runtime.support.am.ip import AM_GMC  # noqa: PLC0415 - after the skip

        am = amdev.am
        self.store = ctypes.create_string_buffer(96 << 20)
        self.vram = hcq.MMIOInterface(ctypes.addressof(self.store), 96 << 20)
        self.is_booting, self.smi_dev, self.devfmt = True, False, "fake"
        self.ip_ver = {am.GC_HWIP: (11, 0, 0)}
        self.soc = SimpleNamespace(module=SimpleNamespace(MTYPE_UC=3))
        self.gmc = AM_GMC.__new__(AM_GMC)
        self.gmc.adev, self.gmc.paddr_base = self, 0
        self.gmc.address_space_mask = (1 << 44) - 1
        self.gmc.flush_tlb = lambda **_: None
        self.mm = amdev.AMMemoryManager(
            self,
            96 << 20,
            boot_size=32 << 20,
            pt_t=amdev.AMPageTableEntry,
            va_shifts=[12, 21, 30, 39],
            va_bits=48,
            first_lv=am.AMDGPU_VM_PDB2,
            va_base=amdev.AMMemoryManager.va_allocator.base,
            palloc_ranges=[(1 << 12, 1 << 12)],
        )
        self.is_booting = False

    def paddr2xgmi(self, paddr: int) -> int:
        return paddr

    def xgmi2paddr(self, paddr: int) -> int:
        return paddr

    def walk(self, vaddr: int) -> tuple[int, int]:
        """Return the address and the page size that the tables give, read from their bytes."""
        at = vaddr - self.mm.va_base
        table = self.mm.root_page_table.paddr
        for shift in (39, 30, 21, 12):
            place = table + (at >> shift & 511) * 8
            (entry,) = struct.unpack_from("<Q", self.store, place)
            assert entry & VALID
            if shift == 12 or entry & IS_PAGE:
                assert entry & SYSTEM
                base = entry & ADDRESS
                assert base % (1 << shift) == 0, "the device would drop the low bits"
                return base + at % (1 << shift), 1 << shift
            assert not entry & SYSTEM
            table = entry & ADDRESS
        raise AssertionError


@pytest.fixture
def interface(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Make tinygrad's interface, with host memory from phyr, and its addresses reserved."""
    from tinygrad.runtime.support.system import PCIIfaceBase, System  # noqa: PLC0415 - after the skip

    monkeypatch.syspath_prepend(str(ROOT / "examples" / "tinygrad"))
    monkeypatch.delitem(sys.modules, "sysmem", raising=False)
    from sysmem import PinnedHostMemory  # noqa: PLC0415 - found only now

    class Bare(PCIIfaceBase):  # type: ignore[misc]
        """All that memory needs of it."""

        def __init__(self) -> None:
            self.dev_impl = FakeDevice()
            self.dev = SimpleNamespace(iface=self)
            self.pci_dev = SimpleNamespace(bar_info=lambda _: (0, 1 << 30))
            self.vram_bar = 0

    class Interface(PinnedHostMemory, Bare):
        pass

    made = Interface()
    start, size = made.dev_impl.mm.va_base, 1 << 32
    System.reserve_va(start, size)
    yield made
    System.reserve_va.cache_clear()
    hcq.FileIOInterface.munmap(start, size)


def check(device: FakeDevice, vaddr: int, pages: list[int]) -> None:
    """Walk each page, and compare it with the page map of the kernel."""
    for number, page in enumerate(pages):
        paddr, pgsize = device.walk(vaddr + number * 4096)
        assert paddr == page * 4096
        assert pgsize in {4096, HUGE}


def test_memory_on_huge_pages_is_mapped_by_huge_pages(
    interface: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = interface.dev_impl
    taken: list[float] = []
    real = device.mm.map_range

    def timed(*arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        mapping = real(*arguments, **options)
        taken.append(time.perf_counter() - began)
        return mapping

    monkeypatch.setattr(device.mm, "map_range", timed)
    buffer = interface.alloc(SIZE, host=True)
    vaddr, pieces = buffer.va_addr, buffer.meta.mapping.paddrs
    buffer.cpu_view()[0:4] = b"here"
    assert ctypes.string_at(vaddr, 4) == b"here"
    pages = frames(vaddr, SIZE)
    check(device, vaddr, pages)

    other = FakeDevice()
    singles = [(page * 4096, 4096) for page in pages]
    began = time.perf_counter()
    other.mm.map_range(vaddr, SIZE, singles, memory.AddrSpace.SYS, snooped=True, uncached=True)
    theirs = time.perf_counter() - began
    check(other, vaddr, pages)
    times = f"{taken[0] * 1e3:.2f} ms, {len(singles)} pages {theirs * 1e3:.0f} ms"
    print(f"{len(pieces)} pieces {times}")  # noqa: T201 - the figure of docs/with/tinygrad.md
    if len(pieces) > SIZE // HUGE:
        pytest.skip("this kernel made no huge pages")
    assert device.walk(vaddr)[1] == HUGE
    assert taken[0] < theirs
    interface.free(buffer)


def test_memory_lives_until_it_is_freed_and_is_freed_once(interface: Any) -> None:
    device = interface.dev_impl
    buffer = interface.alloc(HUGE, host=True)
    part = buffer.offset(4096, 8192)
    buffer.view = None
    part.cpu_view().view(4, 8)[0] = 7
    assert ctypes.string_at(part.va_addr + 4, 1) == b"\7"
    assert pinned_bytes() >= HUGE
    interface.free(buffer)
    assert pinned_bytes() == 0
    with pytest.raises(AssertionError):
        device.walk(buffer.va_addr)
    # The addresses are reserved again, and given out again.
    with pytest.raises(phyr.MappedError):
        phyr.alloc(4096, uaddr=buffer.va_addr)
    again = interface.alloc(HUGE, host=True)
    assert again.va_addr == buffer.va_addr
    interface.free(again)
    assert interface.kept == {}


def test_other_memory_is_left_to_tinygrad(interface: Any) -> None:
    buffer = interface.alloc(HUGE, cpu_access=False)
    assert buffer.meta.mapping.aspace is memory.AddrSpace.PHYS
    interface.free(buffer)
    assert interface.kept == {}


def test_what_fails_leaves_nothing(interface: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phyr, "pin", Mock(side_effect=phyr.PinError(errno.EPERM, "no")))
    with pytest.raises(phyr.PinError):
        interface.alloc(HUGE, host=True)
    monkeypatch.undo()
    buffer = interface.alloc(HUGE, uncached=True, cpu_access=True)
    check(interface.dev_impl, buffer.va_addr, frames(buffer.va_addr, HUGE))
    interface.free(buffer)


def test_ordinary_pages_are_mapped_one_by_one_where_need_be() -> None:
    device = FakeDevice()
    size = 3 << 20
    vaddr = device.mm.alloc_vaddr(size) + 4096
    with phyr.alloc(size, huge="thp") as area, phyr.pin(area) as pinned:
        # Elsewhere than it lies in the process: pieces follow the alignment of both addresses.
        plan = phyr.iommu.plan_map(pinned.phyr, vaddr, pgsize_bitmap=1 << 12 | 1 << 21)
        paddrs = [(paddr, pgsize * pgcount) for _, paddr, pgsize, pgcount in plan]
        device.mm.map_range(vaddr, size, paddrs, memory.AddrSpace.SYS)
        check(device, vaddr, frames(area.uaddr, size))
