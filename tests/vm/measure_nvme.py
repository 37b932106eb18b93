"""Measure in a guest: reads of one drive by `dd` and the kernel's driver, and by examples/nvme.py.

    tests/vm/run -- .venv/bin/python tests/vm/measure_nvme.py

Both read the same blocks, past all caches, a command at a time. Emulated: compare the columns.
"""

import re
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from statistics import median

from harness import NVME

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import nvme

from phyr import pci
from phyr.vfio import Type1

TOTAL = 32 << 20
MOST = 1024
ROUNDS = 5
SIZES = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 512 << 10]


def by_dd(size: int, count: int) -> float:
    """Return MB/s."""
    command = ["dd", "if=/dev/nvme0n1", "of=/dev/null", f"bs={size}", f"count={count}"]
    done = subprocess.run(
        [*command, "iflag=direct"], capture_output=True, text=True, check=True, env={"LC_ALL": "C"}
    )
    seconds = re.search(r"copied, ([0-9.e-]+) s", done.stderr)
    assert seconds is not None, done.stderr
    return size * count / float(seconds[1]) / 1e6


def by_phyr(drive: nvme.Nvme, size: int, count: int) -> float:
    """Return MB/s."""
    with drive.memory(size) as (_, dma):
        step = size // drive.block_size
        began = time.perf_counter()
        for block in range(0, count * step, step):
            drive.submit(nvme.READ, block, dma)
            drive.blocks.wait()
        return size * count / (time.perf_counter() - began) / 1e6


def main() -> None:
    rates: dict[tuple[int, str], list[float]] = {}
    for _ in range(ROUNDS):
        for size in SIZES:
            count = min(TOTAL // size, MOST)
            rates.setdefault((size, "dd"), []).append(by_dd(size, count))
        for poll in (True, False):
            name = "phyr, polled" if poll else "phyr, MSI-X"
            with (
                pci.bound(NVME, "vfio-pci") as function,
                Type1() as backend,
                backend.open(function) as device,
                closing(nvme.Nvme(device, backend, sgl=True, poll=poll)) as drive,
            ):
                for size in SIZES:
                    count = min(TOTAL // size, MOST)
                    rates.setdefault((size, name), []).append(by_phyr(drive, size, count))
    print("| bytes a command | dd, MB/s | phyr, polled | phyr, MSI-X |")
    print("| ---: | ---: | ---: | ---: |")
    for size in SIZES:
        dd = median(rates[size, "dd"])
        cells = [f"{size:,}", f"{dd:.1f}"]
        for name in ("phyr, polled", "phyr, MSI-X"):
            rate = median(rates[size, name])
            cells.append(f"{rate:.1f}, {rate / dd:.2f}x")
        print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
