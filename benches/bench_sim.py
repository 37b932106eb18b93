"""The cost of the simulated machine from Python.

``python benches/bench_sim.py [PAGES [ROUNDS]]``: by default 1 GiB of scattered 4 KiB pages;
``--smoke`` runs a few. Each line is a median in nanoseconds a page, in brackets the extremes; then
short maps, in nanoseconds a map, beside an empty call. The last lines hold `map_batch` against its
goal, which means something on a quiet machine.
"""

import statistics
import sys
import time
from array import array
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

from phyr import Phyr
from phyr.iommu import plan_map
from phyr.sim import Device, Memory, SimDomain

PAGE = 4096
SIZES = 1 << 12 | 1 << 21 | 1 << 30
IOVA = 1 << 40

TABLE = 512
"""Entries of a table."""

GOAL = 5
"""Most nanoseconds that `map_batch` may take for a scattered page of 4 KiB."""


def timed(work: Callable[[], object]) -> float:
    """Return the nanoseconds that `work` takes."""
    start = time.perf_counter_ns()
    work()
    return time.perf_counter_ns() - start


def short_maps(memory: Memory, rounds: int) -> None:
    """Print what a map of a few pages takes, and its unmap."""
    domain = SimDomain(memory)
    iovas = [IOVA + (number << 22) for number in range(32)]
    for iova in iovas:
        # So the tables stay.
        domain.map_pages(iova + (TABLE - 1) * PAGE, 0, PAGE, 1, 3)

    def nothing(_iova: int, _paddr: int, _pgsize: int, _pgcount: int, _prot: int) -> None:
        """Be called."""

    print("### Short maps, ns a map\n")
    print("| what | 4 KiB | 16 KiB | 64 KiB | 256 KiB | 1 MiB | 2 MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    rows: dict[str, list[str]] = {"empty call": [], "map_pages": [], "unmap_pages": []}
    for count in (1, 4, 16, 64, 256, TABLE):
        if count == TABLE:
            # Now they come and go.
            for iova in iovas:
                domain.unmap_pages(iova + (TABLE - 1) * PAGE, PAGE, 1)
        found: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(10 * rounds):
            for name, work in (
                ("empty call", lambda iova: nothing(iova, 1 << 30, PAGE, count, 3)),  # noqa: B023
                ("map_pages", lambda iova: domain.map_pages(iova, 1 << 30, PAGE, count, 3)),  # noqa: B023
                ("unmap_pages", lambda iova: domain.unmap_pages(iova, PAGE, count)),  # noqa: B023
            ):
                each = partial(lambda work: [work(iova) for iova in iovas], work)
                found[name].append(timed(each) / len(iovas))
        for name, cells in rows.items():
            cells.append(f"{statistics.median(found[name]):.0f} ({min(found[name]):.0f})")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")
    print()


def main(pages: int = 1 << 18, rounds: int = 11) -> None:
    """Print a table."""
    memory = Memory(max(64 << 30, 4 * pages * PAGE))
    times: dict[str, list[float]] = {}

    def note(name: str, work: Callable[[], object], count: int = pages) -> None:
        times.setdefault(name, []).append(timed(work) / count)

    large = memory.alloc(max(pages // 16, 1) * PAGE)
    scattered = memory.scatter(pages * PAGE, seed=1)
    part = scattered[: max(pages // 16, 1) * PAGE]
    window = Phyr.from_chunks([(IOVA, len(part))])
    buffer = bytearray(len(part))
    count = len(part) // PAGE
    for _ in range(rounds):
        plan = plan_map(scattered, IOVA, SIZES)
        columns = SimpleNamespace(
            iovas=plan.iovas, paddrs=plan.paddrs, pgsizes=plan.pgsizes, pgcounts=plan.pgcounts
        )
        arrays = SimpleNamespace(
            **{name: array("Q", items) for name, items in vars(columns).items()}
        )
        domain, other = SimDomain(memory), SimDomain(memory)
        device = Device(memory, domain)

        def plan_and_map(domain: SimDomain = domain) -> None:
            domain.map_batch(plan_map(scattered, IOVA, SIZES), 3)

        note("plan_map and map_batch of the plan", plan_and_map)
        note("map_batch of four columns", partial(other.map_batch, columns, 3))
        note("device, readinto", partial(device.readinto, window, buffer), count)
        note("unmap_pages", partial(domain.unmap_pages, IOVA, PAGE, pages))
        other.unmap_pages(IOVA, PAGE, pages)
        note("map_batch of four foreign arrays", partial(other.map_batch, arrays, 3))
        other.unmap_pages(IOVA, PAGE, pages)
        note("memory, write, 4 KiB chunks", lambda: memory.write(part, buffer), count)
        note("memory, readinto, 4 KiB chunks", lambda: memory.readinto(part, buffer), count)
        note("memory, write, one chunk", lambda: memory.write(large, buffer), count)
        note("memory, readinto, one chunk", lambda: memory.readinto(large, buffer), count)
        note("copy of a bytearray", lambda: bytearray(buffer), count)
    print(f"### Simulated machine, ns a page of 4 KiB, {pages} pages\n")
    print("| what | median (lowest..highest) |\n| --- | --- |")
    for name, found in times.items():
        print(f"| {name} | {statistics.median(found):.2f} ({min(found):.2f}..{max(found):.2f}) |")
    print()
    short_maps(memory, rounds)
    for name in (name for name in times if "map_batch" in name):
        median, lowest = statistics.median(times[name]), min(times[name])
        verdict = "yes" if median <= GOAL else "lowest only" if lowest <= GOAL else "no"
        print(f"{name}: at most {GOAL} ns a page? {verdict}")


if __name__ == "__main__":
    main(*([64, 1] if "--smoke" in sys.argv else map(int, sys.argv[1:])))
