"""System memory for tinygrad's drivers, on huge pages, pinned for real.

tinygrad's own `alloc_sysmem` locks memory, which does not pin it, and lists 4 KiB pages. This one
lists the largest pieces that are aligned on both sides, as its page-table code needs them.
"""

from tinygrad.runtime.support.hcq import MMIOInterface

import phyr
from phyr.iommu import plan_map

PAGE_SIZES = 1 << 12 | 1 << 21 | 1 << 30


def alloc_sysmem(size: int, vaddr: int = 0) -> tuple[MMIOInterface, list[tuple[int, int]]]:
    """Return memory at `vaddr`, and its (paddr, size) pieces for `MemoryManager.map_range`."""
    memory = phyr.alloc(size, huge="thp", uaddr=vaddr or None)
    pinned = phyr.pin(memory)
    view = MMIOInterface(memory.uaddr, size)
    view.memory, view.pinned = memory, pinned  # kept, and kept in place, as long as the view
    plan = plan_map(pinned.phyr, memory.uaddr, pgsize_bitmap=PAGE_SIZES)
    return view, [(paddr, pgsize * pgcount) for _, paddr, pgsize, pgcount in plan]
