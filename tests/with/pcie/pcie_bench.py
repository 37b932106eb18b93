"""A PCIe device of cocotbext-pcie reads and writes memory of phyr.sim through a simulated IOMMU."""

from typing import Any

import cocotb
from cocotbext.pcie.core import Device as PcieDevice
from cocotbext.pcie.core import MemoryEndpoint, RootComplex

from phyr.sim import Device, FaultReason, Memory, Region, SimDomain


class Counted(Device):
    """A device that counts its accesses."""

    reads = writes = 0

    def read(self, dma: Any, length: int | None = None) -> bytes:
        """Read, and count."""
        self.reads += 1
        return super().read(dma, length)

    def write(self, dma: Any, data: Any) -> None:
        """Write, and count."""
        self.writes += 1
        super().write(dma, data)


class Bench:
    """A root complex whose memory is behind an IOMMU, and an endpoint with a BAR."""

    def __init__(self) -> None:
        """Make memory of which three pages are mapped: for both, for writes, for reads."""
        self.memory = Memory(1 << 30)
        domain = SimDomain(self.memory)
        domain.map_pages(0x10_0000, 0x7000, 0x1000, 1, prot=3)
        domain.map_pages(0x10_1000, 0x3_9000, 0x1000, 1, prot=3)
        domain.map_pages(0x20_0000, 0x5000, 0x1000, 1, prot=2)
        domain.map_pages(0x20_1000, 0x9000, 0x1000, 1, prot=1)
        self.device = Counted(self.memory, domain)
        self.region = Region(self.device)
        self.complex = RootComplex()
        self.endpoint = MemoryEndpoint()
        self.answers: list[str] = []

    async def start(self) -> Any:
        """Connect them, and return the function that the root complex found."""
        self.endpoint.add_mem_region(4096)
        self.complex.make_port().connect(PcieDevice(self.endpoint))
        await self.complex.enumerate()
        self.region.others = self.complex.mem_address_space
        self.complex.mem_address_space = self.region
        found = self.complex.find_device(self.endpoint.pcie_id)
        await found.enable_device()
        await found.set_master()
        send = self.complex.send

        async def watched(tlp: Any) -> None:
            if hasattr(tlp, "status"):
                self.answers.append(tlp.status.name)
            await send(tlp)

        self.complex.send = watched
        return found

    async def refused(self, address: int) -> str:
        """Read where it must fail, and return the status of the answer."""
        self.answers.clear()
        try:
            await self.endpoint.mem_read(address, 16)
        except Exception as error:  # noqa: BLE001 - what the model raises
            assert "unsuccessful" in str(error).lower(), error  # noqa: PT017
        else:
            raise AssertionError
        (answer,) = self.answers
        return answer


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_device_reads_and_writes_what_is_mapped(_: object) -> None:
    bench = Bench()
    found = await bench.start()
    endpoint, memory = bench.endpoint, bench.memory

    # The processor reaches the device's own memory as before.
    bar = found.bar_window[0]
    await bar.write(0x10, b"in the BAR")
    assert bytes(await bar.read(0x10, 10)) == b"in the BAR"

    await endpoint.mem_write(0x10_0FF0, bytes(range(16)))
    await endpoint.mem_write(0x10_1000, bytes(range(16, 32)))
    assert await endpoint.mem_read(0x10_0FF0, 16) == bytes(range(16))
    assert memory.read_at(0x7FF0, 16) + memory.read_at(0x3_9000, 16) == bytes(range(32))

    # Each request is one access.
    assert (bench.device.reads, bench.device.writes) == (1, 2)
    assert len(bench.region.faults) == 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def it_gets_ur_where_nothing_is_mapped_and_ca_where_it_may_not(_: object) -> None:
    bench = Bench()
    await bench.start()
    assert await bench.refused(0x10_2000) == "UR"
    fault = bench.region.faults[-1]
    assert (fault.dma_addr, fault.reason) == (0x10_2000, FaultReason.NO_READ)
    assert await bench.refused(0x20_0040) == "CA"
    fault = bench.region.faults[-1]
    assert (fault.dma_addr, fault.reason, fault.is_write) == (0x20_0040, FaultReason.NO_READ, False)
    assert bench.device.reads == 1


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_write_has_no_answer_but_a_fault_record(_: object) -> None:
    bench = Bench()
    await bench.start()
    await bench.endpoint.mem_write(0x20_1000, b"not to be written")
    assert await bench.endpoint.mem_read(0x20_1000, 16) == bytes(16)  # behind the write
    (fault,) = bench.region.faults
    assert (fault.dma_addr, fault.reason, fault.is_write) == (0x20_1000, FaultReason.NO_WRITE, True)
    assert bench.memory.read_at(0x9000, 16) == bytes(16)
    await bench.endpoint.mem_write(0x30_0000, b"nowhere")
    await bench.endpoint.mem_read(0x20_1000, 4)
    assert bench.region.faults[-1].dma_addr == 0x30_0000
