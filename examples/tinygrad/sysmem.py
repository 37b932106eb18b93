"""Host memory for tinygrad's drivers, on huge pages, pinned for real.

tinygrad's own host memory is locked, which does not pin it, and mapped by 4 KiB pages. This one is
mapped by the largest pieces that are aligned on both sides, as its page-table code needs them.
"""

import mmap
from contextlib import ExitStack
from typing import Literal

from tinygrad.helpers import round_up
from tinygrad.runtime.support.hcq import FileIOInterface, HCQBuffer, MMIOInterface
from tinygrad.runtime.support.memory import AddrSpace
from tinygrad.runtime.support.system import PCIAllocationMeta, PCIIfaceBase

import phyr
from phyr.iommu import plan_map

PAGE_SIZES = 1 << 12 | 1 << 21 | 1 << 30
MAP_NORESERVE, MAP_FIXED_NOREPLACE = 0x4000, 0x10_0000
RESERVED = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE


def reserve(vaddr: int, size: int) -> None:
    """Keep addresses from being used, as tinygrad does with all that it may give out."""
    FileIOInterface.anon_mmap(vaddr, size, 0, RESERVED, 0)


class PinnedHostMemory(PCIIfaceBase):  # type: ignore[misc] # tinygrad's has no types
    """Goes before tinygrad's interface: ``class Interface(PinnedHostMemory, PCIIface)``.

    Host memory then lives until `free`, however many views of it there are. Other memory is left to
    tinygrad.
    """

    def __init__(self, *arguments: object, **options: object) -> None:
        self.kept: dict[int, ExitStack] = {}
        super().__init__(*arguments, **options)

    def alloc(self, size: int, host: bool = False, **options: object) -> HCQBuffer:  # noqa: FBT001, FBT002 - tinygrad's
        """Do as tinygrad's `PCIIfaceBase.alloc` does."""
        visible = options.get("uncached") or self.is_bar_small()
        visible = options.get("cpu_access") and visible and not options.get("force_devmem")
        if not (host or visible):
            return super().alloc(size, **options)
        size = round_up(size, mmap.PAGESIZE)
        mm = self.dev_impl.mm
        with ExitStack() as undo:
            vaddr = mm.alloc_vaddr(size)
            undo.callback(mm.va_allocator.free, vaddr)
            FileIOInterface.munmap(vaddr, size)
            undo.callback(reserve, vaddr, size)
            huge: Literal["2M", "thp"] = (
                "2M" if options.get("contiguous") and size > mmap.PAGESIZE else "thp"
            )
            memory = undo.enter_context(phyr.alloc(size, huge=huge, uaddr=vaddr))
            pinned = undo.enter_context(phyr.pin(memory))
            plan = plan_map(pinned.phyr, vaddr, pgsize_bitmap=PAGE_SIZES)
            pieces = [(paddr, pgsize * pgcount) for _, paddr, pgsize, pgcount in plan]
            mapping = mm.map_range(vaddr, size, pieces, AddrSpace.SYS, snooped=True, uncached=True)
            undo.callback(mm.unmap_range, vaddr, size)
            # tinygrad unmaps by itself if it is told of a mapping.
            meta = PCIAllocationMeta(mapping, has_cpu_mapping=False, hMemory=pieces[0][0])
            view = MMIOInterface(vaddr, size)
            self.kept[vaddr] = undo.pop_all()
        return HCQBuffer(vaddr, size, meta=meta, view=view, owner=self.dev)

    def free(self, buffer: HCQBuffer) -> None:
        """Do as tinygrad's `PCIIfaceBase.free` does. The device loses the memory before it goes."""
        super().free(buffer)
        if buffer.owner is self.dev and buffer.va_addr in self.kept:
            self.kept.pop(buffer.va_addr).close()
