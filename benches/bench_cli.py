"""The cost of a look at a large process on the command line, beside other programs.

``python benches/bench_cli.py [--mib N] [--rounds N] [--kind KIND]... [--smoke]`` prints tables in
Markdown for processes of four layouts: medians of some rounds in which all take turns, of seconds
by the clock and of the processor, and the most memory a program took. Needs root and a C compiler.

thpmaps and page-types, of the kernel's tools/mm, take part if PHYR_THPMAPS and PHYR_PAGE_TYPES name
them, or with PHYR_FETCH=1 on Debian, which takes them from the package of the kernel's source.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

# Makes memory, and waits. To madvise: 14 HUGEPAGE, 15 NOHUGEPAGE, 25 COLLAPSE, 4 DONTNEED.
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
if kind in ("thp", "teeth"):
    libc.madvise(base + start, size, 25)
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
ROOT = Path(__file__).parents[1]
ALONE = "the page map, read alone, C"
START = "start of Python"
PLAIN = "`phyr map --rollup`"
FLAGS = "the page map and flags, read alone, C"
FOLIOS = "`phyr map --rollup --folios`"
THPMAPS = "`thpmaps --rollup`"
PAGE_TYPES = "`page-types`, C"


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


def tool(name: str) -> Path | None:
    """Find a program of the kernel's source, as the tests do."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support import kernel_tools  # noqa: PLC0415 - of the tests

    return kernel_tools.find(name)


def programs(reads: Path, pid: int) -> dict[str, list[str]]:
    """Return the command of each contender."""
    phyr = [str(Path(sys.executable).with_name("phyr")), "map", str(pid), "--rollup"]
    found = {
        ALONE: [str(reads), str(pid), "map"],
        START: [sys.executable, "-c", "pass"],
        PLAIN: phyr,
        FLAGS: [str(reads), str(pid), "flags"],
        FOLIOS: [*phyr, "--folios"],
    }
    if thpmaps := tool("thpmaps"):
        found[THPMAPS] = [sys.executable, str(thpmaps), "--pid", str(pid), "--rollup"]
    if page_types := tool("page-types"):
        found[PAGE_TYPES] = [str(page_types), "--pid", str(pid)]
    return found


class Run(NamedTuple):
    """One run of a program."""

    clock: float
    processor: float
    mib: float


def run(command: list[str], environment: dict[str, str]) -> Run:
    """Run a program."""
    began = time.perf_counter()
    pid = os.posix_spawn(
        command[0],
        command,
        environment,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)],
    )
    _, status, used = os.wait4(pid, 0)
    assert status == 0, command
    clock = time.perf_counter() - began
    return Run(clock, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def measure(kind: str, size: int, rounds: int, folder: Path) -> None:
    """Let all take turns at one process, and print."""
    # As an installed package has it: compiled Python is kept.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with layout(kind, size) as pid:
        commands = programs(folder / "page_reads", pid)
        runs: dict[str, list[Run]] = {}
        for turn in range(rounds + 1):
            for name, command in commands.items():
                once = run(command, environment)
                if turn:
                    runs.setdefault(name, []).append(once)
        reads = subprocess.run(commands[FLAGS], capture_output=True, text=True, check=True).stdout  # noqa: S603
        report = subprocess.run(  # noqa: S603
            [*commands[FOLIOS], "--json"], capture_output=True, text=True, check=True
        ).stdout
        (process,) = json.loads(report)["processes"]
        large = sum(folio["length"] for folio in process["total"]["folios"]["large"])
    print(f"| {KINDS[kind]} | clock, s | processor, s | MiB |\n| --- | --- | --- | --- |")
    least = {}
    for name, found in runs.items():
        clock, processor, mib = (median(column) for column in zip(*found, strict=True))
        least[name] = (clock, processor)
        print(f"| {name} | {clock:.3f} | {processor:.3f} | {mib:.0f} |", flush=True)
    for other, of in ((PLAIN, (ALONE,)), (PLAIN, (ALONE, START)), (FOLIOS, (FLAGS, START))):
        clock, processor = (
            least[other][which] / sum(least[name][which] for name in of) for which in (0, 1)
        )
        print(f"{other} to {' and '.join(of)}: {clock:.2f}x by the clock, {processor:.2f}x")
    for other in (THPMAPS, PAGE_TYPES):
        if other in least:
            clock, processor = (least[other][which] / least[FOLIOS][which] for which in (0, 1))
            print(f"{other} to {FOLIOS}: {clock:.2f}x by the clock, {processor:.2f}x")
    print(f"reads alone, seconds of the processor and how many: {' '.join(reads.split())}")
    print(f"the kernel gave {large >> 20} MiB in large pages\n")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--smoke", action="store_true")
    chosen = parser.parse_args()
    size, rounds = (4 << 20, 1) if chosen.smoke else (chosen.mib << 20, chosen.rounds)
    if not Path("/proc/kpageflags").exists() or os.geteuid():
        print("needs root")
        return
    print(f"Processes of {size >> 20} MiB; page size {resource.getpagesize()}.\n")
    with TemporaryDirectory() as directory:
        folder = Path(directory)
        source = ROOT / "benches/c/page_reads.c"
        compiler = ["cc", "-O2", str(source), "-o", str(folder / "page_reads")]
        subprocess.run(compiler, check=True)  # noqa: S603
        for kind in chosen.kind or KINDS:
            measure(kind, size, rounds, folder)


if __name__ == "__main__":
    main()
