"""An NVMe drive for examples/nvme.py whose registers and rings are plain memory."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from phyr import Phyr

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import nvme

__all__ = ["BLOCK", "BLOCKS", "MOST", "drive", "nvme"]

BLOCK, BLOCKS, MOST = 512, 1000, 64 << 10


def queue() -> nvme.Queue:
    """Return a queue whose registers and rings are plain memory."""
    registers = bytearray(8192)
    bar = SimpleNamespace(u32=memoryview(registers).cast("I"), u64=memoryview(registers).cast("Q"))
    device: Any = SimpleNamespace(region=lambda _: bar)
    rings = memoryview(bytearray(2 * nvme.PAGE))
    return nvme.Queue(device, 1, (rings, Phyr.from_pfns([3, 4])), None, None, nvme.IN_FLIGHT)


def drive() -> nvme.Nvme:
    """Return a drive without a device."""
    found = nvme.Nvme.__new__(nvme.Nvme)
    found.block_size, found.capacity, found.max_transfer = BLOCK, BLOCK * BLOCKS, MOST
    found.sgl, found.room, found.depth = False, nvme.PAGE, nvme.IN_FLIGHT
    lists = Phyr.from_pfns(range(100, 100 + nvme.IN_FLIGHT))
    found.blocks = queue()
    found.cut(found.blocks, memoryview(bytearray(nvme.IN_FLIGHT * nvme.PAGE)), lists)
    return found
