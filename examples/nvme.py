"""An NVMe driver of user space: identifies a drive, and copies its blocks to and from a file.

    python examples/nvme.py [--backend type1|iommufd|none] [--poll] ADDRESS identify
    python examples/nvme.py [...] ADDRESS read FILE [--block N] [--count N] [--depth N] [--size N]
    python examples/nvme.py [...] ADDRESS write FILE [--block N] [--depth N] [--size N]

ADDRESS is a PCI function, such as 0000:00:04.0; the kernel's driver gets it back at the end. Linux;
needs root, or behind an IOMMU a function that vfio-pci has and whose file is yours. It overwrites
the drive when told to. docs/real-devices.md says what to enable.

A copy keeps several commands in flight. Each is prepared once, for a place in memory of its own,
and used again for other blocks; one write to a doorbell tells of all that is new.

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
IN_FLIGHT = 16
PIECE = 128 << 10  # bytes of a transfer, at most, if no other number is given
LOOKS = 100  # at a completion, before the clock is asked or the program sleeps: both take longer

# Registers, section 3.1.4.
CAP, CC, CSTS, AQA, ASQ, ACQ, DOORBELLS = 0x00, 0x14, 0x1C, 0x24, 0x28, 0x30, 0x1000
CMBLOC, CMBSZ, CMBMSC = 0x38, 0x3C, 0x50  # of memory in the drive itself, section 3.1.4.10
ENABLED = 6 << 16 | 4 << 20 | 1  # commands of 64 bytes, completions of 16, pages of 4 KiB
# Commands, sections 5 and 3 of the command set.
CREATE_SQ, CREATE_CQ, IDENTIFY, SET_FEATURES = 1, 5, 6, 9
WRITE, READ = 1, 2
COMMAND = struct.Struct("<BBHIQQ16s6I")
BLOCK = 5  # of its words of 8 bytes
ADDRESSES = struct.Struct("<QQ")
ZEROS = (0,) * 6


class CommandError(Exception):
    """A command failed. Section 4.6 of the base specification says what the codes mean."""

    def __init__(self, number: int, opcode: int, block: int | None, status: int) -> None:
        self.number, self.opcode, self.block = number, opcode, block
        self.code, self.code_type = status & 0xFF, status >> 8 & 7
        self.do_not_retry = bool(status >> 14 & 1)
        where = "" if block is None else f", block {block}"
        again = "do not retry" if self.do_not_retry else "may be retried"
        super().__init__(
            f"command {number}, opcode {opcode:#x}{where}, failed with status code {self.code:#x} "
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
    """A pair of rings, a page each: commands to the drive, completions back.

    ```text
    commands   | 0 | 1 | 2 |       prepared: made once, then only the block changes
                     | begin
                     v
    ring       |   |   | 1 |   |   ENTRIES places; `tell` tells the drive of all that is new
    answers    |   |   | 1 |   |   `reap` takes all that is new
    ```
    """

    def __init__(  # noqa: PLR0913, PLR0917 - all is needed
        self,
        device: pci.Device,
        number: int,
        memory: tuple[memoryview, Phyr],
        irq: pci.Irq | None,
        inside: tuple[memoryview, int] | None = None,
        depth: int = 1,
    ) -> None:
        self.number = number
        self.irq = irq  # without one, it looks again and again
        self.bar = device.region(0)
        view, dma = memory
        # The ring of commands may be inside the drive.
        self.ring, self.start = inside or (view, dma[0])
        # Of each completion's 16 bytes the last four: which command, phase, and status.
        self.answers = view[PAGE : 2 * PAGE].cast("I")[3::4]
        self.completions = dma[PAGE]
        self.commands = memoryview(bytearray(64 * depth))
        self.words = self.commands.cast("Q")
        # Memory for lists, and the part of each command in it.
        self.room = memoryview(b"")
        self.lists: list[tuple[slice, Phyr]] = []
        stride = 1 << (self.bar.u64[CAP // 8] >> 32 & 15)
        self.doorbells = [DOORBELLS // 4 + (2 * number + ring) * stride for ring in (0, 1)]
        self.tail = self.head = 0
        self.phase = 1  # of completions in this round; it turns with each
        self.free = list(range(depth))

    def prepare(
        self, number: int, opcode: int, data: bytes, *words: int, nsid: int = 0, sgl: bool = False
    ) -> None:
        """Make a command, under this number. `data` is the 16 bytes that say where."""
        if len(words) < len(ZEROS):
            words += ZEROS[len(words) :]
        fields = opcode, sgl << 6, number, nsid, 0, 0, data
        COMMAND.pack_into(self.commands, number * 64, *fields, *words)

    def begin(self, number: int) -> None:
        """Put a prepared command into the ring."""
        at, start = self.tail * 64, number * 64
        self.ring[at : at + 64] = self.commands[start : start + 64]
        self.tail = (self.tail + 1) % ENTRIES

    def tell(self) -> None:
        """Tell the drive of all new commands in the ring."""
        self.bar.u32[self.doorbells[0]] = self.tail

    def answered(self) -> bool:
        """True if a command is complete."""
        return self.answers[self.head] >> 16 & 1 == self.phase

    def wait(self, seconds: float = 10) -> int:
        """Wait for one command to complete, and return its number, which is free from now on."""
        [(number, status)] = self.reap(seconds, 1)
        self.free.append(number)
        self.check(number, status)
        return number

    def reap(self, seconds: float = 10, most: int = ENTRIES) -> list[tuple[int, int]]:
        """Wait for a command to complete, and return number and status of each that is."""
        self.sleep(seconds)
        found: list[tuple[int, int]] = []
        while len(found) < most and self.answered():
            answer = self.answers[self.head]
            found.append((answer & 0xFFFF, answer >> 17))
            self.head = (self.head + 1) % ENTRIES
            self.phase ^= self.head == 0
        self.bar.u32[self.doorbells[1]] = self.head
        return found

    def check(self, number: int, status: int) -> None:
        """Raise if a command failed."""
        if status:
            block = self.words[number * 8 + BLOCK] if self.number else None  # admin has no block
            raise CommandError(number, self.commands[number * 64], block, status)

    def sleep(self, seconds: float) -> None:
        """Wait until a command is complete."""
        if self.answered():
            return
        answers, head, phase = self.answers, self.head, self.phase
        until = time.monotonic() + seconds
        while True:
            for _ in range(LOOKS):
                if answers[head] >> 16 & 1 == phase:
                    return
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
        depth: int = IN_FLIGHT,
    ) -> None:
        if not 0 < depth < ENTRIES:
            raise ValueError(f"1 to {ENTRIES - 1} commands can be in flight, not {depth}")
        self.device, self.backend, self.depth = device, backend, depth
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
            undo.enter_context(self.admin.answers)
            self.bar.u64[ASQ // 8] = self.admin.start
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
        queue = Queue(self.device, number, ring, irq, inside, self.depth)
        undo.enter_context(queue.answers)  # memory with a view in use is not freed
        size = (ENTRIES - 1) << 16 | number
        # Contiguous, and with an interrupt vector of its own or none.
        how = 1 if irq is None else number << 16 | 1 << 1 | 1
        self.command(CREATE_CQ, queue.completions.to_bytes(16, "little"), size, how)
        which = number << 16 | 1
        self.command(CREATE_SQ, queue.start.to_bytes(16, "little"), size, which)
        self.cut(queue, *undo.enter_context(shared(self.backend, self.depth * self.room)))
        return queue

    def cut(self, queue: Queue, view: memoryview, dma: Phyr) -> None:
        """Give each command in flight its part of the memory for lists."""
        places = [slice(at, at + self.room) for at in range(0, self.depth * self.room, self.room)]
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
        # A region with a view in use is not closed.
        views = [undo.enter_context(region.u8[start + at : start + at + PAGE]) for at in offsets]
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
        self.admin.prepare(0, opcode, data, *words, nsid=nsid)
        self.admin.begin(0)
        self.admin.tell()
        self.admin.check(*self.admin.reap()[0])

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

    def prepare(self, number: int, opcode: int, block: int, dma: Phyr, queue: Queue) -> None:
        """Make the queue's command `number`: read to or write from `dma`, at `block`."""
        length = dma.length
        self.check(block, length, self.max_transfer)
        words = block & 0xFFFF_FFFF, block >> 32, length // self.block_size - 1, 0, 0, 0
        first = dma[0]
        if first % PAGE + length <= PAGE:  # a page: its address says all
            queue.prepare(number, opcode, ADDRESSES.pack(first, 0), *words, nsid=1)
            return
        place, lists = queue.lists[number]
        if self.sgl:
            data, table = desc.sgl(dma, lists)
        else:
            prp1, prp2, table = desc.prp(dma, lists)
            data = ADDRESSES.pack(prp1, prp2)
        table.fill(queue.room[place])
        queue.prepare(number, opcode, data, *words, nsid=1, sgl=self.sgl)

    def submit(self, opcode: int, block: int, dma: Phyr, queue: Queue | None = None) -> int:
        """Read to or write from `dma`, at `block`; the queue's `wait` returns this number."""
        queue = queue or self.blocks
        number = queue.free[-1]
        self.prepare(number, opcode, block, dma, queue)
        queue.free.pop()
        queue.begin(number)
        queue.tell()
        return number

    def check(self, block: int, length: int, most: int | None = None) -> None:
        """Refuse what is not whole blocks of the drive, one at least, or above `most` bytes."""
        start = block * self.block_size
        if not (block >= 0 < length and start + length <= self.capacity):
            blocks = self.capacity // self.block_size
            raise ValueError(
                f"{length} bytes from block {block} on are not in the drive's {blocks} blocks"
            )
        if length % self.block_size:
            raise ValueError(f"{length} bytes are not whole blocks of {self.block_size}")
        if most is not None and length > most:
            raise ValueError(f"{length} bytes are more than {most} a transfer")

    def piece(self, block: int, length: int, size: int = 0) -> int:
        """Return how many bytes of a copy a command moves: `size`, or as many as are useful."""
        self.check(block, length)
        unit = max(PAGE, self.block_size)
        even = -(-length // self.depth // unit) * unit
        size = min(size or min(self.max_transfer, max(PIECE, unit), even), length)
        self.check(block, size, self.max_transfer)
        return size

    def copy(
        self, opcode: int, file: BufferedIOBase, block: int, length: int, size: int = 0
    ) -> None:
        """Copy `length` bytes, from `block` on, to or from a file, in order, `size` a command."""
        size = self.piece(block, length, size)
        if len(self.blocks.free) < self.depth:
            raise ValueError("other commands are in flight")
        with self.memory(min(self.depth, -(-length // size)) * size) as memory:
            Copy(self, opcode, file, block, length, size).run(*memory)


class Copy:
    """A copy in pieces of one size, whose commands are prepared once and used again and again.

    The place of a piece in memory, and its command's number, is its own number modulo `depth`.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - all is needed
        self, drive: Nvme, opcode: int, file: BufferedIOBase, block: int, length: int, size: int
    ) -> None:
        self.drive, self.opcode, self.file = drive, opcode, file
        self.block, self.length, self.size = block, length, size
        self.queue, self.depth = drive.blocks, drive.depth
        self.pieces = -(-length // size)
        self.complete = [False] * self.depth

    def run(self, view: memoryview, dma: Phyr) -> None:
        places = [dma[at : at + self.size] for at in range(0, dma.length, self.size)]
        for number, place in enumerate(places):
            self.drive.prepare(number, self.opcode, self.block, place, self.queue)
        begun = done = 0
        while done < self.pieces:
            first, begun = begun, min(done + self.depth, self.pieces)
            if first < begun:
                self.begin(first, begun, view, places)
            first, done = done, self.end(done, begun, view)
            if first * 100 // self.pieces < done * 100 // self.pieces:
                print(f"\r{done * 100 // self.pieces} %", end="", file=sys.stderr)
        print(file=sys.stderr)

    def begin(self, first: int, begun: int, view: memoryview, places: list[Phyr]) -> None:
        """Hand over the commands of some pieces, and tell the drive once."""
        if self.opcode == WRITE:
            for part in self.parts(first, begun):
                with view[part] as data:
                    if self.file.readinto(data) < len(data):
                        raise EOFError("the file has become shorter")
        step = self.size // self.drive.block_size
        for piece in range(first, begun):
            number = piece % self.depth
            if piece == self.pieces - 1:  # it may be shorter than the others
                rest = places[number][: self.length - piece * self.size]
                self.drive.prepare(number, self.opcode, self.block, rest, self.queue)
            self.queue.words[number * 8 + BLOCK] = self.block + piece * step
            self.queue.begin(number)
        self.queue.tell()

    def end(self, done: int, begun: int, view: memoryview) -> int:
        """Wait, and return how many pieces are done; a later one may be complete already."""
        for number, status in self.queue.reap():
            self.queue.check(number, status)
            self.complete[number] = True
        first = done
        while done < begun and self.complete[done % self.depth]:
            self.complete[done % self.depth] = False
            done += 1
        if self.opcode == READ:
            for part in self.parts(first, done):
                with view[part] as data:
                    self.file.write(data)
        return done

    def parts(self, first: int, end: int) -> Iterator[slice]:
        """Yield where pieces lie in memory: one part of it, or two around its end."""
        while first < end:
            at = first % self.depth * self.size
            count = min(end - first, self.depth - first % self.depth)
            yield slice(at, at + min(count * self.size, self.length - first * self.size))
            first += count


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
        size = drive.piece(arguments.block, length, arguments.size)  # before the file is emptied
        with Path(arguments.file).open("wb") as file:
            drive.copy(READ, file, arguments.block, length, size)
    elif arguments.action == "write":
        with Path(arguments.file).open("rb") as file:
            length = file.seek(0, 2)
            file.seek(0)
            drive.copy(WRITE, file, arguments.block, length, arguments.size)


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
    parser.add_argument("--depth", type=int, default=IN_FLIGHT, help="commands in flight")
    parser.add_argument("--size", type=int, default=0, help="bytes a command; 0: as is useful")
    arguments = parser.parse_args(words)
    options = {"poll": arguments.poll, "depth": arguments.depth}
    with (
        pci.bound(arguments.address, "vfio-pci") as function,
        BACKENDS[arguments.backend]() as backend,
        backend.open(function) as device,
        closing(Nvme(device, backend, sgl=not arguments.prp, **options)) as drive,
    ):
        run(drive, arguments)


if __name__ == "__main__":
    main()
