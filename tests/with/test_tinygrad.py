"""tinygrad's own page-table code for AMD GPUs maps memory that phyr allocated and pinned."""

import ctypes
import struct
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import phyr
from support.live import shown, uring

ROOT = Path(__file__).parent.parent.parent
SIZE = 64 << 20
HUGE = 2 << 20
VALID, SYSTEM, IS_PAGE = 1 << 0, 1 << 1, 1 << 54  # amdgpu_vm.h, Linux, for gfx10 and gfx11
ADDRESS = 0x0000_FFFF_FFFF_F000

amdev = pytest.importorskip("tinygrad.runtime.support.am.amdev", exc_type=ImportError)
memory = pytest.importorskip("tinygrad.runtime.support.memory")
pytestmark = [shown, uring]


class FakeDevice:
    """As much of an AMD GPU as its page tables need: video memory, and nothing behind it."""

    def __init__(self) -> None:
        from tinygrad.runtime.support.am.ip import AM_GMC  # noqa: PLC0415 - after the skip
        from tinygrad.runtime.support.hcq import MMIOInterface  # noqa: PLC0415

        am = amdev.am
        self.store = ctypes.create_string_buffer(96 << 20)
        self.vram = MMIOInterface(ctypes.addressof(self.store), 96 << 20)
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
def alloc_sysmem(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "tinygrad"))
    monkeypatch.delitem(sys.modules, "sysmem", raising=False)
    from sysmem import alloc_sysmem  # noqa: PLC0415 - found only now

    return alloc_sysmem


def given_back(request: pytest.FixtureRequest, view: Any) -> phyr.Pinned:
    """Have the memory of a view given back when the test ends; return what pinned it."""
    request.addfinalizer(view.memory.close)
    request.addfinalizer(view.pinned.unpin)
    pinned: phyr.Pinned = view.pinned
    return pinned


def check(device: FakeDevice, vaddr: int, pinned: phyr.Pinned, size: int) -> None:
    """Walk each page, and compare it with the page map of the kernel."""
    for at in range(0, size, 4096):
        paddr, pgsize = device.walk(vaddr + at)
        assert paddr == pinned.phyr[at]
        assert pgsize in {4096, HUGE}


def test_memory_on_huge_pages_is_mapped_by_huge_pages(
    alloc_sysmem: Any,
    request: pytest.FixtureRequest,
) -> None:
    device = FakeDevice()
    vaddr = device.mm.alloc_vaddr(SIZE)
    view, paddrs = alloc_sysmem(SIZE, vaddr)
    pinned = given_back(request, view)
    assert pinned.phyr.uaddr == vaddr
    view[0:4] = b"here"
    assert ctypes.string_at(vaddr, 4) == b"here"
    if view.memory.huge != "thp":
        pytest.skip("this kernel made no huge pages")
    began = time.perf_counter()
    device.mm.map_range(vaddr, SIZE, paddrs, memory.AddrSpace.SYS, snooped=True, uncached=True)
    ours = time.perf_counter() - began
    check(device, vaddr, pinned, SIZE)

    other = FakeDevice()
    singles = [(pinned.phyr[at], 4096) for at in range(0, SIZE, 4096)]
    began = time.perf_counter()
    other.mm.map_range(vaddr, SIZE, singles, memory.AddrSpace.SYS, snooped=True, uncached=True)
    theirs = time.perf_counter() - began
    check(other, vaddr, pinned, SIZE)
    if view.memory.huge_length == SIZE:
        assert len(paddrs) <= SIZE // HUGE
        assert device.walk(vaddr)[1] == HUGE
    times = f"{ours * 1e3:.2f} ms, {len(singles)} pages {theirs * 1e3:.0f} ms"
    print(f"{len(paddrs)} pieces {times}")  # noqa: T201 - the figure of docs/with/tinygrad.md
    assert ours < theirs
    device.mm.unmap_range(vaddr, SIZE)


def test_ordinary_pages_are_mapped_one_by_one_where_need_be(
    alloc_sysmem: Any,
    request: pytest.FixtureRequest,
) -> None:
    device = FakeDevice()
    size = 3 << 20
    view, paddrs = alloc_sysmem(size)
    vaddr = device.mm.alloc_vaddr(size)
    pinned = given_back(request, view)
    # Elsewhere than the memory lies in the process: pieces follow the alignment of both addresses.
    plan = phyr.iommu.plan_map(pinned.phyr, vaddr + 4096, pgsize_bitmap=1 << 12 | 1 << 21)
    paddrs = [(paddr, pgsize * pgcount) for _, paddr, pgsize, pgcount in plan]
    device.mm.map_range(vaddr + 4096, size, paddrs, memory.AddrSpace.SYS)
    check(device, vaddr + 4096, pinned, size)
