"""The cost of mapping from Python.

``python benches/bench_map.py [--smoke]`` prints a table in Markdown: nanoseconds an operation, the
median of rounds in which all take turns, in brackets the lowest and highest, and the ratio to a
call of an empty Python function, which tells how fast the machine is at this moment.
"""

import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

from phyr import Phyr
from phyr.iommu import BusOffset, Direct, Direction, Mapping, Paging, Plan, Prot, dma_map, plan_map

TO_DEVICE = Direction.TO_DEVICE
SIZES = 1 << 12 | 1 << 21 | 1 << 30

GOAL = 100
"""Nanoseconds for an identity map, on an idle machine, where an empty call takes 30 to 50."""


class Sink:
    """A domain that takes whole plans, and does nothing with them."""

    pgsize_bitmap = SIZES
    aperture = (0, 2**48 - 1)
    reserved = ()

    def map_batch(self, plan: Plan, prot: Prot) -> None:
        """Take a plan."""

    def map_pages(self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: Prot) -> None:
        """Take a call."""

    def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
        """Take a call."""

    def iova_to_phys(self, _iova: int) -> int | None:
        """Know nothing."""
        return None


def nothing(phyr: Phyr, _direction: Direction) -> Phyr:
    """Be called."""
    return phyr


def timed(work: Callable[[], object], count: int) -> float:
    """Return the nanoseconds an operation of work that does `count` of them."""
    start = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - start) / count


def turns(count: int) -> dict[str, Callable[[], float]]:
    """Return what takes turns, by name."""
    short, direct, offset = Phyr.from_pfns([7]), Direct(), BusOffset(1 << 40)
    scattered = Phyr.from_pfns(range(1, 2 * count, 2))
    times = range(count)

    def call() -> float:
        return timed(lambda: [nothing(short, TO_DEVICE) for _ in times], count)

    def ask_direct() -> float:
        return timed(lambda: [direct.map(short, TO_DEVICE) for _ in times], count)

    def through(backend: Direct | BusOffset | Paging) -> float:
        # Unmapped when the clock has stopped.
        with ExitStack() as stack:
            mappings: list[Mapping] = []
            taken = timed(
                lambda: mappings.extend([dma_map(short, backend, TO_DEVICE) for _ in times]), count
            )
            for mapping in mappings:
                stack.enter_context(mapping)
        return taken

    def both(backend: Direct | Paging, phyr: Phyr, repeat: int) -> float:
        def map_and_unmap() -> None:
            for _ in range(repeat):
                dma_map(phyr, backend, TO_DEVICE).unmap()

        return timed(map_and_unmap, count)

    def columns() -> float:
        plan = plan_map(scattered, 1 << 40, SIZES)
        return timed(lambda: (plan.iovas, plan.paddrs, plan.pgsizes, plan.pgcounts), count)

    def items() -> float:
        plan = plan_map(scattered, 1 << 40, SIZES)
        return timed(lambda: sum(1 for _ in plan), count)

    return {
        "empty Python function": call,
        "Direct().map(phyr, direction)": ask_direct,
        "dma_map through Direct": lambda: through(direct),
        "dma_map through Direct, and unmap": lambda: both(direct, short, count),
        "dma_map through BusOffset": lambda: through(offset),
        "dma_map through Paging, and unmap": lambda: both(Paging(Sink()), short, count),
        "Paging in one batch, a chunk": lambda: both(Paging(Sink()), scattered, 1),
        "columns of a plan, a call": columns,
        "items of a plan, a call": items,
    }


def main() -> None:
    """Race them, and print."""
    smoke = "--smoke" in sys.argv
    count, rounds = (500, 1) if smoke else (20_000, 15)
    contenders = turns(count)
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, turn in contenders.items():
            found[name].append(turn())
    base = statistics.median(found["empty Python function"])
    print("| operation | ns | to an empty call |\n| --- | --- | --- |")
    for name, row in found.items():
        median = statistics.median(row)
        print(f"| {name} | {median:.0f} [{min(row):.0f} {max(row):.0f}] | {median / base:.2f} |")
    lowest = min(found["dma_map through Direct, and unmap"])
    verdict = "yes" if lowest <= GOAL else "no"
    print(f"\nan identity map and its end in at most {GOAL} ns, at best? {verdict}")


if __name__ == "__main__":
    main()
