"""The objects that a loop over chunks returns: one that nobody kept may come again, unseen."""

import gc
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import Chunk, Phyr

NR_CHUNKS = 1000
PHYR = Phyr.from_chunks(
    (0x1000_0000 * (number % 7) + 0x3000 * number, 0x1000 * (number % 2 + 1))
    for number in range(NR_CHUNKS)
)
EXPECTED = list(zip(PHYR.chunks.paddrs, PHYR.chunks.lengths, strict=True))


class Form(NamedTuple):
    """A way to go over the chunks, and what it finds."""

    walk: Iterator[Chunk]
    expected: list[tuple[int, int]]


def forms() -> list[Form]:
    """Return new iterators of both forms of a list, both ways."""
    sequences = [PHYR.chunks, PHYR.freeze().chunks]
    return [
        form
        for chunks in sequences
        for form in (Form(iter(chunks), EXPECTED), Form(reversed(chunks), EXPECTED[::-1]))
    ]


def test_chunks_that_are_taken_apart_at_once_are_those_of_the_columns() -> None:
    for walk, expected in forms():
        assert [(paddr, length) for paddr, length in walk] == expected


@given(st.sets(st.integers(0, NR_CHUNKS - 1)))
def test_a_chunk_that_is_kept_stays_as_it_is(numbers: set[int]) -> None:
    for walk, expected in forms():
        kept = {}
        for number in range(NR_CHUNKS):
            chunk = next(walk)
            if number in numbers:
                kept[number] = chunk
            paddr, length = chunk
            assert (paddr, length) == expected[number]
            # Nobody has it any more when the next one is asked for, unless it was kept.
            del chunk
        assert kept == {number: expected[number] for number in numbers}
        assert len(set(map(id, kept.values()))) == len(numbers)


def test_a_chunk_that_comes_again_has_a_class_and_a_hash_as_any_other() -> None:
    for walk, expected in forms():
        hashes = []
        while (chunk := next(walk, None)) is not None:
            assert type(chunk) is Chunk
            hashes.append(hash(chunk))
            del chunk
        assert hashes == list(map(hash, expected))


def test_pairs_of_one_iterator_are_two_objects() -> None:
    for walk, expected in forms():
        pairs = list(zip(walk, walk, strict=True))
        assert [chunk for pair in pairs for chunk in pair] == expected


def test_the_last_chunk_outlives_its_iterator() -> None:
    for walk, expected in forms():
        for _ in range(NR_CHUNKS - 1):
            next(walk)
        last = next(walk)
        assert next(walk, None) is None
        del walk
        assert last == expected[-1]


@pytest.fixture
def _often() -> Iterator[None]:
    """Collect garbage at every chance."""
    before = gc.get_threshold()
    gc.set_threshold(1)
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("_often")
def test_a_collection_may_use_the_iterator_that_it_interrupts() -> None:
    for walk, expected in forms():
        found: list[int] = []

        def take(phase: str, _info: dict[str, int], walk: Iterator[Chunk] = walk) -> None:
            if phase == "start":
                found.extend(next(walk, ()))  # noqa: B023 - called in this turn only

        gc.callbacks.append(take)
        try:
            for paddr, length in walk:
                found.extend((paddr, length))
        finally:
            gc.callbacks.remove(take)
        pairs = list(zip(found[::2], found[1::2], strict=True))
        assert sorted(pairs) == sorted(expected)
