"""Where the memory of a dropped list goes, and what makes lists in two threads slower than in one.

The questions: how many bytes a page stay with the process after a list is dropped, and until when?
How much of the time to make a list do page faults take, and how do two threads share the work?
The answers are those of glibc's malloc, so each way runs in a process of its own, with other
settings of it (`GLIBC_TUNABLES`, glibc 2.35 or newer). Needs NumPy, and Linux.

    python benches/bench_memory.py [--pages N] [--rounds N]
"""

import argparse
import ctypes
import os
import resource
import statistics
import subprocess
import sys
import threading
from pathlib import Path
from time import perf_counter

import numpy as np

from phyr import Phyr

TUNABLES = {
    "as it is": "",
    "huge pages in the heap": "glibc.malloc.hugetlb=1",
    "memory kept": "glibc.malloc.top_pad=67108864:glibc.malloc.trim_threshold=1073741824",
}


def resident() -> int:
    """Return the bytes of this process in RAM."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def pfns(count: int) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    """Return random page numbers: nearly all of them chunks of their own."""
    return np.random.default_rng(1).integers(1 << 18, 1 << 28, count, dtype=np.uint64)


def staying(count: int) -> None:
    """Print what stays after lists were dropped, in bytes a page of one list."""
    numbers = pfns(count)
    kept: list[bytearray] = []

    def make(after: int) -> None:
        """Make a list, then something small that stays, and drop the list."""
        list_ = Phyr.from_pfns(numbers)
        if after:
            kept.append(bytearray(after))
        del list_

    def tell(name: str) -> None:
        print(f"    {name:44}{(resident() - start) / count:8.2f} bytes a page stay")

    make(0)
    start = resident()
    make(0)
    tell("a list alone")
    make(3000)
    tell("a list, then 3,000 bytes that stay")
    for threads in (1, 2, 3):
        together = [threading.Thread(target=make, args=(3000,)) for _ in range(threads)]
        for thread in together:
            thread.start()
        for thread in together:
            thread.join()
        tell(f"the same in {threads} threads at a time")
    began = perf_counter()
    ctypes.CDLL(None).malloc_trim(0)
    tell(f"after malloc_trim, {(perf_counter() - began) * 1e3:.1f} ms")


def making(count: int, rounds: int) -> None:
    """Print what a list costs where one thread makes lists, and two."""
    numbers = pfns(count)
    for threads in (1, 2):
        times = []
        before = resource.getrusage(resource.RUSAGE_SELF)
        for _ in range(rounds):
            together = [
                threading.Thread(target=Phyr.from_pfns, args=(numbers,)) for _ in range(threads)
            ]
            began = perf_counter()
            for thread in together:
                thread.start()
            for thread in together:
                thread.join()
            times.append((perf_counter() - began) / threads)
        after = resource.getrusage(resource.RUSAGE_SELF)
        lists = rounds * threads
        print(
            f"    {threads} thread{'s' * (threads > 1):1}"
            f"{statistics.median(times) / count * 1e9:7.2f} ns a page"
            f" ({min(times) / count * 1e9:.2f}..{max(times) / count * 1e9:.2f}),"
            f" {(after.ru_minflt - before.ru_minflt) / lists:7.0f} page faults a list,"
            f" {(after.ru_stime - before.ru_stime) / lists / count * 1e9:5.2f} ns a page"
            " in the kernel"
        )


def main() -> None:
    """Parse the arguments and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=1 << 22)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--smoke", action="store_true", help="one small round")
    parser.add_argument("--part", choices=["staying", "making"], help="in this process")
    options = parser.parse_args()
    if options.smoke:
        options.pages, options.rounds = 1 << 14, 1
    if options.part == "staying":
        staying(options.pages)
    elif options.part == "making":
        making(options.pages // 4, options.rounds)
    else:
        for name, tunables in TUNABLES.items():
            print(f"malloc: {name}", flush=True)
            for part in ("staying", "making"):
                numbers = ["--pages", str(options.pages), "--rounds", str(options.rounds)]
                subprocess.run(  # noqa: S603 - our own interpreter
                    [sys.executable, __file__, "--part", part, *numbers],
                    env={**os.environ, "GLIBC_TUNABLES": tunables},
                    check=True,
                )


if __name__ == "__main__":
    main()
