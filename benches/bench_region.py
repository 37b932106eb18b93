"""Random reads through `phyr.sim.Region`, beside an address space of cocotbext-axi.

8,192 pages scattered by seed, each mapped where the device wants it. Needs cocotbext-axi.

    python benches/bench_region.py
"""

import asyncio
import random
import sys
import time

from phyr.iommu import Direction, Paging, dma_map
from phyr.sim import Device, Memory, Region, SimDomain

SMOKE = "--smoke" in sys.argv
PAGES = 64 if SMOKE else 8192
READS = 20 if SMOKE else 2000


def reads(space: object, base: int) -> float:
    """Return microseconds for a read of 64 bytes at a random place."""
    rng = random.Random(1)  # noqa: S311 - places, not secrets
    places = [base + rng.randrange(PAGES * 4096 - 64) for _ in range(READS)]

    async def run() -> None:
        for place in places:
            await space.read(place, 64)  # type: ignore[attr-defined] # both have it

    began = time.perf_counter()
    asyncio.run(run())
    return (time.perf_counter() - began) / READS * 1e6


def main() -> None:
    """Print the table."""
    memory = Memory(1 << 40)
    buffer = memory.scatter(PAGES * 4096, seed=1, orders=[0])
    began = time.perf_counter()
    domain = SimDomain(memory)
    with dma_map(buffer, Paging(domain), Direction.TO_DEVICE) as mapping:
        region = Region(Device(memory, domain))
        ready = time.perf_counter() - began
        each = reads(region, mapping.dma[0])
        print(f"phyr.sim.Region            set up {ready * 1e3:9.1f} ms, a read {each:8.1f} us")
    try:
        from cocotbext.axi import AddressSpace, MemoryRegion  # noqa: PLC0415 - may be missing
    except ImportError:
        print("no cocotbext-axi here")
        return
    began = time.perf_counter()
    space = AddressSpace(1 << 48)
    for number in range(PAGES):
        space.register_region(MemoryRegion(4096), (1 << 32) + number * 4096)
    ready = time.perf_counter() - began
    each = reads(space, 1 << 32)
    print(f"cocotbext-axi AddressSpace set up {ready * 1e3:9.1f} ms, a read {each:8.1f} us")


if __name__ == "__main__":
    main()
