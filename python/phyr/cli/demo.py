"""The simulated buffer of ``phyr demo``: scattered as memory is after some days of use."""

import sys
from collections.abc import Iterator
from random import Random

from phyr._phyr import Phyr
from phyr.cli.report import Cost, blocks, bucket_bytes, spell

__all__ = ["LONGEST", "MEMORY", "scatter", "story"]

PAGE = 4 << 10
SLOT = 64 << 10
HUGE = 2 << 20

MEMORY = 1 << 40
"""Bytes of the simulated machine's memory."""

LONGEST = 16 << 30
"""Bytes of the longest buffer that is simulated."""


def scatter(length: int, seed: int) -> list[tuple[int, int]]:
    """Make the physical memory of a buffer.

    One huge page in eight is whole; each of the others gives one to sixteen blocks of 4 KiB to 64
    KiB, aligned to their size, as the kernel's buddy allocator does. No page occurs twice.

    Args:
        length: Bytes of the buffer, 1 to `LONGEST`.
        seed: Any number. The same number gives the same memory.

    Returns:
        ``(paddr, length)`` of whole pages, as many as the buffer takes.

    Examples:
        >>> sum(length for _, length in scatter(5000, seed=1))
        8192
    """
    random = Random(seed)  # noqa: S311 - nothing secret
    left = -(-length // PAGE) * PAGE
    taken: set[int] = set()
    chunks = []
    while left:
        frame = random.randrange(MEMORY // HUGE)
        if frame in taken:
            continue
        taken.add(frame)
        for offset, size in _blocks(random):
            chunk = min(size, left)
            if chunk:
                chunks.append((frame * HUGE + offset, chunk))
                left -= chunk
    return chunks


def _blocks(random: Random) -> list[tuple[int, int]]:
    """Return offset and size of the free blocks in one huge page."""
    if random.random() < 1 / 8:
        return [(0, HUGE)]
    slots = random.sample(range(HUGE // SLOT), random.randint(1, 16))
    sizes = [PAGE << random.randint(0, 4) for _ in slots]
    return [
        (slot * SLOT + random.randrange(SLOT // size) * size, size)
        for slot, size in zip(slots, sizes, strict=True)
    ]


def story(length: int, seed: int) -> Iterator[tuple[str, list[str]]]:
    """Explain a list, with a simulated buffer.

    Args:
        length: Bytes of the buffer, 1 to `LONGEST`.
        seed: Any number.

    Yields:
        A heading, and the lines below it.
    """
    chunks = scatter(length, seed)
    phyr = Phyr.from_chunks(chunks, length=length)
    yield (
        f"a buffer of {spell(length)}, scattered over {spell(MEMORY)} of simulated memory",
        [f"seed {seed}: {', '.join(blocks(bucket_bytes(phyr)))} blocks"],
    )
    yield f"its list: phyr.chunks, {len(phyr.chunks):,} of them", list(_table(phyr))
    start, end = length // 4 + 100, length - length // 4 - 100
    if start < end:
        part = phyr[start:end]
        yield (
            f"a slice: phyr[{start}:{end}], only its ends are trimmed, nothing is copied",
            list(_table(part)),
        )
        middle = length // 2
        whole, sliced = f"phyr[{middle}]", f"phyr[{start}:{end}][{middle - start}]"
        yield (
            "a byte's physical address, in the list and in the slice",
            [
                f"{whole:{len(sliced)}}  {phyr[middle]:#x}",
                f"{sliced}  {part[middle - start]:#x}",
            ],
        )
    cost = Cost.of(phyr)
    tuples = sys.getsizeof(chunks) + sum(
        sys.getsizeof(chunk) + sum(map(sys.getsizeof, chunk)) for chunk in chunks
    )
    yield (
        "what it costs in bytes",
        [*cost.spelt(len(phyr.chunks)), f"list of tuples {tuples:,} ({tuples / cost.phyr:.1f}x)"],
    )


def _table(phyr: Phyr) -> Iterator[str]:
    """Show the first chunks and the last one of a list."""
    yield f"{'position':>12}  {'paddr':>14}  length"
    count = len(phyr.chunks)
    for number in sorted({*range(min(count, 4)), count - 1}):
        paddr, length = phyr.chunks[number]
        if number > 4:  # noqa: PLR2004 - chunks in between
            yield f"{'...':>12}"
        yield f"{phyr.chunks.position(number):>12,}  {paddr:>#14x}  {length:,}"
