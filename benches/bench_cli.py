"""The cost of a look at a large process on the command line, beside other programs.

``python benches/bench_cli.py [--mib N] [--rounds N] [--smoke]`` prints a table in Markdown for
processes of four layouts: seconds, wall clock and of the processor, the least of some rounds in
which all take turns, and the most memory a program took. Needs root. thpmaps, of the kernel's
tools/mm, takes part if PHYR_THPMAPS names it.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Makes memory, and waits. To madvise: 14 HUGEPAGE, 15 NOHUGEPAGE, 4 DONTNEED.
LAYOUT = """
import ctypes, mmap, random, sys
kind, size = sys.argv[1], int(sys.argv[2])
libc = ctypes.CDLL(None)
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
area = mmap.mmap(-1, size + (2 << 20), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
base = ctypes.addressof(ctypes.c_char.from_buffer(area))
start = -base % (2 << 20)
libc.madvise(base, size + (2 << 20), 14 if kind in ("thp", "teeth") else 15)
pages = list(range(start, start + size, 4096))
if kind == "shuffled":
    random.Random(1).shuffle(pages)
for page in pages:
    area[page] = 1
if kind == "teeth":
    for page in pages[::2]:
        libc.madvise(base + page, 4096, 4)
print("ready", flush=True)
sys.stdin.read()
"""
KINDS = {
    "thp": "huge pages",
    "single": "single pages",
    "shuffled": "single pages, touched in no order",
    "teeth": "huge pages, every other 4 KiB given back",
}
# The page map alone, in pieces of 1 MiB.
ALONE = """
import os, sys
file = os.open(f"/proc/{sys.argv[1]}/pagemap", os.O_RDONLY)
room = bytearray(1 << 20)
for line in open(f"/proc/{sys.argv[1]}/maps"):
    start, end = (int(part, 16) >> 12 << 3 for part in line.split()[0].split("-"))
    if end < 1 << 60:
        for at in range(start, end, 1 << 20):
            os.preadv(file, [memoryview(room)[: min(end - at, 1 << 20)]], at)
"""


@contextmanager
def layout(kind: str, size: int) -> Iterator[int]:
    """Run a process with memory of a kind."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", LAYOUT, kind, str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.kill()


def programs(pid: int) -> dict[str, list[str]]:
    """Return the command of each contender."""
    phyr = [sys.executable, "-m", "phyr", "map", str(pid), "--rollup"]
    found = {
        "the page map, read alone": [sys.executable, "-c", ALONE, str(pid)],
        "phyr map --rollup": phyr,
        "phyr map --rollup --folios": [*phyr, "--folios"],
    }
    if "PHYR_THPMAPS" in os.environ:
        program = [sys.executable, os.environ["PHYR_THPMAPS"]]
        found["thpmaps --rollup"] = [*program, "--pid", str(pid), "--rollup"]
    return found


def run(command: list[str]) -> tuple[float, float, int]:
    """Run a program: seconds by the clock and of the processor, and KiB of memory at most."""
    began = time.perf_counter()
    pid = os.posix_spawn(
        command[0],
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)],
    )
    _, status, used = os.wait4(pid, 0)
    assert status == 0, command
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true")
    chosen = parser.parse_args()
    size, rounds = (4 << 20, 1) if chosen.smoke else (chosen.mib << 20, chosen.rounds)
    if not Path("/proc/kpageflags").exists() or os.geteuid():
        print("needs root")
        return
    print(f"Processes of {size >> 20} MiB; page size {resource.getpagesize()}.\n")
    for kind, name in KINDS.items():
        with layout(kind, size) as pid:
            found: dict[str, list[tuple[float, float, int]]] = {}
            for _ in range(rounds):
                for program, command in programs(pid).items():
                    found.setdefault(program, []).append(run(command))
        print(f"| {name} | clock, s | processor, s | MiB |\n| --- | --- | --- | --- |")
        for program, runs in found.items():
            clock, used, memory = (min(column) for column in zip(*runs, strict=True))
            print(f"| {program} | {clock:.3f} | {used:.3f} | {memory / 1024:.0f} |", flush=True)
        print()


if __name__ == "__main__":
    main()
