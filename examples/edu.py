"""A driver for QEMU's teaching device: it computes factorials and copies memory, by interrupt.

    python examples/edu.py [--backend type1|iommufd|none] ADDRESS [NUMBER]

ADDRESS is a PCI function, such as 0000:00:05.0. docs/datasheet-to-driver.md makes this driver step
by step. Numbers: docs/specs/edu.txt, QEMU.
"""

import argparse
import asyncio

import phyr
from phyr import pci
from phyr.iommufd import Ioas
from phyr.vfio import NoIommu, Type1

Backend = Type1 | Ioas | NoIommu
BACKENDS: dict[str, type[Backend]] = {"type1": Type1, "iommufd": Ioas, "none": NoIommu}
# Registers, in 32-bit words; those of DMA in 64-bit words.
IDENTITY, LIVE, FACTORIAL, STATUS = 0x00 // 4, 0x04 // 4, 0x08 // 4, 0x20 // 4
RAISED, ACKNOWLEDGE = 0x24 // 4, 0x64 // 4
SOURCE, TARGET, COUNT, COMMAND = 0x80 // 8, 0x88 // 8, 0x90 // 8, 0x98 // 8
INTERRUPT_WHEN_DONE = 0x80  # of STATUS
START, TO_MEMORY, INTERRUPT = 1, 2, 4  # of COMMAND
EDU = 0xED  # the last byte of its identity
INSIDE = 0x40000  # where the device's own buffer is, as it sees addresses


class Edu:
    """The device, with memory that it and the program share."""

    def __init__(self, device: pci.Device, pool: phyr.DmaPool) -> None:
        self.registers = device.region(0)
        identity = self.registers.u32[IDENTITY]
        if identity & 0xFF != EDU:
            raise ValueError(f"{device.address} identifies itself as {identity:#x}: no edu device")
        (self.irq,) = device.irqs["msi"].enable(1)
        self.memory = pool.take(4096)
        device.bus_master = True

    async def done(self) -> int:
        """Wait for an interrupt, and return why it came."""
        await asyncio.wait_for(self.interrupted(), 10)
        raised = self.registers.u32[RAISED]
        self.registers.u32[ACKNOWLEDGE] = raised
        return raised

    async def interrupted(self) -> int:
        return await self.irq

    async def factorial(self, number: int) -> int:
        """Let the device compute, modulo 2^32."""
        self.registers.u32[STATUS] = INTERRUPT_WHEN_DONE
        self.registers.u32[FACTORIAL] = number
        await self.done()
        return self.registers.u32[FACTORIAL]

    async def copy(self, source: int, target: int, length: int, how: int) -> None:
        """Copy less than 4096 bytes between memory and the device's buffer."""
        self.registers.u64[SOURCE], self.registers.u64[TARGET] = source, target
        self.registers.u64[COUNT] = length
        self.registers.u64[COMMAND] = START | INTERRUPT | how
        await self.done()

    async def there_and_back(self, data: bytes) -> bytes:
        """Send bytes to the device's buffer, and fetch them back to another place."""
        middle = len(self.memory.view) // 2
        self.memory.view[: len(data)] = data
        await self.copy(self.memory.dma[0], INSIDE, len(data), 0)
        await self.copy(INSIDE, self.memory.dma[middle], len(data), TO_MEMORY)
        return bytes(self.memory.view[middle : middle + len(data)])


def main(words: list[str] | None = None) -> int:
    """Open the device, let it work, and leave everything as it was."""
    parser = argparse.ArgumentParser(description="Let QEMU's edu device compute and copy.")
    parser.add_argument("address", help="PCI function, such as 0000:00:05.0")
    parser.add_argument("number", nargs="?", type=int, default=12)
    parser.add_argument("--backend", choices=BACKENDS, default="type1")
    arguments = parser.parse_args(words)
    with (
        pci.bound(arguments.address, "vfio-pci") as function,
        BACKENDS[arguments.backend]() as backend,
        backend.open(function) as device,
        phyr.DmaPool(backend, 4096) as pool,
    ):
        edu = Edu(device, pool)
        found = asyncio.run(edu.factorial(arguments.number))
        text = f"{arguments.number}! is {found} modulo 2^32".encode()
        print(asyncio.run(edu.there_and_back(text)).decode())
        device.bus_master = False  # before its memory goes
    return found


if __name__ == "__main__":
    main()
