"""A test bench for the DMA engine in copy.v: buffers scattered by seed, behind a simulated IOMMU.

`phyr.sim.Region` is the memory that the AXI slave reaches. Run by run_copy.py beside it.
"""

import os
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteSlave

from phyr import Phyr
from phyr.iommu import Direction, Paging, dma_map
from phyr.sim import Device, FaultReason, Memory, Region, SimDomain

SEED = int(os.environ.get("LAYOUT_SEED", "1"))
LENGTH = 0x4000
OFFSET = 0xE8  # a multiple of 8: bursts of 64 bytes cross pages


class Bench:
    """The engine, the memory that it reaches, and what connects them."""

    def __init__(self, dut: Any, device: Device) -> None:
        """Connect an engine."""
        self.dut = dut
        self.device = device
        self.region = Region(device)
        cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
        bus = AxiLiteBus.from_prefix(dut, "m_axil")
        self.slave = AxiLiteSlave(bus, dut.clk, dut.rst, target=self.region)
        for part in (self.slave.write_if, self.slave.read_if):
            part.log.setLevel("WARNING")

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


@cocotb.test()
async def contiguous(dut: Any) -> None:
    """Pages that follow each other: what a bench with one array for memory tests."""
    memory = Memory(1 << 30)
    source = memory.alloc(LENGTH + OFFSET)[OFFSET:]
    assert await copies(dut, memory, source, memory.alloc(LENGTH + OFFSET)[OFFSET:])


@cocotb.test()
async def scattered(dut: Any) -> None:
    """Single pages at places drawn by a seed, as a long-running machine has them."""
    memory = Memory(1 << 30)
    source = memory.scatter(LENGTH, seed=SEED, orders=[0], offset=OFFSET)
    target = memory.scatter(LENGTH, seed=SEED + 1, orders=[0], offset=OFFSET)
    assert await copies(dut, memory, source, target)


@cocotb.test()
async def unmapped(dut: Any) -> None:
    """Without a mapping the IOMMU faults: the engine sees SLVERR, the bench the record."""
    memory = Memory(1 << 30)
    domain = SimDomain(memory)
    bench = Bench(dut, Device(memory, domain))
    source = memory.scatter(LENGTH, seed=SEED, orders=[0])
    target = memory.scatter(LENGTH, seed=SEED + 1, orders=[0])
    data = os.urandom(LENGTH)
    memory.write(source, data)
    backend = Paging(domain)
    with dma_map(source, backend, Direction.TO_DEVICE) as mapping:
        with dma_map(target, backend, Direction.FROM_DEVICE) as other:
            assert await bench.copy(mapping.dma, other.dma)
            assert memory.read(target) == data
            window = other.dma
        assert not await bench.copy(mapping.dma, window)
    fault = bench.region.faults[-1]
    assert (fault.dma_addr, fault.reason) == (window[0], FaultReason.NO_WRITE)
