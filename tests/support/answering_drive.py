"""An NVMe drive for examples/nvme.py that does what it is told, and the memory that it reaches.

Commands are decoded here a second time, from the tables of the NVM Express specifications. They are
answered in any order: at the doorbell, or with interrupts some at each wait for one.
"""

import random
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from phyr import Phyr

BLOCK, PAGE, ENTRIES = 512, 4096, 64
CAP, CC, CSTS, ASQ, ACQ, DOORBELLS = 0x00, 0x14, 0x1C, 0x28, 0x30, 0x1000


class Memory:
    """A backend: it maps each buffer at addresses of its own, with gaps."""

    def __init__(self) -> None:
        self.mapped: dict[int, memoryview] = {}
        self.top = 1 << 32

    @contextmanager
    def map_buffer(self, buffer: bytearray) -> Iterator[Any]:
        base = self.top
        with memoryview(buffer) as view:
            self.top += (len(view) // PAGE + 2) * PAGE
            self.mapped[base] = view
            try:
                yield SimpleNamespace(dma=Phyr.from_chunks([(base, len(view))]))
            finally:
                del self.mapped[base]

    def at(self, addr: int, length: int) -> memoryview:
        """Return what is at an address, all of it mapped."""
        for base, view in self.mapped.items():
            if base <= addr and addr + length <= base + len(view):
                return view[addr - base :][:length]
        raise AssertionError(f"{addr:#x}+{length:#x} is not mapped")


class Registers:
    """The drive's registers, as items of one size."""

    def __init__(self, drive: "Drive", size: int) -> None:
        self.drive, self.size = drive, size

    def __getitem__(self, index: int) -> int:
        at = index * self.size
        return int.from_bytes(self.drive.registers[at : at + self.size], "little")

    def __setitem__(self, index: int, value: int) -> None:
        at = index * self.size
        self.drive.registers[at : at + self.size] = value.to_bytes(self.size, "little")
        self.drive.wrote(at, value)


class Ring:
    """A pair of rings as the drive knows them."""

    def __init__(self, commands: int, completions: int) -> None:
        self.commands, self.completions = commands, completions
        self.fetched = self.answers = self.taken = 0


class Drive:
    """The drive, and the device by which it is opened.

    `failing` are statuses by the block of a command. `rung` is how many commands each doorbell told
    of, and `lengths` how long each transfer was, by its block.
    """

    def __init__(
        self, memory: Memory, *, blocks: int = 4000, block_size: int = BLOCK, seed: int = 1
    ) -> None:
        self.memory, self.random = memory, random.Random(seed)  # noqa: S311
        self.block_size = block_size
        self.blocks = bytearray(self.random.randbytes(blocks * block_size))
        self.registers = bytearray(2 * PAGE)
        self.registers[CAP : CAP + 8] = (ENTRIES - 1 | 1 << 24).to_bytes(8, "little")
        self.failing: dict[int, int] = {}
        self.rung: list[int] = []
        self.lengths: dict[int, int] = {}
        self.most = 0
        self.pending: list[tuple[Ring, bytes]] = []
        self.dropped = 0
        self.rings: dict[int, Ring] = {}
        self.bus_master = False
        self.on_wait: Callable[[], object] = self.answer_some
        bar = SimpleNamespace(u32=Registers(self, 4), u64=Registers(self, 8))
        self.has_irqs = False
        self.region = lambda _: bar

    @property
    def irqs(self) -> dict[str, Any]:
        def enable(count: int) -> tuple[Any, ...]:
            self.has_irqs = True
            return (SimpleNamespace(wait=lambda _: self.on_wait()),) * count

        return {"msix": SimpleNamespace(enable=enable)}

    def wrote(self, at: int, value: int) -> None:
        """Act on a register that was written."""
        if at == CC:
            if not value & 1:
                for _, command in self.pending:
                    self.moved(command)  # its memory is still there
                self.dropped += len(self.pending)
                self.pending.clear()
                self.rings.clear()
            else:
                first, second = struct.unpack_from("<QQ", self.registers, ASQ)
                self.rings[0] = Ring(first, second)
            self.registers[CSTS] = value & 1
        elif at >= DOORBELLS:
            number, which = divmod((at - DOORBELLS) // 4, 2)
            ring = self.rings[number]
            if which:
                assert (value - ring.taken) % ENTRIES <= ring.answers - ring.taken
                assert value != ring.taken % ENTRIES, "a doorbell for nothing"
                ring.taken += (value - ring.taken) % ENTRIES
            else:
                self.fetch(ring, value, told=number > 0)

    def fetch(self, ring: Ring, tail: int, *, told: bool) -> None:
        """Take the commands up to the new end."""
        count = (tail - ring.fetched) % ENTRIES
        assert count > 0
        for _ in range(count):
            at = ring.commands + ring.fetched * 64
            self.pending.append((ring, bytes(self.memory.at(at, 64))))
            ring.fetched = (ring.fetched + 1) % ENTRIES
        self.most = max(self.most, len(self.pending))
        if told:
            self.rung.append(count)
        if not (told and self.has_irqs):
            self.random.shuffle(self.pending)
            while self.pending:
                self.answer()

    def answer_some(self) -> None:
        """Answer some commands, in no order."""
        self.random.shuffle(self.pending)
        for _ in range(self.random.randint(1, len(self.pending))):
            self.answer()

    def answer(self) -> None:
        """Answer the last command that is pending."""
        assert self.bus_master
        ring, command = self.pending.pop()
        status = self.do(command, administers=ring is self.rings[0])
        assert ring.answers - ring.taken < ENTRIES - 1, "its ring of completions is full"
        phase = 1 - ring.answers // ENTRIES % 2
        at = ring.completions + ring.answers % ENTRIES * 16
        number = struct.unpack_from("<H", command, 2)[0]
        fields = 0, 0, 0, 0, number, status << 1 | phase
        self.memory.at(at, 16)[:] = struct.pack("<IIHHHH", *fields)
        ring.answers += 1

    def moved(self, command: bytes) -> list[memoryview]:
        """Return the memory that a transfer of blocks moves, piece by piece."""
        left = (struct.unpack_from("<H", command, 48)[0] + 1) * self.block_size
        first, second = struct.unpack_from("<QQ", command, 24)
        if command[1] >> 6:  # an SGL: one data block
            assert second == left, "no data block of this length"
            return [self.memory.at(first, left)]
        found = [self.memory.at(first, min(left, PAGE - first % PAGE))]
        left -= len(found[0])
        if left <= PAGE:
            return [*found, self.memory.at(second, left)] if left else found
        while left:
            (entry,) = struct.unpack("<Q", self.memory.at(second, 8))
            if second % PAGE == PAGE - 8 and left > PAGE:
                second = entry  # the next list
                continue
            found.append(self.memory.at(entry, min(left, PAGE)))
            left, second = left - len(found[-1]), second + 8
        return found

    def do(self, command: bytes, *, administers: bool) -> int:
        """Do what a command says, and return its status."""
        opcode, data = command[0], struct.unpack_from("<Q", command, 24)[0]
        words = struct.unpack_from("<6I", command, 40)
        if administers:
            if opcode == 6:
                self.memory.at(data, PAGE)[:] = self.identity(controller=words[0] == 1)
            elif opcode == 5:
                self.rings[words[0] & 0xFFFF] = Ring(0, data)
            elif opcode == 1:
                self.rings[words[0] & 0xFFFF].commands = data
            else:
                assert opcode == 9
            return 0
        block = words[0] | words[1] << 32
        if block in self.failing:
            return self.failing[block]
        at = block * self.block_size
        pieces = self.moved(command)
        assert block not in self.lengths, "the same block twice"
        self.lengths[block] = sum(map(len, pieces))
        for piece in pieces:
            end = at + len(piece)
            if opcode == 2:
                piece[:] = self.blocks[at:end]
            else:
                assert opcode == 1
                self.blocks[at:end] = piece
            at = end
        return 0

    def identity(self, *, controller: bool) -> bytes:
        """Return what the drive says of itself, or of its first namespace."""
        page = bytearray(PAGE)
        if controller:
            page[4:64] = b"1234".ljust(20) + b"Stand-in".ljust(40)
            page[77], page[536] = 8, 1  # 1 MiB a transfer, SGLs
        else:
            page[:8] = (len(self.blocks) // self.block_size).to_bytes(8, "little")
            page[130] = self.block_size.bit_length() - 1
        return bytes(page)
