"""The cost of lists from Python, beside the same work in Rust, NumPy and lists of tuples.

``python benches/bench_python.py [PAGES [ROUNDS]]`` prints tables in Markdown. Contenders take
turns; each cell is the median, in brackets the lowest and the highest, and the ratio to the first
row. The Rust time comes from ``benches/instructions.rs``, which does one operation for each line it
reads: so Rust and Python take turns although they are two processes. It needs cargo; the row is
left out where there is none.
"""

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from phyr import Chunks, Phyr

ROOT = Path(__file__).parents[1]
PAGE = 4096

Words: TypeAlias = npt.NDArray[np.uint64]
Pairs: TypeAlias = list[tuple[int, int]]
Turn: TypeAlias = Callable[[], float]
"""One turn of a contender: nanoseconds for each of its parts."""
Row: TypeAlias = list[float]


# The workloads of benches/common/workloads.rs, a whole array at a time.

FLOOR = 1 << 18
MASK = np.uint64((1 << 28) - 1)
DIGESTS = {
    "rand4k": 0xB267A1D260299325,
    "geo8": 0xFBA5A5C244FA7325,
    "folio": 0xF13ADED78A76A325,
    "huge2m": 0x9CDA41A594B6E325,
    "contig": 0xBBA855137136E325,
}


def draws(state: int, count: int) -> Words:
    """Draw `count` words of splitmix64 that starts from `state`."""
    index = np.arange(1, count + 1, dtype=np.uint64)
    z = np.uint64(state) + index * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def runs(firsts: Words, lengths: Words, count: int) -> Words:
    """Page numbers of runs one after another, the first `count` of them."""
    ends = np.cumsum(lengths)
    needed = int(np.searchsorted(ends, count)) + 1
    firsts, lengths, ends = firsts[:needed], lengths[:needed], ends[:needed]
    shift = np.repeat(firsts - (ends - lengths), lengths.astype(np.int64))
    return (shift + np.arange(len(shift), dtype=np.uint64))[:count]


def pfns_of(name: str, count: int) -> Words:
    """Page numbers of a workload; their digest is checked."""
    number = 1 + list(DIGESTS).index(name)
    draw = draws(0x7068797200000000 + number, count)
    floor = np.uint64(FLOOR)
    if name == "rand4k":
        pfns = floor + (draw & MASK)
    elif name == "geo8":
        starts = (draw & np.uint64(7)) == 0
        starts[0] = True
        where = np.flatnonzero(starts)
        lengths = np.diff(np.append(where, count)).astype(np.uint64)
        pfns = runs(floor + ((draw[where] >> np.uint64(3)) & MASK), lengths, count)
    elif name == "folio":
        low = draw | np.uint64(512)
        lengths = low & (~low + np.uint64(1))
        pfns = runs(
            floor + ((draw >> np.uint64(16)) & MASK & ~(lengths - np.uint64(1))), lengths, count
        )
    elif name == "huge2m":
        lengths = np.full(count // 512 + 1, 512, dtype=np.uint64)
        pfns = runs(floor + (draw[: len(lengths)] & MASK & ~np.uint64(511)), lengths, count)
    else:
        pfns = floor + np.arange(count, dtype=np.uint64)
    digest = 0xCBF29CE484222325
    for pfn in pfns[:4096].tolist():
        digest = (digest ^ (pfn << 12)) * 0x100000001B3 % (1 << 64)
    if count >= PAGE and digest != DIGESTS[name]:
        msg = f"{name}: digest {digest:#x}, not {DIGESTS[name]:#x}"
        raise AssertionError(msg)
    return pfns


# Races.


def timed(work: Callable[[], object], parts: int) -> Turn:
    """Time one call of `work`; what it returns is dropped after the clock stops."""

    def turn() -> float:
        start = time.perf_counter_ns()
        result = work()
        elapsed = time.perf_counter_ns() - start
        del result
        return elapsed / parts

    return turn


def race(contenders: dict[str, Turn], rounds: int) -> dict[str, Row]:
    """Let the contenders take turns; a turn that does not count comes first."""
    times: dict[str, Row] = {name: [] for name in contenders}
    for count in range(rounds + 1):
        for name, turn in contenders.items():
            nanoseconds = turn()
            if count:
                times[name].append(nanoseconds)
    return times


def show(title: str, columns: dict[str, dict[str, Row]]) -> None:
    """Print a table: a column for each workload, a row for each contender."""
    print(f"### {title}\n")
    print(f"| {'':<26} |", *(f"{name:<24} |" for name in columns))
    print(f"|{' --- |' * (1 + len(columns))}")
    for name in next(iter(columns.values())):
        print(f"| {name:<26} |", *(f"{cell(times, name):<24} |" for times in columns.values()))
    print(flush=True)


def cell(times: dict[str, Row], name: str) -> str:
    """Median, spread, and ratio to the first contender."""
    row, base = times[name], next(iter(times.values()))
    text = f"{digits(statistics.median(row))} ({digits(min(row))}..{digits(max(row))})"
    ratio = statistics.median(row) / statistics.median(base)
    return text if row is base else f"{text} {digits(ratio)}x"


def digits(value: float) -> str:
    """Write a figure with the three digits that mean something."""
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"  # noqa: PLR2004 - as it says


class Served:
    """An operation of the Rust bench, done once whenever it is asked to."""

    def __init__(self, program: Path, operation: str, workload: str, nr_pages: int) -> None:
        """Start the program, which prepares its input."""
        self._process = subprocess.Popen(  # noqa: S603 - the program is ours
            [program, operation, workload, str(nr_pages), "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._nr_pages = nr_pages

    def __call__(self) -> float:
        """Let it do the operation: nanoseconds a page."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        return int(self._process.stdout.readline()) / self._nr_pages

    def close(self) -> None:
        """End the program."""
        self._process.communicate()


def bench_program() -> Path | None:
    """Build the Rust bench; None where there is no cargo."""
    if shutil.which("cargo") is None:
        return None
    command = ["cargo", "bench", "--no-run", "--bench", "instructions", "--message-format=json"]
    build = subprocess.run(  # noqa: S603 - the command is ours
        command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    messages = map(json.loads, build.stdout.splitlines())
    [program] = [found for message in messages if (found := message.get("executable"))]
    return Path(program)


# The measured operations.


def numpy_runs(pfns: Words) -> tuple[Words, Words]:
    """Merge touching pages with NumPy: first page numbers, and pages, of each run."""
    starts = np.append(0, np.flatnonzero(np.diff(pfns) != 1) + 1)
    return pfns[starts], np.diff(np.append(starts, len(pfns))).astype(np.uint64)


def tuples(pfns: Iterable[int]) -> Pairs:
    """Merge touching pages in plain Python: address and length of each run."""
    pairs: Pairs = []
    start = end = -1
    for pfn in pfns:
        if pfn == end:
            end += 1
            continue
        if end >= 0:
            pairs.append((start * PAGE, (end - start) * PAGE))
        start, end = pfn, pfn + 1
    pairs.append((start * PAGE, (end - start) * PAGE))
    return pairs


def build(program: Path | None, name: str, nr_pages: int, rounds: int) -> dict[str, Row]:
    """Nanoseconds a page to make a list of page numbers."""
    pfns = pfns_of(name, nr_pages)
    data, plain = pfns.tobytes(), pfns.tolist()
    assert Phyr.from_pfns(data) == Phyr.from_pfns(pfns)
    with ExitStack() as stack:
        contenders: dict[str, Turn] = {}
        if program is not None:
            served = Served(program, "build_pfns", name, nr_pages)
            stack.callback(served.close)
            contenders["Rust, extend_pfns"] = served
        contenders |= {
            "phyr, from NumPy": timed(lambda: Phyr.from_pfns(pfns), nr_pages),
            "phyr, from bytes": timed(lambda: Phyr.from_pfns(data), nr_pages),
            "phyr, from a list of int": timed(lambda: Phyr.from_pfns(plain), nr_pages),
            "NumPy arrays": timed(lambda: numpy_runs(pfns), nr_pages),
            "list of tuples": timed(lambda: tuples(plain), nr_pages),
        }
        return race(contenders, rounds)


def loop(chunks: Iterable[object]) -> None:
    """Take every chunk, and do nothing with it."""
    for _chunk in chunks:
        pass


def unpack(chunks: Iterable[tuple[int, int]]) -> None:
    """Take every chunk apart, and do nothing with it."""
    for _paddr, _length in chunks:
        pass


def total(chunks: Iterable[tuple[int, int]]) -> int:
    """Add up all addresses and lengths."""
    return sum(paddr + length for paddr, length in chunks)


def walk(name: str, nr_pages: int, rounds: int) -> dict[str, Row]:
    """Nanoseconds a chunk to see all of them."""
    phyr = Phyr.from_pfns(pfns_of(name, nr_pages))
    pairs = [(paddr, length) for paddr, length in phyr.chunks]
    count = len(pairs)

    def columns() -> tuple[Words, Words]:
        chunks = phyr.chunks
        return np.asarray(chunks.paddrs), np.asarray(chunks.lengths)

    paddrs, lengths = columns()
    assert list(zip(paddrs.tolist(), lengths.tolist(), strict=True)) == pairs
    return race(
        {
            "phyr, columns": timed(columns, count),
            "phyr, for chunk": timed(lambda: loop(phyr.chunks), count),
            "phyr, for paddr, length": timed(lambda: unpack(phyr.chunks), count),
            "phyr, sum": timed(lambda: total(phyr.chunks), count),
            "list of tuples, for": timed(lambda: loop(pairs), count),
            "list of tuples, sum": timed(lambda: total(pairs), count),
        },
        rounds,
    )


def measure(phyr: Phyr, times: Iterable[int]) -> None:
    """Ask for the length."""
    for _ in times:
        len(phyr)


def pick(sequence: Phyr | Chunks, indices: Iterable[int]) -> None:
    """Take bytes, or chunks, by index."""
    for index in indices:
        _ = sequence[index]


def cut(phyr: Phyr, ranges: Iterable[tuple[int, int]]) -> None:
    """Take ranges of bytes."""
    for start, end in ranges:
        _ = phyr[start:end]


def each(call: Callable[[int], object], positions: Iterable[int]) -> None:
    """Call something for each position."""
    for position in positions:
        call(position)


def searcher(pfns: Words) -> Callable[[int], int]:
    """Make a function from byte to address that searches in NumPy arrays, index ready."""
    firsts, nr_pages = numpy_runs(pfns)
    ends = np.cumsum(nr_pages) * np.uint64(PAGE)

    def search(position: int) -> int:
        run = int(np.searchsorted(ends, np.uint64(position), side="right"))
        return int(firsts[run]) * PAGE + position - int(ends[run] - nr_pages[run] * PAGE)

    return search


def calls(name: str, nr_pages: int, rounds: int) -> dict[str, Row]:
    """Nanoseconds of what a program does with a byte, or a range of bytes, loop included."""
    pfns = pfns_of(name, nr_pages)
    phyr, search = Phyr.from_pfns(pfns), searcher(pfns)
    chunks, length = phyr.chunks, len(phyr)
    number = 1 + list(DIGESTS).index(name)
    random = (draws(0x7365656B00000000 + number, 1 << 13) % np.uint64(length)).tolist()
    same = [length // 3] * len(random)
    ranges = [(position, position + PAGE) for position in random]
    numbers = [position % len(chunks) for position in random]
    assert all(phyr[position] == search(position) for position in random[:99])
    works = {
        "empty loop": partial(loop, random),
        "len(p)": partial(measure, phyr, random),
        "p[i], one byte": partial(pick, phyr, same),
        "p[i], random bytes": partial(pick, phyr, random),
        "p[a:b], random": partial(cut, phyr, ranges),
        "p.chunks.find(i), random": partial(each, chunks.find, random),
        "p.chunks[n], random": partial(pick, chunks, numbers),
        "NumPy, binary search": partial(each, search, random),
    }
    return race({name: timed(work, len(random)) for name, work in works.items()}, rounds)


def wholes(name: str, nr_pages: int, rounds: int) -> dict[str, Row]:
    """Nanoseconds for each part of what takes or makes whole lists and arrays."""
    phyr = Phyr.from_pfns(pfns_of(name, nr_pages))
    paddrs, lengths, data = phyr.chunks.paddrs, phyr.chunks.lengths, phyr.to_bytes()
    chunks, length, frozen = len(phyr.chunks), len(phyr), phyr.freeze()
    pieces = [phyr[start : start + 8 * PAGE].compact() for start in range(0, length, 8 * PAGE)]
    number = 1 + list(DIGESTS).index(name)
    random = draws(0x7365656B00000000 + number, nr_pages) % np.uint64(length)
    ascending, few = np.sort(random), random[: 1 << 13]
    out = np.empty_like(random)
    works: dict[str, tuple[Callable[[], object], int]] = {
        "join, a list of 8 pages": (partial(Phyr.join, pieces), len(pieces)),
        "p + q, a chunk": (lambda: phyr + phyr, 2 * chunks),
        "to_bytes, a chunk": (phyr.to_bytes, chunks),
        "from_bytes, a chunk": (partial(Phyr.from_bytes, data), chunks),
        "from_chunks, two arrays": (partial(Phyr.from_chunks, paddrs, lengths), chunks),
        "orders, a chunk": (phyr.orders, chunks),
        "pages(4096), a page": (partial(phyr.pages, PAGE), nr_pages),
        "p[i], random": (partial(pick, phyr, few.tolist()), len(few)),
        "translate, random": (partial(phyr.translate, random), nr_pages),
        "translate, ascending": (partial(phyr.translate, ascending), nr_pages),
        "translate, ascending, out=": (partial(phyr.translate, ascending, out=out), nr_pages),
        "frozen: translate, random": (partial(frozen.translate, random), nr_pages),
        "frozen: translate, ascending": (partial(frozen.translate, ascending), nr_pages),
    }
    return race({name: timed(work, parts) for name, (work, parts) in works.items()}, rounds)


def main(nr_pages: int = 1 << 20, rounds: int = 7) -> None:
    """Measure everything."""
    program = bench_program()
    show(
        f"Build from page numbers, ns a page, {nr_pages} pages",
        {name: build(program, name, nr_pages, rounds) for name in DIGESTS},
    )
    chunky = [name for name in DIGESTS if name != "contig"]
    show(
        f"See all chunks, ns a chunk, {nr_pages} pages",
        {name: walk(name, nr_pages, rounds) for name in chunky},
    )
    show(
        f"Whole lists and arrays, ns a part, {nr_pages} pages",
        {name: wholes(name, nr_pages, rounds) for name in chunky},
    )
    show(
        f"One call, ns, {nr_pages} pages",
        {name: calls(name, nr_pages, rounds) for name in DIGESTS},
    )


if __name__ == "__main__":
    main(*([1 << 12, 1] if "--smoke" in sys.argv else map(int, sys.argv[1:])))
