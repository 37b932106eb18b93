"""How long a page map takes where most is not there, where much is, and where little is asked for.

Each row is one question, answered in ways that take turns in one process; ratios are to the first.
Needs CAP_SYS_ADMIN.

    python benches/bench_pagemap_walk.py [--rounds N] [--gib N] [--tib N]
"""

import argparse
import fcntl
import mmap
import os
import statistics
import struct
import sys
from array import array
from collections.abc import Callable
from time import perf_counter
from unittest.mock import patch

from phyr import HiddenPagesError, pagemap
from phyr._phyr import Loan
from phyr.pagemap import reader

MAP_NORESERVE = 0x4000
EVERY = 400 << 20
PRESENT_OR_SWAPPED = 24


def mapped(length: int, *, huge: bool, step: int) -> mmap.mmap:
    """Map private memory, and write to a byte in every `step`."""
    area = mmap.mmap(-1, length, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
    area.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
    for place in range(0, length, step):
        area[place] = 1
    return area


def scan_alone(file: int, start: int, end: int) -> int:
    """Let the kernel name all regions, and read nothing."""
    found = 0
    regions = array("Q", bytes(3 * 8 * 1024))
    address, _ = regions.buffer_info()
    while start < end:
        what = PRESENT_OR_SWAPPED
        argument = bytearray(
            struct.pack("=12Q", 96, 0, start, end, 0, address, 1024, 0, 0, 0, what, what)
        )
        found += fcntl.ioctl(file, 0xC060_6610, argument)
        start = struct.unpack("=12Q", argument)[4]
    return found


def row(name: str, rounds: int, **questions: Callable[[], object]) -> None:
    """Print the median of each question, with its range, and its ratio to the first."""
    times: dict[str, list[float]] = {title: [] for title in questions}
    for turn in range(rounds + 1):
        for title, question in questions.items():
            began = perf_counter()
            question()
            if turn or rounds == 1:  # the first round warms up
                times[title].append(perf_counter() - began)
    print(name)
    base = statistics.median(next(iter(times.values())))
    for title, each in times.items():
        median = statistics.median(each)
        print(
            f"    {title.replace('_', ' '):24}{median * 1e3:12.3f} ms"
            f" ({min(each) * 1e3:.3f}..{max(each) * 1e3:.3f}){median / base:9.2f}x"
        )


def sparse(tib: int, rounds: int, *, old: bool) -> None:
    """Compare ways over terabytes with few pages in them."""
    with (
        mapped(tib << 40, huge=False, step=EVERY) as area,
        Loan(area) as (start, length),
        pagemap.Pagemap() as opened,
        pagemap.Pagemap() as without,
    ):
        without._reader._can_scan = False  # noqa: SLF001 - as on Linux 6.6
        file = os.open("/proc/self/pagemap", os.O_RDONLY)
        questions: dict[str, Callable[[], object]] = {
            "PAGEMAP_SCAN_alone": lambda: scan_alone(file, start, start + length),
            "resident": lambda: opened.resident(start, length),
            "read": lambda: opened.read(start, length),
        }
        row(f"{tib} TiB, a page every 400 MiB", rounds, **questions)
        if old:
            resident = {"resident": lambda: opened.resident(start, length)}
            resident["without PAGEMAP_SCAN"] = lambda: without.resident(start, length)
            row(f"{tib} TiB, where the kernel cannot tell", 1, **resident)
        os.close(file)


def dense(gib: int, rounds: int, *, huge: bool) -> None:
    """Compare one thread with as many as there are processors."""
    with (
        mapped(gib << 30, huge=huge, step=mmap.PAGESIZE) as area,
        Loan(area) as (start, length),
        pagemap.Pagemap() as opened,
    ):

        def one() -> None:
            with patch.object(reader, "_nr_processors", lambda: 1):
                opened.resident(start, length)

        def without() -> None:
            opened._reader._can_scan = False  # noqa: SLF001
            one()
            opened._reader._can_scan = True  # noqa: SLF001

        name = "huge pages" if huge else "4 KiB pages"
        questions = {
            "one_thread,_no_scan": without,
            "one_thread": one,
            f"{len(os.sched_getaffinity(0))}_threads": lambda: opened.resident(start, length),
        }
        row(f"{gib} GiB of {name}", rounds, **questions)


def small(rounds: int) -> None:
    """Compare a page map that is kept open with one that is opened each time."""
    buffer = bytearray(b"x" * mmap.PAGESIZE)

    def anew() -> None:
        with pagemap.Pagemap() as opened:
            opened.of(buffer)

    with pagemap.Pagemap() as kept:
        row(
            "of(bytearray of 4 KiB)",
            rounds * 20,
            opened_each_time=anew,
            of=lambda: pagemap.of(buffer),
            opened_by_the_caller=lambda: kept.of(buffer),
        )
    with Loan(buffer) as where:
        row("of((uaddr, length))", rounds * 20, of=lambda: pagemap.of(where))


def main() -> None:
    """Parse the arguments and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--gib", type=int, default=1)
    parser.add_argument("--tib", type=int, default=8)
    parser.add_argument("--old", action="store_true", help="also read all of the sparse range")
    parser.add_argument("--smoke", action="store_true", help="one small round")
    options = parser.parse_args()
    if options.smoke:
        options.rounds, options.tib = 1, 1
    print(f"python {sys.version.split()[0]}, Linux {os.uname().release}, {options.rounds} rounds")
    try:
        small(options.rounds)
        sparse(options.tib, options.rounds, old=options.old)
        if not options.smoke:
            dense(options.gib, options.rounds, huge=False)
            dense(options.gib, options.rounds, huge=True)
    except HiddenPagesError as error:
        sys.exit(f"{error.strerror}")


if __name__ == "__main__":
    main()
