"""An NVMe driver of user space: identifies a drive, and copies its blocks to and from a file.

    python examples/nvme.py [--backend type1|iommufd|none] [--poll] ADDRESS identify
    python examples/nvme.py [...] ADDRESS read FILE [--block N] [--count N]
    python examples/nvme.py [...] ADDRESS write FILE [--block N]

ADDRESS is a PCI function, such as 0000:00:04.0; the kernel's driver gets it back at the end. Linux;
needs root, or behind an IOMMU a function that vfio-pci has and whose file is yours. It overwrites
the drive when told to. docs/real-devices.md says what to enable.

The numbers are those of the NVM Express Base Specification 2.0 and its NVM Command Set.
"""

import argparse
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from io import BufferedIOBase
from pathlib import Path

import phyr
from phyr import Phyr, desc, pci
from phyr.iommu import Direction, dma_map
from phyr.iommufd import Ioas
from phyr.vfio import NoIommu, Type1

Backend = Type1 | Ioas | NoIommu
BACKENDS: dict[str, type[Backend]] = {"type1": Type1, "iommufd": Ioas, "none": NoIommu}
PAGE = 4096
ENTRIES = 64  # of a queue: its 64-byte commands fill a page
IN_FLIGHT = 8

# Registers, section 3.1.4.
CAP, CC, CSTS, AQA, ASQ, ACQ, DOORBELLS = 0x00, 0x14, 0x1C, 0x24, 0x28, 0x30, 0x1000
CMBLOC, CMBSZ, CMBMSC = 0x38, 0x3C, 0x50  # of memory in the drive itself, section 3.1.4.10
ENABLED = 6 << 16 | 4 << 20 | 1  # commands of 64 bytes, completions of 16, pages of 4 KiB
# Commands, sections 5 and 3 of the command set.
CREATE_SQ, CREATE_CQ, IDENTIFY, SET_FEATURES = 1, 5, 6, 9
WRITE, READ = 1, 2
COMMAND = struct.Struct("<BBHIQQ16s6I")
COMPLETION = struct.Struct("<HH")  # of 16 bytes the last four: which command, and its status
ADDRESSES = struct.Struct("<QQ")
ZEROS = (0,) * 6


class CommandError(Exception):
    """The drive did not do what it was told.

    The numbers are those of a completion's status field, section 4.6 of the base specification.
    """

    def __init__(self, number: int, opcode: int, status: int) -> None:
        self.number, self.opcode = number, opcode
        self.code, self.code_type = status & 0xFF, status >> 8 & 7
        self.do_not_retry = bool(status >> 14 & 1)
        again = "do not retry" if self.do_not_retry else "may be retried"
        super().__init__(
            f"command {number}, opcode {opcode:#x}, failed with status code {self.code:#x} "
            f"of type {self.code_type} ({again})"
        )


@contextmanager
def shared(backend: Backend, size: int) -> Iterator[tuple[memoryview, Phyr]]:
    """Memory for the program and the drive: a view of it, and its bus addresses."""
    with ExitStack() as stack:
        buffer = stack.enter_context(phyr.alloc(size))
        if isinstance(backend, NoIommu):
            pinned = stack.enter_context(phyr.pin(buffer))
            dma = stack.enter_context(dma_map(pinned.phyr, backend, Direction.BIDIRECTIONAL)).dma
        else:
            # Behind an IOMMU no page numbers are needed, and so no root.
            dma = stack.enter_context(backend.map_buffer(buffer)).dma
        yield stack.enter_context(memoryview(buffer)), dma


class Queue:
    """A pair of rings, a page each: commands to the drive, completions back."""

    def __init__(
        self,
        device: pci.Device,
        number: int,
        memory: tuple[memoryview, Phyr],
        irq: pci.Irq | None,
        inside: tuple[memoryview, int] | None = None,
    ) -> None:
        self.irq = irq  # without one, it looks again and again
        self.bar = device.region(0)
        self.view, dma = memory
        # The ring of commands may be inside the drive.
        self.ring, self.commands = inside or (self.view, dma[0])
        self.completions = dma[PAGE]
        # Memory for lists, and the part of each command in it.
        self.room = memoryview(b"")
        self.lists: list[tuple[slice, Phyr]] = []
        stride = 1 << (self.bar.u64[CAP // 8] >> 32 & 15)
        self.doorbells = [DOORBELLS // 4 + (2 * number + ring) * stride for ring in (0, 1)]
        self.tail = self.taken = 0
        self.free = list(range(IN_FLIGHT))
        self.opcodes = [0] * IN_FLIGHT

    def submit(
        self, opcode: int, data: bytes, *words: int, nsid: int = 0, sgl: bool = False
    ) -> int:
        """Hand over a command and return its number. `data` is the 16 bytes that say where."""
        number = self.free.pop()
        self.opcodes[number] = opcode
        if len(words) < len(ZEROS):
            words += ZEROS[len(words) :]
        at = self.tail * 64
        COMMAND.pack_into(self.ring, at, opcode, sgl << 6, number, nsid, 0, 0, data, *words)
        self.tail = (self.tail + 1) % ENTRIES
        self.bar.u32[self.doorbells[0]] = self.tail
        return number

    def answered(self) -> bool:
        """True if a command is complete: its phase turns with each round."""
        return self.view[PAGE + self.taken % ENTRIES * 16 + 14] & 1 != self.taken // ENTRIES % 2

    def wait(self, seconds: float = 10) -> int:
        """Wait for any command to complete, and return its number."""
        if not self.answered():
            self.sleep(seconds)
        number, status = COMPLETION.unpack_from(self.view, PAGE + self.taken % ENTRIES * 16 + 12)
        self.taken += 1
        self.bar.u32[self.doorbells[1]] = self.taken % ENTRIES
        self.free.append(number)
        if status >> 1:
            raise CommandError(number, self.opcodes[number], status >> 1)
        return int(number)

    def sleep(self, seconds: float) -> None:
        """Wait until a command is complete."""
        until = time.monotonic() + seconds
        while not self.answered():
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"the drive did not answer for {seconds} s")
            if self.irq is not None:
                self.irq.wait(left)


class Nvme:
    """A drive: its controller, one queue for administration, and queues for blocks."""

    def __init__(  # noqa: PLR0913 - options
        self,
        device: pci.Device,
        backend: Backend,
        *,
        sgl: bool,
        poll: bool = True,
        queues: int = 1,
        inside: bool = False,
    ) -> None:
        self.device, self.backend = device, backend
        self.bar = device.region(0)
        irqs: tuple[pci.Irq | None, ...] = (None,) * (queues + 1)
        if not poll and "msix" in device.irqs:
            irqs = device.irqs["msix"].enable(queues + 1)
        with ExitStack() as undo:
            rings = [undo.enter_context(shared(backend, 2 * PAGE)) for _ in irqs]
            undo.callback(self.stop)  # before its memory goes, as at the end of this block
            self.enable(on=False)
            self.bar.u32[AQA // 4] = (ENTRIES - 1) << 16 | ENTRIES - 1
            self.admin = Queue(device, 0, rings[0], irqs[0])
            self.bar.u64[ASQ // 8] = self.admin.commands
            self.bar.u64[ACQ // 8] = self.admin.completions
            device.bus_master = True
            self.enable(on=True)
            self.identify()
            self.sgl = sgl and self.has_sgl
            # Room for the PRP lists or SGL segments of each command in flight: 255 pieces a page.
            self.room = PAGE * (self.max_transfer // PAGE // 255 + 1)
            own = self.own_memory(undo, queues) if inside else [None] * queues
            self.command(SET_FEATURES, b"", 7, (queues - 1) * 0x10001)
            self.queues = [
                self.open_queue(undo, number, rings[number], irqs[number], own[number - 1])
                for number in range(1, queues + 1)
            ]
            self.blocks = self.queues[0]
            undo.callback(self.stop)
            self.close = undo.pop_all().close

    def open_queue(
        self,
        undo: ExitStack,
        number: int,
        ring: tuple[memoryview, Phyr],
        irq: pci.Irq | None,
        inside: tuple[memoryview, int] | None,
    ) -> Queue:
        """Tell the drive of a queue for blocks."""
        queue = Queue(self.device, number, ring, irq, inside)
        size = (ENTRIES - 1) << 16 | number
        # Contiguous, and with an interrupt vector of its own or none.
        how = 1 if irq is None else number << 16 | 1 << 1 | 1
        self.command(CREATE_CQ, queue.completions.to_bytes(16, "little"), size, how)
        which = number << 16 | 1
        self.command(CREATE_SQ, queue.commands.to_bytes(16, "little"), size, which)
        self.cut(queue, *undo.enter_context(shared(self.backend, IN_FLIGHT * self.room)))
        return queue

    def cut(self, queue: Queue, view: memoryview, dma: Phyr) -> None:
        """Give each command in flight its part of the memory for lists."""
        places = [slice(at, at + self.room) for at in range(0, IN_FLIGHT * self.room, self.room)]
        queue.lists, queue.room = [(place, dma[place]) for place in places], view

    def own_memory(self, undo: ExitStack, pages: int) -> list[tuple[memoryview, int] | None]:
        """Pages of the drive's own memory, each with its address as the drive sees it."""
        has_any = self.bar.u64[CAP // 8] >> 57 & 1
        if has_any:
            self.bar.u64[CMBMSC // 8] = 1  # show where it is
        where, size = self.bar.u32[CMBLOC // 4], self.bar.u32[CMBSZ // 4]
        if not (has_any and size & 1):
            raise ValueError("the drive has no memory for commands")
        unit = PAGE << 4 * (size >> 8 & 15)
        region, start = self.device.region(where & 7), (where >> 12) * unit
        # Its address on the bus, where the IOMMU maps nothing.
        base = region.phyr[start]
        self.bar.u64[CMBMSC // 8] = base | 3
        undo.callback(self.bar.u64.__setitem__, CMBMSC // 8, 0)
        offsets = range(0, pages * PAGE, PAGE)
        views = [region.u8[start + at : start + at + PAGE] for at in offsets]
        for view in views:
            undo.enter_context(view)  # a region with a view in use is not closed
        return [(view, base + at) for view, at in zip(views, offsets, strict=True)]

    def stop(self) -> None:
        """Let the drive reach no memory any more, whatever state it is in."""
        self.device.bus_master = False
        self.enable(on=False)

    @contextmanager
    def memory(self, size: int) -> Iterator[tuple[memoryview, Phyr]]:
        """Memory for transfers: if they fail, the drive is stopped before it goes."""
        with shared(self.backend, size) as memory:
            try:
                yield memory
            except BaseException:
                self.stop()
                raise

    def enable(self, *, on: bool) -> None:
        self.bar.u32[CC // 4] = ENABLED if on else 0
        until = time.monotonic() + (self.bar.u64[CAP // 8] >> 24 & 0xFF) / 2
        while self.bar.u32[CSTS // 4] & 1 != on:
            if time.monotonic() > until:
                raise TimeoutError(f"the controller did not become {'ready' if on else 'idle'}")

    def command(self, opcode: int, data: bytes, *words: int, nsid: int = 0) -> None:
        self.admin.submit(opcode, data, *words, nsid=nsid)
        self.admin.wait()

    def identify(self) -> None:
        with self.memory(2 * PAGE) as (view, dma):
            for which in (1, 0):  # the controller, then its first namespace
                where = dma[which * PAGE].to_bytes(16, "little")
                self.command(IDENTIFY, where, which, nsid=1 - which)
            namespace, controller = bytes(view[:PAGE]), bytes(view[PAGE:])
        self.serial, self.model = (
            controller[a:b].decode("ascii", "replace").strip() for a, b in ((4, 24), (24, 64))
        )
        self.has_sgl = bool(controller[536] & 3)
        block_format = int.from_bytes(namespace[128 + 4 * (namespace[26] & 15) :][:4], "little")
        self.block_size = 1 << (block_format >> 16 & 0xFF)
        self.capacity = int.from_bytes(namespace[:8], "little") * self.block_size
        # MDTS, in pages; 0 leaves it to the 16 bits of a command's count of blocks.
        self.max_transfer = self.block_size << 16
        if controller[77]:
            self.max_transfer = min(self.max_transfer, PAGE << controller[77])

    def submit(self, opcode: int, block: int, dma: Phyr, queue: Queue | None = None) -> int:
        """Read to or write from `dma`, at `block`; the queue's `wait` returns this number."""
        queue = queue or self.blocks
        length = dma.length
        self.check(block, length)
        if length > self.max_transfer:
            raise ValueError(f"{length} bytes are more than {self.max_transfer} a transfer")
        words = block & 0xFFFF_FFFF, block >> 32, length // self.block_size - 1, 0, 0, 0
        first = dma[0]
        if first % PAGE + length <= PAGE:  # a page: its address says all
            return queue.submit(opcode, ADDRESSES.pack(first, 0), *words, nsid=1)
        place, lists = queue.lists[queue.free[-1]]
        if self.sgl:
            data, table = desc.sgl(dma, lists)
        else:
            prp1, prp2, table = desc.prp(dma, lists)
            data = ADDRESSES.pack(prp1, prp2)
        table.fill(queue.room[place])
        return queue.submit(opcode, data, *words, nsid=1, sgl=self.sgl)

    def check(self, block: int, length: int) -> None:
        """Refuse what is not whole blocks of the drive, one at least."""
        start = block * self.block_size
        if not (block >= 0 < length and start + length <= self.capacity):
            blocks = self.capacity // self.block_size
            raise ValueError(
                f"{length} bytes from block {block} on are not in the drive's {blocks} blocks"
            )
        if length % self.block_size:
            raise ValueError(f"{length} bytes are not whole blocks of {self.block_size}")

    def copy(self, opcode: int, file: BufferedIOBase, block: int, length: int) -> None:
        """Copy `length` bytes, from `block` on, to or from a file, several transfers at a time."""
        self.check(block, length)
        size = min(self.max_transfer, max(-(-length // IN_FLIGHT // PAGE), 1) * PAGE)
        free = [at * size for at in range(IN_FLIGHT)]
        flying: dict[int, tuple[int, int, int]] = {}
        begun = done = 0
        with self.memory(IN_FLIGHT * size) as (view, dma):
            while done < length:
                if free and begun < length:
                    at, some = free.pop(), min(size, length - begun)
                    if opcode == WRITE:
                        file.seek(begun)
                        file.readinto(view[at : at + some])
                    where = block + begun // self.block_size
                    flying[self.submit(opcode, where, dma[at : at + some])] = at, begun, some
                    begun += some
                    continue
                at, position, some = flying.pop(self.blocks.wait())
                if opcode == READ:
                    file.seek(position)
                    file.write(view[at : at + some])
                free.append(at)
                done += some
                print(f"\r{done >> 10} of {length >> 10} KiB", end="", file=sys.stderr)
        print(file=sys.stderr)


def run(drive: Nvme, arguments: argparse.Namespace) -> None:
    """Do what the command line says."""
    print(
        f"{drive.model}, serial {drive.serial}: {drive.capacity >> 10} KiB in blocks of "
        f"{drive.block_size}, {drive.max_transfer >> 10} KiB a transfer, "
        f"by {'SGL' if drive.sgl else 'PRP'}, {'polled' if drive.blocks.irq is None else 'MSI-X'}"
    )
    if arguments.action == "read":
        rest = drive.capacity - arguments.block * drive.block_size
        length = arguments.count * drive.block_size or rest
        drive.check(arguments.block, length)
        with Path(arguments.file).open("wb") as file:
            drive.copy(READ, file, arguments.block, length)
    elif arguments.action == "write":
        with Path(arguments.file).open("rb") as file:
            drive.copy(WRITE, file, arguments.block, file.seek(0, 2))


def main(words: list[str] | None = None) -> None:
    """Open the function, run, and leave everything as it was."""
    parser = argparse.ArgumentParser(description="Identify an NVMe drive, read it, write it.")
    parser.add_argument("address", help="PCI function, such as 0000:00:04.0")
    parser.add_argument("action", choices=["identify", "read", "write"])
    parser.add_argument("file", nargs="?", default="nvme.img")
    parser.add_argument("--backend", choices=BACKENDS, default="type1")
    parser.add_argument("--prp", action="store_true", help="PRP lists even where SGLs are known")
    parser.add_argument("--poll", action="store_true", help="look, instead of being interrupted")
    parser.add_argument("--block", type=int, default=0, help="first block, 0 by default")
    parser.add_argument("--count", type=int, default=0, help="blocks to read, all by default")
    arguments = parser.parse_args(words)
    with (
        pci.bound(arguments.address, "vfio-pci") as function,
        BACKENDS[arguments.backend]() as backend,
        backend.open(function) as device,
        closing(Nvme(device, backend, sgl=not arguments.prp, poll=arguments.poll)) as drive,
    ):
        run(drive, arguments)


if __name__ == "__main__":
    main()
