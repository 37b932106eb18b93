"""The memory that two lists have in common, and the part of one in a range of addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import FrozenPhyr, MismatchError, Phyr, RangeError
from phyr.sim import scatter

PAGES = st.lists(st.integers(0, 40), max_size=120)


@given(PAGES, PAGES)
def test_the_pages_of_both_are_those_of_both_sets(one: list[int], other: list[int]) -> None:
    both = sorted(set(one) & set(other))
    a, b = Phyr.from_pfns(one), Phyr.from_pfns(other)
    for left in (a, a.freeze()):
        for right in (b, b.freeze()):
            assert left.overlap(right) == 4096 * len(both)
            found = left.intersect(right)
            assert found == Phyr.from_pfns(both)
            found.validate()


def test_long_lists_are_compared_in_either_form() -> None:
    phyr = scatter(8 << 20, seed=3)
    frozen = phyr[0x1800:].freeze()
    assert phyr.overlap(frozen) == frozen.overlap(phyr) == phyr.length - 0x1800
    assert phyr.intersect(frozen).length == phyr.length - 0x1800
    assert phyr.overlap(scatter(8 << 20, seed=4)) < phyr.length


@given(PAGES, st.integers(0, 45 << 12), st.integers(1, 9 << 12))
def test_the_bytes_within_a_range_are_found_in_order(
    pages: list[int], paddr: int, length: int
) -> None:
    phyr = Phyr.from_pfns(pages)
    expected = []
    for number, chunk in enumerate(phyr.chunks):
        first = max(chunk.paddr, paddr)
        end = min(chunk.paddr + chunk.length, paddr + length)
        if first < end:
            position = phyr.chunks.position(number) + first - chunk.paddr
            expected.append((position, (first, end - first)))
    for form in (phyr, phyr.freeze()):
        assert form.within(paddr, length) == expected
        assert all(form[position] == part.paddr for position, part in form.within(paddr, length))


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
    form: Phyr | FrozenPhyr
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
