"""`phyr.sim.Region` under the bus models of cocotb: cocotbext-axi and cocotbext-pcie, by Icarus."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from phyr import FaultError, FrozenPhyr, Phyr, RangeError
from phyr.sim import Device, FaultReason, Memory, Region, SimDomain

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "cocotb"


def run(script: Path) -> str:
    """Run a script that runs a simulator; return what it printed."""
    for module in ("cocotb", "cocotbext.axi", "cocotbext.pcie"):
        pytest.importorskip(module, exc_type=ImportError)
    if not shutil.which("iverilog"):
        pytest.skip("no iverilog here")
    folder = str(Path(sys.executable).parent)
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    del env["PYTEST_CURRENT_TEST"]  # else cocotb's runner takes the test's result for its own
    done = subprocess.run(  # noqa: S603 - ours
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=env,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_bug_of_each_engine_shows_on_scattered_memory_only() -> None:
    printed = run(EXAMPLE / "run_copy.py")
    for engine in ("copy.v", "burst.v"):
        right = "{'contiguous': True, 'scattered': True, 'unmapped': True}"
        assert f"{engine} without the bug: {right}\n" in printed
        assert f"{engine}, the bug shows in: scattered\n" in printed


def test_a_pcie_device_gets_unsupported_requests_where_nothing_is_mapped() -> None:
    assert run(Path(__file__).parent / "pcie" / "run_pcie.py") == "3 passed\n"


def domain_of(memory: Memory) -> SimDomain:
    """Return a domain with a page to read at 0x1000 and one for both at 0x2000."""
    domain = SimDomain(memory)
    domain.map_pages(0x1000, 0x7000, 0x1000, 1, prot=1)
    domain.map_pages(0x2000, 0x9000, 0x1000, 1, prot=3)
    return domain


def test_a_region_reads_and_writes_what_its_device_does() -> None:
    memory = Memory(1 << 20)
    region = Region(Device(memory, domain_of(memory)))
    asyncio.run(region.write(0x2000, bytearray(b"there"), prot="anything"))
    assert memory.read_at(0x9000, 5) == b"there"
    memory.write_at(0x7FFC, b"and ")
    assert asyncio.run(region.read(0x1FFC, 9)) == b"and there"
    assert len(region.faults) == 0


def test_a_fault_is_raised_and_kept() -> None:
    memory = Memory(1 << 20)
    region = Region(Device(memory, domain_of(memory)))
    with pytest.raises(FaultError):
        asyncio.run(region.write(0x1FFC, b"not there"))
    with pytest.raises(FaultError):
        asyncio.run(region.read(0x2FFC, 9))
    found = [(fault.dma_addr, fault.reason, fault.is_write) for fault in region.faults]
    assert found == [(0x1FFC, FaultReason.NO_WRITE, True), (0x3000, FaultReason.NO_READ, False)]
    for _ in range(100):
        with pytest.raises(FaultError):
            asyncio.run(region.read(0, 1))
    assert len(region.faults) == 64
    narrow = Region(Device(memory, mask=0xFFFF))
    with pytest.raises(RangeError):
        asyncio.run(narrow.read(0x1_0000, 1))


def test_a_region_answers_where_something_is_mapped() -> None:
    memory = Memory(1 << 20)
    region = Region(Device(memory, domain_of(memory)))
    everything = [(0, 1 << 64, 0, region)]
    assert region.find_regions(0x1000, 0x2000) == everything
    assert region.find_regions(0x1FFF) == everything
    assert region.find_regions(0x2FFF, 2) == []
    assert [fault.dma_addr for fault in region.faults] == [0x2FFF]
    direct = Region(Device(memory, offset=0x1_0000))
    assert direct.find_regions(0x1_0000, 1 << 20)
    assert not direct.find_regions(0xFFFF, 2)
    assert not direct.find_regions((1 << 20) + 0xFFFF, 2)


class Space:
    """An address space for a region: bytes from 0x1000 on, and a pool of nothing below."""

    def __init__(self) -> None:
        """Fill it."""
        self.data = bytearray(0x1000)
        self.pool = Space.__new__(Space)

    def find_regions(self, address: int, length: int) -> list[tuple[int, int, int, object]]:
        """Return what is there."""
        if not hasattr(self, "data"):
            return []
        inside = 0x1000 <= address <= 0x2000 - length
        return [(0x1000, 0x1000, 0, b"")] if inside else [(0, 0x1000, 0, self.pool)]

    async def read(self, address: int, length: int) -> bytes:
        """Read it."""
        return bytes(self.data[address - 0x1000 : address - 0x1000 + length])

    async def write(self, address: int, data: bytes) -> None:
        """Write it."""
        self.data[address - 0x1000 : address - 0x1000 + len(data)] = data


def test_what_the_device_does_not_reach_is_for_others() -> None:
    memory = Memory(1 << 20)
    domain = SimDomain(memory)
    domain.map_pages(0x4000, 0x9000, 0x1000, 1, prot=3)
    region, space = Region(Device(memory, domain)), Space()
    region.others = space
    asyncio.run(region.write(0x1004, b"bar"))
    asyncio.run(region.write(0x4004, b"ram"))
    assert (bytes(space.data[4:7]), memory.read_at(0x9004, 3)) == (b"bar", b"ram")
    assert asyncio.run(region.read(0x1004, 3)) == b"bar"
    assert region.find_regions(0x1004, 3) == space.find_regions(0x1004, 3)
    assert region.find_regions(0x10, 3) == []


def test_it_is_a_member_of_an_address_space() -> None:
    axi = pytest.importorskip("cocotbext.axi", exc_type=ImportError)
    memory = Memory(1 << 20)
    space = axi.AddressSpace(1 << 32)
    space.register_region(Region(Device(memory, domain_of(memory)), size=0x1_0000), 0, offset=None)
    asyncio.run(space.write(0x2010, b"there"))
    assert memory.read(Phyr.from_chunks([(0x9010, 5)])) == b"there"
    assert asyncio.run(space.read(0x2010, 5)) == b"there"
    assert asyncio.run(space.create_window(0x2000, 0x1000).read_dword(0x10)) == 0x72656874
    with pytest.raises(FaultError):
        asyncio.run(space.read(0x5000, 1))


class Counted(Device):
    """A device that counts its reads."""

    reads = 0

    def read(self, dma: Phyr | FrozenPhyr | int, length: int | None = None) -> bytes:
        """Read, and count."""
        self.reads += 1
        return super().read(dma, length)


def test_an_access_is_made_once_where_a_peripheral_region_makes_two() -> None:
    axi = pytest.importorskip("cocotbext.axi", exc_type=ImportError)
    device = Counted(Memory(1 << 20))
    region = axi.PeripheralRegion(device, 1 << 20)
    assert asyncio.run(region.read(0x2000, 8)) == bytes(8)
    assert device.reads == 2  # it awaits the bytes, catches the error, and reads again
    space = axi.AddressSpace(1 << 32)
    space.register_region(Region(device, size=1 << 20), 0, offset=None)
    assert asyncio.run(space.read(0x2000, 8)) == bytes(8)
    assert device.reads == 3


def test_memory_is_what_a_memory_region_takes() -> None:
    axi = pytest.importorskip("cocotbext.axi", exc_type=ImportError)
    memory = Memory(1 << 20)
    region = axi.MemoryRegion(len(memory), mem=memory)
    asyncio.run(region.write(0x5FFE, b"crossing"))
    assert asyncio.run(region.read(0x6000, 6)) == b"ossing"
    assert region.hexdump_str(0x6000, 6).strip().endswith("ossing")
