"""The memory that two lists have in common, and the part of one in a range of addresses."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import FrozenPhyr, MismatchError, Phyr, RangeError
from phyr.sim import scatter
from support.agree import built
from support.archives import archives_of
from support.model import Model
from support.strategies import cuts, granules, kinds

List = Phyr | FrozenPhyr


@st.composite
def pages(draw: st.DrawFn) -> list[int]:
    """Draw page numbers, few or many, in so little memory that two lists share some."""
    if draw(st.sampled_from([True, False, False])):
        return draw(st.lists(st.integers(0, 40), max_size=120))
    source = random.Random(draw(st.integers(0, 1 << 32)))  # noqa: S311 - a test
    places = draw(st.sampled_from([40, 300, 5000]))
    return [source.randrange(places) for _ in range(draw(st.integers(150, 500)))]


def forms(model: Model) -> list[List]:
    """Return a list, the frozen one, and the part of a frozen list that is it."""
    page = Model.of_pages([1 << 20], model.granule, model.kind)
    part = built(page + model).freeze()[page.length :]
    return [built(model), built(model).freeze(), part]


def test_many_of_the_lists_are_archives() -> None:
    assert archives_of(pages(), lambda drawn: [Phyr.from_pfns(drawn).freeze()]) >= 0.25


@given(pages(), pages(), granules(), kinds())
def test_the_pages_of_both_are_those_of_both_sets(
    one: list[int], other: list[int], granule: int, kind: str
) -> None:
    both = sorted(set(one) & set(other))
    expected = Phyr.from_pfns(both, granule=granule, kind=kind)
    others = forms(Model.of_pages(other, granule, kind))
    for left in forms(Model.of_pages(one, granule, kind)):
        for right in others:
            assert left.overlap(right) == granule * len(both)
            found = left.intersect(right)
            assert found == expected
            found.validate()


def test_long_lists_are_compared_in_either_form() -> None:
    phyr = scatter(8 << 20, seed=3)
    frozen = phyr[0x1800:].freeze()
    assert phyr.overlap(frozen) == frozen.overlap(phyr) == phyr.length - 0x1800
    assert phyr.intersect(frozen).length == phyr.length - 0x1800
    assert phyr.overlap(scatter(8 << 20, seed=4)) < phyr.length


@given(pages(), granules(), st.data())
def test_the_bytes_within_a_range_are_found_in_order(
    drawn: list[int], granule: int, data: st.DataObject
) -> None:
    whole = Model.of_pages(drawn, granule)
    start, end = sorted(data.draw(st.tuples(cuts(whole), cuts(whole))))
    model = whole.slice(start, end)
    paddr = data.draw(st.integers(0, 45 * granule))
    length = data.draw(st.integers(1, 9 * granule) | st.just(6000 * granule))
    expected, position = [], 0
    for at, size in model.chunks():
        first, stop = max(at, paddr), min(at + size, paddr + length)
        if first < stop:
            expected.append((position + first - at, (first, stop - first)))
        position += size
    cut = [form[start:end] for form in forms(whole)]
    for form in (built(model).freeze(), *cut):
        assert form.within(paddr, length) == expected
        assert all(form[position] == part[0] for position, part in expected)


def test_a_range_of_one_byte_is_the_default() -> None:
    [(position, chunk)] = Phyr.from_pfns([3, 7]).within(0x7123)
    assert (position, chunk.paddr, chunk.length) == (0x1123, 0x7123, 1)


@pytest.mark.parametrize(("paddr", "length"), [(0, 0), (2, 2**64 - 1)])
def test_a_range_has_bytes_and_ends(paddr: int, length: int) -> None:
    phyr = scatter(1 << 20)
    for form in (phyr, phyr.freeze()):
        with pytest.raises(RangeError, match=f"range {paddr:#x}\\+{length:#x} is empty or passes"):
            form.within(paddr, length)


def test_lists_of_other_granules_and_kinds_are_refused() -> None:
    phyr = scatter(1 << 20)
    form: List
    for form in (phyr, phyr.freeze()):
        for other in (Phyr.from_pfns([1], granule=512), Phyr.from_pfns([1], kind="mmio")):
            with pytest.raises(MismatchError):
                form.overlap(other)
            with pytest.raises(MismatchError):
                form.intersect(other.freeze())
        for what in (None, [(0, 4096)]):
            with pytest.raises(TypeError, match="is not a list of memory"):
                form.overlap(what)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="is not a list of memory"):
                form.intersect(what)  # type: ignore[arg-type]
