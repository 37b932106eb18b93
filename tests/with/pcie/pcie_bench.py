"""A PCIe device of cocotbext-pcie reads and writes memory of phyr.sim through a simulated IOMMU."""

from typing import Any

import cocotb
from cocotbext.pcie.core import Device as PcieDevice
from cocotbext.pcie.core import MemoryEndpoint, RootComplex

from phyr.sim import Device, FaultReason, Memory, Region, SimDomain


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_device_reads_what_is_mapped_and_gets_ur_elsewhere(_: object) -> None:
    memory = Memory(1 << 30)
    domain = SimDomain(memory)
    domain.map_pages(0x10_0000, 0x7000, 0x1000, 1, prot=3)
    domain.map_pages(0x10_1000, 0x3_9000, 0x1000, 1, prot=3)
    region = Region(Device(memory, domain))

    complex_ = RootComplex()
    endpoint = MemoryEndpoint()
    endpoint.add_mem_region(4096)
    device = PcieDevice(endpoint)
    complex_.make_port().connect(device)
    await complex_.enumerate()
    region.others = complex_.mem_address_space
    complex_.mem_address_space = region
    found = complex_.find_device(endpoint.pcie_id)
    await found.enable_device()
    await found.set_master()

    # The processor reaches the device's own memory as before.
    bar = found.bar_window[0]
    await bar.write(0x10, b"in the BAR")
    assert bytes(await bar.read(0x10, 10)) == b"in the BAR"

    await endpoint.mem_write(0x10_0FF0, bytes(range(16)))
    await endpoint.mem_write(0x10_1000, bytes(range(16, 32)))
    assert await endpoint.mem_read(0x10_0FF0, 16) == bytes(range(16))
    assert memory.read_at(0x7FF0, 16) + memory.read_at(0x3_9000, 16) == bytes(range(32))

    answers = []
    send = complex_.send

    async def watched(tlp: Any) -> None:
        answers.append(tlp)
        await send(tlp)

    complex_.send = watched
    try:
        await endpoint.mem_read(0x10_2000, 16)
    except Exception as error:  # noqa: BLE001 - what the model raises
        assert "unsuccessful" in str(error).lower(), error  # noqa: PT017
    else:
        raise AssertionError
    assert [tlp.status.name for tlp in answers] == ["UR"]
    fault = region.faults[-1]
    assert (fault.dma_addr, fault.reason) == (0x10_2000, FaultReason.NO_READ)
