"""A test bench for DMA engines: buffers scattered by seed, behind a simulated IOMMU.

The engines are copy.v, an AXI-Lite master, and burst.v, an AXI master. `phyr.sim.Region` is the
memory that their slave reaches. Run by run_copy.py beside it.
"""

import os
import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteSlave, AxiSlave

from phyr import Phyr
from phyr.iommu import Direction, Paging, dma_map
from phyr.sim import Device, FaultReason, Memory, Region, SimDomain

SEED = int(os.environ.get("LAYOUT_SEED", "1"))
LENGTH = 0x2000
OFFSET = 0xE8  # a multiple of 8: blocks of 64 and 128 bytes cross pages


class Bench:
    """The engine, the memory that it reaches, and what connects them."""

    def __init__(self, dut: Any, device: Device) -> None:
        """Connect an engine."""
        self.dut = dut
        self.device = device
        self.region = Region(device)
        cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
        is_lite = hasattr(dut, "m_axil_araddr")
        bus = AxiLiteBus.from_prefix(dut, "m_axil") if is_lite else AxiBus.from_prefix(dut, "m_axi")
        slave = AxiLiteSlave if is_lite else AxiSlave
        self.slave = slave(bus, dut.clk, dut.rst, target=self.region)
        for part in (self.slave.write_if, self.slave.read_if):
            part.log.setLevel("ERROR")

    async def copy(self, source: Phyr, target: Phyr) -> bool:
        """Let the engine copy from one list of DMA addresses to another; return if it says so."""
        dut = self.dut
        dut.start.value = dut.page_write.value = 0
        dut.rst.value = 1
        await FallingEdge(dut.clk)
        await FallingEdge(dut.clk)
        dut.rst.value = 0
        dut.page_write.value = 1
        for number, (first, second) in enumerate(
            zip(source.pages(4096), target.pages(4096), strict=True)
        ):
            dut.page_number.value = number
            dut.page_from.value = first
            dut.page_to.value = second
            await FallingEdge(dut.clk)
        dut.page_write.value = 0
        dut.from_offset.value = source[0] % 4096
        dut.to_offset.value = target[0] % 4096
        dut.length.value = len(source)
        dut.start.value = 1
        await FallingEdge(dut.clk)
        dut.start.value = 0
        await RisingEdge(dut.done)
        await FallingEdge(dut.clk)
        return not dut.failed.value


async def copies(dut: Any, memory: Memory, source: Phyr, target: Phyr) -> bool:
    """Copy, and return if the bytes arrived."""
    data = bytes(number * 7 % 251 for number in range(LENGTH))
    memory.write(source, data)
    bench = Bench(dut, Device(memory))
    assert await bench.copy(source, target)
    return memory.read(target) == data


def windows(memory: Memory, seed: int) -> tuple[Phyr, Phyr]:
    """Return two buffers of single pages that start anywhere in their first."""
    draw = random.Random(seed)  # noqa: S311 - a layout, no secret
    first, second = (memory.scatter(LENGTH + 4096, seed=2 * seed + n, orders=[0]) for n in (0, 1))
    starts = [draw.randrange(0, 4096, 8), draw.randrange(0, 4096, 8)]
    return first[starts[0] :][:LENGTH], second[starts[1] :][:LENGTH]


@cocotb.test()
async def contiguous(dut: Any) -> None:
    """Pages that follow each other: what a bench with one array for memory tests."""
    memory = Memory(1 << 30)
    source = memory.alloc(LENGTH + OFFSET)[OFFSET:]
    assert await copies(dut, memory, source, memory.alloc(LENGTH + OFFSET)[OFFSET:])


@cocotb.test()
async def scattered(dut: Any) -> None:
    """Single pages at places drawn by a seed, as a long-running machine has them."""
    for seed in range(SEED, SEED + 4):
        memory = Memory(1 << 30)
        source, target = windows(memory, seed)
        assert await copies(dut, memory, source, target), f"layout of seed {seed}"


@cocotb.test()
async def unmapped(dut: Any) -> None:
    """Without a mapping the IOMMU faults: the engine sees SLVERR, the bench the record."""
    memory = Memory(1 << 30)
    domain = SimDomain(memory)
    bench = Bench(dut, Device(memory, domain))
    source, target = windows(memory, SEED)
    data = os.urandom(LENGTH)
    memory.write(source, data)
    backend = Paging(domain)
    with dma_map(source, backend, Direction.TO_DEVICE) as mapping:
        with dma_map(target, backend, Direction.FROM_DEVICE) as other:
            assert await bench.copy(mapping.dma, other.dma)
            assert memory.read(target) == data
            window = other.dma
        assert not await bench.copy(mapping.dma, window)
    fault = bench.region.faults[0]  # a burst goes on to its end, and faults again
    assert (fault.dma_addr, fault.reason) == (window[0], FaultReason.NO_WRITE)
