"""From an address to the lists that hold it, against a walk over all their pieces."""

import random
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import FrozenPhyr, Holder, Index, MismatchError, Phyr, RangeError
from support.agree import built
from support.archives import archives_of
from support.model import Model
from support.strategies import cuts, granules, kinds, model_of


@st.composite
def crowds(draw: st.DrawFn) -> list[Model]:
    """Draw lists, short and long, in so little memory that much of it is in several places."""
    granule, kind = draw(granules()), draw(kinds())
    run = st.tuples(st.integers(0, 400), st.integers(1, 60))
    models = []
    for _ in range(draw(st.sampled_from([0, 1, 2, 3, 4]))):
        if draw(st.sampled_from([True, False, False])):
            runs = draw(st.lists(run, max_size=30))
        else:
            source = random.Random(draw(st.integers(0, 1 << 32)))  # noqa: S311 - a test
            longest = draw(st.sampled_from([1, 3, 60]))
            runs = [(source.randrange(400), source.randint(1, longest)) for _ in range(200)]
        model = model_of(runs, granule, kind)
        if draw(st.sampled_from([True, False])):
            a, b = sorted(draw(st.tuples(cuts(model), cuts(model))))
            model = model.slice(a, b)
        models.append(model)
    return models


def walk(models: list[Model], paddr: int, length: int) -> list[Holder]:
    """Return what a walk over all chunks finds."""
    found = []
    for number, model in enumerate(models):
        at = 0
        for start, size in model.chunks():
            first, end = max(start, paddr), min(start + size, paddr + length)
            if first < end:
                found.append(Holder(first, end - first, number, at + first - start))
            at += size
    return sorted(found, key=lambda place: (place.paddr, place.list, place.position))


def listed(models: list[Model]) -> list[Phyr | FrozenPhyr]:
    """Return lists, of which every second is frozen."""
    return [
        built(model) if number % 2 else built(model).freeze() for number, model in enumerate(models)
    ]


def test_many_of_the_crowds_have_archives() -> None:
    def frozen(models: list[Model]) -> list[FrozenPhyr]:
        return [form for form in listed(models) if isinstance(form, FrozenPhyr)]

    assert archives_of(crowds(), frozen) >= 0.25


@given(crowds(), st.integers(0, 480 << 12), st.integers(1, 1 << 20))
def test_every_place_is_found(models: list[Model], paddr: int, length: int) -> None:
    lists = listed(models)
    index = Index(lists)
    granule = models[0].granule if models else 4096
    # The range in proportion to the memory.
    paddr, length = paddr * granule >> 12, max(length * granule >> 12, 1)
    assert index.find(paddr, length) == walk(models, paddr, length)
    assert index.find(paddr) == walk(models, paddr, 1)
    for place in index.find(paddr):
        assert lists[place.list][place.position] == paddr
    assert index.find(0, (1 << 64) - 1) == walk(models, 0, 1 << 64)
    assert index.lists == tuple(lists)
    assert len(index) == len(lists)


def test_places_of_one_address_come_by_list_and_position_however_long_they_are() -> None:
    index = Index(
        [Phyr.from_chunks([(0x5000, 0x3000), (0x5000, 0x1000)]), Phyr.from_pfns([5, 6])],
    )
    places = [(place.paddr, place.list, place.position) for place in index.find(0x5800, 0x800)]
    assert places == [(0x5800, 0, 0x800), (0x5800, 0, 0x3800), (0x5800, 1, 0x800)]
    places = [(place.paddr, place.list, place.position) for place in index.find(0x5800, 0x1000)]
    assert places == [(0x5800, 0, 0x800), (0x5800, 0, 0x3800), (0x5800, 1, 0x800)]


def test_what_is_no_list_is_refused() -> None:
    one = Phyr.from_pfns([1])
    with pytest.raises(MismatchError):
        Index([one, Phyr.from_pfns([1], granule=512)])
    with pytest.raises(MismatchError):
        Index([one, Phyr.from_pfns([1], kind="mmio")])
    others: list[Any] = [[one, 3], 3, [b"x"]]
    for other in others:
        with pytest.raises(TypeError):
            Index(other)
    with pytest.raises(RangeError, match="0x1000"):
        Index([one]).find(0x1000, 0)
    with pytest.raises(RangeError, match="0x2"):
        Index([one]).find((1 << 64) - 1, 2)
    with pytest.raises(RangeError):
        Index([one]).find(-1)
    assert Index([]).find(5) == []


def test_the_way_back_takes_little_memory() -> None:
    phyr = Phyr.from_pfns(i * 2654435761 % (1 << 28) for i in range(20_000))
    index = Index([phyr])
    # Four bytes for each chunk, and four more for the way back.
    assert sys.getsizeof(index) < 8.5 * len(phyr.chunks)
    assert index.find(phyr[0x4000123]) == [Holder(phyr[0x4000123], 1, 0, 0x4000123)]
