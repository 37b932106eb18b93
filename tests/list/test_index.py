"""From an address to the lists that hold it, against a walk over all their pieces."""

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import FrozenPhyr, Holder, Index, MismatchError, Phyr, RangeError
from support.agree import built
from support.model import Model
from support.strategies import cuts


@st.composite
def crowds(draw: st.DrawFn) -> list[Model]:
    """Draw lists in so little memory that much of it is in several places."""
    run = st.tuples(st.integers(0, 400), st.integers(1, 60))
    models = []
    for runs in draw(st.lists(st.lists(run, max_size=30), max_size=4)):
        whole = Model.of_pages(pfn + step for pfn, count in runs for step in range(count))
        a, b = sorted(draw(st.tuples(cuts(whole), cuts(whole))))
        models.append(whole.slice(a, b))
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


@given(crowds(), st.integers(0, 480 << 12), st.integers(1, 1 << 20))
def test_every_place_is_found(models: list[Model], paddr: int, length: int) -> None:
    lists: list[Phyr | FrozenPhyr] = [
        built(model).freeze() if number % 2 else built(model) for number, model in enumerate(models)
    ]
    index = Index(lists)
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
