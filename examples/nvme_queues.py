"""An NVMe drive read by several queues at once: asyncio, an interrupt for each queue.

    python examples/nvme_queues.py [--queues N] [--inside] [--backend ...] ADDRESS FILE [--count N]

Each queue has commands of its own in flight, and each command a task that awaits it. With --inside
the rings of commands are in the drive's own memory (its controller memory buffer), so that the
drive need not fetch commands from the program's. The driver itself is examples/nvme.py.
"""

import argparse
import asyncio
from contextlib import closing, suppress
from itertools import cycle
from pathlib import Path

import nvme

from phyr import Phyr, pci


class Tasks:
    """A queue whose commands are awaited."""

    def __init__(self, drive: nvme.Nvme, queue: nvme.Queue) -> None:
        self.drive, self.queue = drive, queue
        self.free = asyncio.Semaphore(drive.depth)
        self.waiting: dict[int, asyncio.Future[None]] = {}
        self.answers = 0

    async def read(self, block: int, dma: Phyr) -> None:
        """Read blocks, as soon as the queue has room for a command."""
        async with self.free:
            number = self.drive.submit(nvme.READ, block, dma, self.queue)
            self.waiting[number] = asyncio.get_running_loop().create_future()
            await self.waiting[number]

    async def answer(self) -> None:
        """Wake the task of each command that is complete, until this is cancelled."""
        assert self.queue.irq is not None
        while True:
            while self.queue.answered():
                try:
                    self.waiting.pop(self.queue.wait()).set_result(None)
                except nvme.CommandError as error:
                    self.waiting.pop(error.number).set_exception(error)
                self.answers += 1
            await self.queue.irq


async def read(drive: nvme.Nvme, length: int, size: int = 64 << 10) -> tuple[bytes, list[int]]:
    """Return the drive's first bytes, and how many commands each queue did."""
    queues = [Tasks(drive, queue) for queue in drive.queues]
    answering = [asyncio.create_task(each.answer()) for each in queues]
    try:
        with drive.memory(length) as (view, dma):
            reads = [
                queue.read(at // drive.block_size, dma[at : at + size])
                for queue, at in zip(cycle(queues), range(0, length, size), strict=False)
            ]
            await asyncio.wait_for(asyncio.gather(*reads), 60)
            return bytes(view[:length]), [queue.answers for queue in queues]
    finally:
        for task in answering:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def main(words: list[str] | None = None) -> list[int]:
    """Read a drive to a file, and leave everything as it was."""
    parser = argparse.ArgumentParser(description="Read an NVMe drive by several queues at once.")
    parser.add_argument("address", help="PCI function, such as 0000:00:04.0")
    parser.add_argument("file")
    parser.add_argument("--backend", choices=nvme.BACKENDS, default="type1")
    parser.add_argument("--queues", type=int, default=4)
    parser.add_argument("--inside", action="store_true", help="commands in the drive's own memory")
    parser.add_argument("--count", type=int, default=8192, help="blocks")
    arguments = parser.parse_args(words)
    options = {"queues": arguments.queues, "inside": arguments.inside}
    with (
        pci.bound(arguments.address, "vfio-pci") as function,
        nvme.BACKENDS[arguments.backend]() as backend,
        backend.open(function) as device,
        closing(nvme.Nvme(device, backend, sgl=False, poll=False, **options)) as drive,
    ):
        length = arguments.count * drive.block_size
        data, done = asyncio.run(read(drive, length))
        Path(arguments.file).write_bytes(data)
        print(f"{length >> 10} KiB by {arguments.queues} queues, commands of each: {done}")
        return done


if __name__ == "__main__":
    main()
