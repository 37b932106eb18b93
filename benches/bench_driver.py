"""The cost of a driver in Python beside its device: mappings, and commands of 4 KiB.

The question: how long is a program in phyr and in examples/nvme.py, for `dma_map` and `unmap` of a
page, and for a read of 4 KiB? A kernel that grants everything at once, and a drive that has
answered already, stand in for the real ones.

    python benches/bench_driver.py [--rounds N]

Each figure is the least of many short rounds, which other programs disturb least.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from phyr import Phyr
from phyr._devices import uapi
from phyr.iommu import Direction, dma_map
from phyr.iommufd import Ioas
from phyr.vfio import Type1
from support.drive import drive, nvme
from support.fake_vfio import FakeKernel
from support.vfio import TWO, buffer_of

CALLS = 40


def least(call: Callable[[], object], rounds: int) -> float:
    """Return the microseconds of a call."""
    found = []
    for _ in range(rounds):
        began = perf_counter()
        for _ in range(CALLS):
            call()
        found.append((perf_counter() - began) / CALLS * 1e6)
    return min(found)


def mappings(rounds: int) -> None:
    """Print what mapping and unmapping a page takes."""
    phyr = buffer_of(7)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        kernel = FakeKernel(Path(folder), patch)
        kernel.add(TWO, 5, "vfio-pci")
        for make in (Type1, Ioas):
            with make() as backend, backend.open(TWO), pytest.MonkeyPatch.context() as granting:
                granting.setattr(uapi, "ioctl", lambda *_: 0)

                def pair(backend: Type1 | Ioas = backend) -> None:
                    dma_map(phyr, backend, Direction.TO_DEVICE).unmap()

                print(f"{make.__name__:6} dma_map, unmap {least(pair, rounds):6.1f} us")


def commands(rounds: int) -> None:
    """Print what a read of 4 KiB takes, without the drive's answer."""
    opened, page = drive(), Phyr.from_pfns([7])
    queue = opened.blocks

    def answer(*numbers: int) -> None:
        for ahead, number in enumerate(numbers, queue.head):
            turned = ahead // nvme.ENTRIES
            queue.answers[ahead % nvme.ENTRIES] = number | (queue.phase ^ turned) << 16

    def read() -> None:
        answer(opened.submit(nvme.READ, 0, page))
        queue.wait()

    answering = least(lambda: answer(0), rounds)
    print(f"NVMe   read of 4 KiB  {least(read, rounds) - answering:6.1f} us")
    for number in queue.free:
        opened.prepare(number, nvme.READ, 0, page, queue)
    for numbers in ([0], sorted(queue.free)):

        def prepared(numbers: list[int] = numbers) -> None:
            for number in numbers:
                queue.words[number * 8 + nvme.BLOCK] = number
                queue.begin(number)
            queue.tell()
            answer(*numbers)
            for number, status in queue.reap():
                queue.check(number, status)

        answering = least(partial(answer, *numbers), rounds)
        spent = (least(prepared, rounds) - answering) / len(numbers)
        print(f"NVMe   prepared, of {len(numbers):2} {spent:6.1f} us")


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description="Measure a driver beside a device's stand-in.")
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--smoke", action="store_true", help="one short round")
    arguments = parser.parse_args()
    rounds = 1 if arguments.smoke else arguments.rounds
    mappings(rounds)
    commands(rounds)


if __name__ == "__main__":
    main()
