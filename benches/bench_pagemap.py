"""How long it takes to read the page map of this process into a list, beside reading it alone.

The question: is `phyr.pagemap` within 1.25 times the time of the reads that it cannot do without?
Both take turns in one process, over the same memory, with the page map already open and in reads of
the same size. Needs CAP_SYS_ADMIN.

    python benches/bench_pagemap.py [--rounds N] [--mib N]
"""

import argparse
import mmap
import os
import statistics
import sys
from collections.abc import Callable
from contextlib import closing
from time import perf_counter

from phyr import HiddenPagesError, pagemap
from phyr._phyr import Loan

PIECE = 1 << 20
TARGET = 1.25


def faulted(length: int, *, huge: bool) -> mmap.mmap:
    """Map private memory of `length` bytes and write to all of it."""
    area = mmap.mmap(-1, length, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
    for page in range(0, length, mmap.PAGESIZE):
        area[page] = 1
    return area


def read_alone(file: int, buffer: bytearray, start: int, length: int) -> None:
    """Read the page map and do nothing with it."""
    whole = memoryview(buffer)
    at = start // mmap.PAGESIZE * 8
    end = at + length // mmap.PAGESIZE * 8
    while at < end:
        at += os.preadv(file, [whole[: end - at]], at)


def take_turns(rounds: int, *questions: Callable[[], object]) -> list[list[float]]:
    """Run all questions one after the other, over and over; give the seconds of each."""
    times: list[list[float]] = [[] for _ in questions]
    for turn in range(rounds + 1):
        for number, question in enumerate(questions):
            began = perf_counter()
            question()
            if turn:  # the first round warms up
                times[number].append(perf_counter() - began)
    return times


def compare(name: str, area: mmap.mmap, rounds: int) -> None:
    """Print the line of one kind of memory."""
    buffer = bytearray(PIECE)
    file = os.open("/proc/self/pagemap", os.O_RDONLY)
    with pagemap.Pagemap() as opened, Loan(area) as (start, length):
        alone, read, resident = take_turns(
            rounds,
            lambda: read_alone(file, buffer, start, length),
            lambda: opened.read(start, length),
            lambda: opened.resident(start, length),
        )
        chunks = len(opened.resident(start, length).phyr.chunks)
    os.close(file)
    pages = length // mmap.PAGESIZE
    base = statistics.median(alone)
    print(f"{name:8}{pages:9,} pages{chunks:9,} chunks", end="")
    print(f"{base / pages * 1e9:9.2f} ns a page alone", end="")
    for title, times in (("read", read), ("resident", resident)):
        each = [time / other for time, other in zip(times, alone, strict=True)]
        print(
            f"   {title}{statistics.median(times) / pages * 1e9:7.2f} ns,"
            f" {statistics.median(times) / base:.3f}x"
            f" (turn by turn {statistics.median(each):.3f}x)",
            end="",
        )
    print()


def main() -> None:
    """Parse the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--smoke", action="store_true", help="one small round")
    options = parser.parse_args()
    if options.smoke:
        options.rounds, options.mib = 1, 4
    print(f"python {sys.version.split()[0]}, {options.rounds} rounds, target {TARGET}x")
    try:
        for name, huge in (("4 KiB", False), ("huge", True)):
            with closing(faulted(options.mib << 20, huge=huge)) as area:
                compare(name, area, options.rounds)
    except HiddenPagesError as error:
        sys.exit(f"{error.strerror}")
    (opening,) = take_turns(options.rounds, lambda: pagemap.Pagemap().close())
    print(f"opening a page map takes {statistics.median(opening) * 1e6:.0f} us more, once")


if __name__ == "__main__":
    main()
