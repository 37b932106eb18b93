"""Measure in a guest: reads of one drive by `dd` and the kernel's driver, and by examples/nvme.py.

    tests/vm/run -- .venv/bin/python tests/vm/measure_nvme.py

Both read the same blocks, past all caches, and write them to /dev/null: `dd` a command at a time,
the example so, too, and as it does by default, several at a time. "device" is the drive alone, a
command at a time, from the doorbell to the answer, by a loop that only looks for that. Emulated:
compare the columns. The ratios are those of each round: median, lowest and highest.
"""

import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, redirect_stderr
from hashlib import sha256
from io import BytesIO, StringIO
from pathlib import Path
from statistics import median

from harness import NVME

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import nvme

from phyr import pci
from phyr.vfio import Type1

DISK = Path("/dev/nvme0n1")
TOTAL = 64 << 20
MOST = 1024
ROUNDS = 7
SIZES = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 512 << 10]
WAYS = {
    f"{depth}, {'polled' if poll else 'MSI-X'}": (depth, poll)
    for depth in (1, nvme.IN_FLIGHT)
    for poll in (True, False)
}
"""Commands in flight, and how they are waited for."""


def nr_pieces(size: int) -> int:
    """Return how many reads of a size are measured."""
    return min(TOTAL // size, MOST)


def by_dd(size: int) -> float:
    """Return MB/s."""
    count = nr_pieces(size)
    command = ["dd", f"if={DISK}", "of=/dev/null", f"bs={size}", f"count={count}"]
    done = subprocess.run(
        [*command, "iflag=direct"], capture_output=True, text=True, check=True, env={"LC_ALL": "C"}
    )
    seconds = re.search(r"copied, ([0-9.e-]+) s", done.stderr)
    assert seconds is not None, done.stderr
    return size * count / float(seconds[1]) / 1e6


def by_phyr(drive: nvme.Nvme, size: int) -> float:
    """Return MB/s."""
    length = size * nr_pieces(size)
    with Path("/dev/null").open("wb") as file, redirect_stderr(StringIO()):
        began = time.perf_counter()
        drive.copy(nvme.READ, file, 0, length, size)
        return length / (time.perf_counter() - began) / 1e6


def by_device(drive: nvme.Nvme, size: int) -> float:
    """Return MB/s that the drive would reach with nothing but its own work."""
    queue, count = drive.blocks, nr_pieces(size)
    spent = 0.0
    with drive.memory(size) as (_, dma):
        drive.prepare(0, nvme.READ, 0, dma, queue)
        for piece in range(count):
            queue.words[nvme.BLOCK] = piece * size // drive.block_size
            queue.begin(0)
            answers, head, phase = queue.answers, queue.head, queue.phase
            began = time.perf_counter()
            queue.tell()
            while answers[head] >> 16 & 1 != phase:
                pass
            spent += time.perf_counter() - began
            queue.reap()
    return size * count / spent / 1e6


def same(drive: nvme.Nvme, size: int, expected: bytes) -> None:
    """Compare what the example reads with what was written by the kernel's driver."""
    found = BytesIO()
    with redirect_stderr(StringIO()):
        drive.copy(nvme.READ, found, 0, len(expected), size)
    assert sha256(found.getvalue()).digest() == sha256(expected).digest(), size


def main() -> None:
    written = random.Random(1).randbytes(8 << 20)  # noqa: S311
    with DISK.open("r+b") as file:
        file.write(written)
    rates: dict[tuple[int, str], list[float]] = {}
    for turn in range(ROUNDS):
        for size in SIZES:
            rates.setdefault((size, "dd"), []).append(by_dd(size))
        for name, (depth, poll) in WAYS.items():
            with (
                pci.bound(NVME, "vfio-pci") as function,
                Type1() as backend,
                backend.open(function) as device,
                closing(nvme.Nvme(device, backend, sgl=True, poll=poll, depth=depth)) as drive,
            ):
                for size in SIZES:
                    rates.setdefault((size, name), []).append(by_phyr(drive, size))
                    if turn == 0:
                        same(drive, size, written)
                    if (depth, poll) == (1, True):
                        rates.setdefault((size, "device"), []).append(by_device(drive, size))
    columns = ["dd", *WAYS, "device"]
    show("MB/s", columns, lambda size, name: f"{median(rates[size, name]):.1f}")

    def ratios(size: int, name: str) -> str:
        pairs = zip(rates[size, name], rates[size, "dd"], strict=True)
        lowest, *middle, highest = sorted(one / other for one, other in pairs)
        return f"{median(middle):.2f} ({lowest:.2f}-{highest:.2f})"

    show("times dd", columns[1:], ratios)


def show(title: str, columns: list[str], cell: Callable[[int, str], str]) -> None:
    """Print a table."""
    print("|", " | ".join([title, *columns]), "|")
    print("| ---: |" + " ---: |" * len(columns))
    for size in SIZES:
        cells = [f"{size >> 10} KiB", *(cell(size, name) for name in columns)]
        print("|", " | ".join(cells), "|", flush=True)
    print()


if __name__ == "__main__":
    main()
