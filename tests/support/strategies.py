"""Strategies for hypothesis: granules, runs of pages that often touch, lists, cuts, and batches.

A run is (pfn, count) in granules. Runs lean to what the packed entry and the nodes find hard:
neighbours that touch or nearly do, odd runs too long for one word, the last page that can be held.
"""

import random

from hypothesis import strategies as st

from support.model import Model

Run = tuple[int, int]

GRANULES = (1, 4, 512, 4096, 16384, 65536)

# Entries at and around what one, two or three nodes hold, whatever the size of their headers.
NODE_EDGES = tuple(
    sorted(
        {1, 2, 3, 7, 8}
        | {edge + step for edge in (62, 126, 254) for step in range(4)}
        | {
            nodes * edge + step
            for nodes in (1, 2, 3)
            for edge in (510, 511)
            for step in range(-2, 4)
        }
    )
)

# Counts that take one word at any alignment, and the first that do not.
LONG = (2046, 2047, 2048, 2049, 4094, 4095, 4097, (1 << 20) + 1, (1 << 30) - 1)


def page_limit(granule: int) -> int:
    """Return the first page number that a granule does not reach."""
    return min(1 << 52, (1 << 64) // granule)


def granules() -> st.SearchStrategy[int]:
    """Draw a granule, mostly one that somebody uses."""
    return st.sampled_from(GRANULES) | st.integers(0, 16).map(lambda lg2: 1 << lg2)


def kinds() -> st.SearchStrategy[str]:
    """Draw a kind in the form that a list shows it."""
    return st.sampled_from(["ram", "mmio", "mmio:1", "mmio:4294967295"])


def _counts(largest: int) -> st.SearchStrategy[int]:
    powers = st.integers(0, 40).map(lambda order: 1 << order)
    anything = st.integers(1, 3) | st.integers(1, 5000) | powers | st.sampled_from(LONG)
    return anything.map(lambda count: min(count, largest))


@st.composite
def runs(
    draw: st.DrawFn, granule: int = 4096, *, max_runs: int = 10, largest: int = 1 << 40
) -> list[Run]:
    """Draw runs of at most `largest` granules each, many of them touching the one before."""
    limit = page_limit(granule)
    anywhere = st.integers(0, limit - 1)
    aligned = st.builds(lambda pfn, order: pfn >> order << order, anywhere, st.integers(0, 40))
    step = st.just(0) | st.integers(-3, 3)
    place = st.tuples(st.just("from the last"), step) | st.tuples(st.just("at"), anywhere | aligned)
    top = st.tuples(st.just("at"), st.just(limit - 1))
    drawn = draw(st.lists(st.tuples(place | top, _counts(largest)), max_size=max_runs))
    result: list[Run] = []
    end = 16
    for (where, number), count in drawn:
        pfn = min(max(number if where == "at" else end + number, 0), limit - 1)
        result.append((pfn, min(count, limit - pfn)))
        end = pfn + result[-1][1]
    return result


def pages(granule: int = 4096, *, max_runs: int = 10) -> st.SearchStrategy[list[int]]:
    """Draw page numbers in short runs, at most 40 a run."""
    return runs(granule, max_runs=max_runs, largest=40).map(
        lambda drawn: [pfn + step for pfn, count in drawn for step in range(count)]
    )


def model_of(drawn: list[Run], granule: int = 4096, kind: str = "ram") -> Model:
    """Return the model of runs."""
    return Model(tuple((pfn * granule, count * granule) for pfn, count in drawn), granule, kind)


@st.composite
def models(
    draw: st.DrawFn, *, granule: int | None = None, kind: str | None = None, max_runs: int = 10
) -> Model:
    """Draw a list; often its first byte and its last lie inside a granule."""
    size = draw(granules()) if granule is None else granule
    name = draw(kinds()) if kind is None else kind
    whole = model_of(draw(runs(size, max_runs=max_runs)), size, name)
    start = draw(st.integers(0, min(size - 1, whole.length)))
    end = whole.length - draw(st.integers(0, min(size - 1, whole.length)))
    return whole.slice(start, max(start, end))


@st.composite
def long_models(draw: st.DrawFn, *, granule: int | None = None, kind: str | None = None) -> Model:
    """Draw a list that mostly has an archive, of some blocks: more runs than one by one."""
    granule = draw(granules()) if granule is None else granule
    limit = page_limit(granule)
    source = random.Random(draw(st.integers(0, 1 << 32)))  # noqa: S311 - a test
    bits = draw(st.integers(4, limit.bit_length() - 1))
    order = draw(st.sampled_from([0, 0, 3, 9]))
    longest = draw(st.sampled_from([1, 1, 8, 300, 5000]))
    drawn = []
    for _ in range(draw(st.integers(40, 300))):
        pfn = (source.randrange(1 << bits) << order) % limit
        count = source.randint(1, longest) << order
        drawn.append((pfn, min(count, limit - pfn)))
    name = draw(kinds() | st.just("user")) if kind is None else kind
    whole = model_of(drawn, granule, name)
    start = draw(st.integers(0, min(granule - 1, whole.length)))
    return whole.slice(start, whole.length - draw(st.integers(0, granule - 1)))


def any_models(*, granule: int | None = None, kind: str | None = None) -> st.SearchStrategy[Model]:
    """Draw a list that freezing leaves as it is, or one that it makes smaller."""
    short, long = models(granule=granule, kind=kind), long_models(granule=granule, kind=kind)
    return st.sampled_from([short, long, long, long]).flatmap(lambda strategy: strategy)


def patterned(nr_entries: int, long_every: int) -> list[Run]:
    """Return runs that take `nr_entries` words or one less; every so-many-th takes two words.

    No two touch. `long_every` 0 gives one-word entries only, 1 gives two-word entries only (and one
    of one word for `nr_entries` 1).
    """
    result: list[Run] = []
    words, pfn = 0, 1
    while words < nr_entries:
        long = bool(long_every) and len(result) % long_every == 0
        if long and words + 2 > nr_entries:
            if result:
                break
            long = False
        count = 4095 if long else 1 + len(result) % 3
        result.append((pfn, count))
        words += 2 if long else 1
        pfn += count + 1
        pfn += 1 - pfn % 2  # odd, so that a long run cannot take larger units
    return result


EDGES = Model(((0x5000, 0x1000), (0x1000, 0x3000), (0x20_0000, 0x20_0000)))


def positions(model: Model) -> st.SearchStrategy[int]:
    """Draw a position of a list that is not empty; chunk edges are likely."""
    last = model.length - 1
    edges = [
        min(max(model.position(number) + step, 0), last)
        for number in range(min(len(model.chunks()), 20))
        for step in (-1, 0, 1)
    ]
    return st.sampled_from([0, last, *edges]) | st.integers(0, last)


def cuts(model: Model) -> st.SearchStrategy[int]:
    """Draw a place to cut a list: from 0 to its length."""
    if not model.length:
        return st.just(0)
    return st.just(model.length) | positions(model)


def bounds(model: Model) -> st.SearchStrategy[int | None]:
    """Draw one bound of a Python slice: any integer, or nothing."""
    inside = cuts(model)
    negative = inside.map(lambda cut: cut - model.length)
    beyond = st.sampled_from([1 << 63, 1 << 64, 1 << 100]).flatmap(
        lambda far: st.sampled_from([far, -far])
    )
    return st.none() | inside | negative | beyond


@st.composite
def batches(draw: st.DrawFn, items: list[int]) -> list[list[int]]:
    """Draw a way to cut a sequence into consecutive batches, empty ones included."""
    at = sorted(draw(st.lists(st.integers(0, len(items)), max_size=6)))
    return [items[a:b] for a, b in zip([0, *at], [*at, len(items)], strict=True)]
