"""The cost of each operation from Python: how its time grows, nanoseconds, objects made.

``python benches/bench_costs.py [PAGES [ROUNDS]]``; ``--smoke`` does everything once, on a short
list. The list has chunks of one to eight pages. A time is the lowest of rounds in which all take
turns; the memory of a result is its blocks of Python's allocator, and what ``sys.getsizeof`` says.
"""

import sys
import time
from array import array
from collections.abc import Callable

from phyr import Chunks, Phyr
from phyr.iommu import Direct, Direction, dma_map, plan_map

SIZES = 1 << 12 | 1 << 21 | 1 << 30
CALLS = 200
"""Calls of a short operation in a turn."""


def operations(nr_pages: int) -> list[tuple[str, str, int, Callable[[], object]]]:
    """Return name, growth, number of parts of a call, and the call."""
    count = max(nr_pages * 2 // 9, 8)
    paddrs = array("Q", ((1 << 30) + (i * 16 << 12) for i in range(count)))
    lengths = array("Q", ((1 + i * 7 % 8) << 12 for i in range(count)))
    phyr = Phyr.from_chunks(paddrs, lengths)
    twin = Phyr.from_chunks(paddrs, lengths)
    pages = array("Q", phyr.pages(4096))
    middle = len(phyr) // 2
    positions = array("Q", (i * 0x9E37_79B9_7F4A % len(phyr) for i in range(count)))
    ascending = array("Q", sorted(positions))
    data, chunks, direct = phyr.to_bytes(), phyr.chunks, Direct()
    frozen = phyr.freeze()
    return [
        ("an empty call", "", 0, lambda: None),
        ("`len(p)`", "O(1)", 0, lambda: len(phyr)),
        ("`p[i]`", "O(log n)", 0, lambda: phyr[middle]),
        ("`p[a:b]`", "O(1)", 0, lambda: phyr[middle:]),
        ("`p.chunks[n]`", "O(log n)", 0, lambda: chunks[count // 2]),
        ("`p.chunks.find(i)`", "O(log n)", 0, lambda: chunks.find(middle)),
        ("`next(iter(p.chunks))`", "O(log n)", 0, lambda: next(iter(chunks))),
        (
            "`dma_map`, `unmap`, no IOMMU",
            "O(1)",
            0,
            lambda: dma_map(phyr, direct, Direction.TO_DEVICE).unmap(),
        ),
        ("`plan_map`", "O(log n)", 0, lambda: plan_map(phyr, 0, SIZES)),
        ("`from_chunks`, two arrays", "O(n)", count, lambda: Phyr.from_chunks(paddrs, lengths)),
        ("`from_pages`, a page", "O(n)", len(pages), lambda: Phyr.from_pages(pages)),
        ("`p.chunks.paddrs`", "O(n)", count, lambda: chunks.paddrs),
        (
            "`for paddr, length in p.chunks`",
            "O(n)",
            count,
            lambda: walk(chunks),
        ),
        ("`list(p.chunks)`", "O(n)", count, lambda: list(chunks)),
        ("`p.pages(4096)`, a page", "O(n)", len(pages), lambda: phyr.pages(4096)),
        ("`p == q`", "O(n)", count, lambda: phyr == twin),
        ("`hash(p)`", "O(n)", count, lambda: hash(phyr)),
        ("`p.stats()`", "O(n)", count, phyr.stats),
        ("`p.orders()`", "O(n)", count, phyr.orders),
        ("`Phyr.join([p, q])`", "O(n)", 2 * count, lambda: Phyr.join([phyr, twin])),
        ("`p.to_bytes()`", "O(n)", count, phyr.to_bytes),
        ("`Phyr.from_bytes(data)`", "O(n)", count, lambda: Phyr.from_bytes(data)),
        ("`p.freeze()`", "O(n)", count, phyr.freeze),
        ("`frozen.thaw()`", "O(n)", count, frozen.thaw),
        ("`p.translate(positions)`, random", "O(n)", count, lambda: phyr.translate(positions)),
        ("`p.translate(positions)`, ascending", "O(n)", count, lambda: phyr.translate(ascending)),
        ("columns of a plan", "O(n)", count, lambda: plan_map(phyr, 0, SIZES).paddrs),
    ]


def walk(chunks: Chunks) -> None:
    """Visit each chunk, as most loops do."""
    for _paddr, _length in chunks:
        pass


def memory(work: Callable[[], object]) -> tuple[int, int]:
    """Return the blocks of Python's allocator that a result keeps, and its size in bytes."""
    work()
    before = sys.getallocatedblocks()
    result = work()
    # The number `before` is an object, too.
    blocks = sys.getallocatedblocks() - before - 1
    return max(blocks, 0), sys.getsizeof(result)


def main(nr_pages: int = 1 << 20, rounds: int = 11) -> None:
    """Print a table."""
    contenders = operations(nr_pages)
    found: dict[str, list[float]] = {name: [] for name, *_ in contenders}
    for _ in range(rounds):
        for name, _, parts, work in contenders:
            calls = 1 if parts else CALLS
            start = time.perf_counter_ns()
            for _ in range(calls):
                work()
            found[name].append((time.perf_counter_ns() - start) / calls / (parts or 1))
    print(f"### Cost of each operation from Python, {nr_pages} pages\n")
    print("| operation | grows as | ns, of a call or each | objects | bytes |")
    print("| --- | --- | --- | --- | --- |")
    for name, order, _, work in contenders:
        blocks, size = memory(work)
        lowest = min(found[name])
        print(f"| {name} | {order} | {lowest:.3g} | {blocks} | {size} |")


if __name__ == "__main__":
    main(*([1 << 10, 1] if "--smoke" in sys.argv else map(int, sys.argv[1:])))
