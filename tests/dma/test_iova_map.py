"""`IovaMap` against a dictionary of pages, step by step."""

import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import MappedError, Phyr, RangeError
from phyr._phyr import held
from phyr.iommu import IovaMap, Prot

PAGE = 4096
TOP = 1 << 52

PAGES = st.integers(0, 40) | st.integers(TOP - 40, TOP - 1)
MAP = st.tuples(st.just("map"), PAGES, st.lists(st.integers(0, 30), max_size=10))
UNMAP = st.tuples(st.just("unmap"), PAGES, st.integers(0, 25))


def pages_of(ranges: list[tuple[int, Phyr, object]]) -> dict[int, tuple[int, object]]:
    """Return each page of some ranges, its physical page and its tag."""
    found = {}
    for iova, phyr, tag in ranges:
        for at in range(0, phyr.length, PAGE):
            assert (iova + at) // PAGE not in found
            found[(iova + at) // PAGE] = (phyr[at] // PAGE, tag)
    return found


@given(st.lists(MAP | UNMAP, max_size=25))
def test_every_step_does_what_it_does_to_a_dictionary_of_pages(
    steps: list[tuple[str, int, list[int] | int]],
) -> None:
    iovas = IovaMap()
    model: dict[int, tuple[int, object]] = {}
    for number, (_, page, what) in enumerate(steps):
        if isinstance(what, list):
            phyr = Phyr.from_pfns(what)
            wanted = range(page, page + len(what))
            if wanted.stop > TOP:
                with pytest.raises(RangeError):
                    iovas.map(page * PAGE, phyr, number)
            elif taken := [at for at in wanted if at in model]:
                with pytest.raises(MappedError) as caught:
                    iovas.map(page * PAGE, phyr, number)
                assert vars(caught.value) == {
                    "iova": page * PAGE,
                    "length": phyr.length,
                    "first": taken[0] * PAGE,
                }
            else:
                iovas.map(page * PAGE, phyr, number)
                model |= {at: (pfn, number) for at, pfn in zip(wanted, what, strict=True)}
        else:
            inside = {at: to for at, to in model.items() if page <= at < page + what}
            assert pages_of(iovas.ranges(page * PAGE, what * PAGE)) == inside
            before = pages_of(iovas.ranges(page * PAGE))
            assert before == {at: to for at, to in model.items() if at >= page}
            whole = iovas.is_whole(page * PAGE, what * PAGE)
            areas = len(iovas)
            assert iovas.unmap(page * PAGE, what * PAGE) == len(inside) * PAGE
            assert not whole or len(iovas) <= areas
            for at in inside:
                del model[at]
        assert pages_of(iovas.ranges()) == model
        for at in (*range(60), *range(TOP - 45, TOP)):
            expected = model[at][0] * PAGE + 5 if at in model else None
            assert iovas.translate(at * PAGE + 5) == expected


def test_what_would_split_an_area_is_told() -> None:
    iovas = IovaMap()
    iovas.map(PAGE, Phyr.from_pfns([5, 9, 7]), Prot.READ)
    assert iovas.is_whole(PAGE, 3 * PAGE)
    assert iovas.is_whole(0, 1 << 40)
    assert not iovas.is_whole(PAGE, 2 * PAGE)
    assert not iovas.is_whole(2 * PAGE, 2 * PAGE)
    assert iovas.unmap(2 * PAGE, PAGE) == PAGE
    assert repr(iovas) == "IovaMap(2 areas)"
    assert [tag for _, _, tag in iovas.ranges()] == [Prot.READ, Prot.READ]
    assert iovas.unmap(0, 2 * PAGE) == PAGE
    assert repr(iovas) == "IovaMap(1 area)"


class Owner:
    """Something that holds memory, and unmaps when it goes."""

    def __init__(self, iovas: IovaMap) -> None:
        self.iovas = iovas

    def __del__(self) -> None:
        self.iovas.unmap(0, 1 << 40)


def test_a_map_keeps_the_owner_and_parts_of_it_do_until_the_last_is_unmapped() -> None:
    iovas, other = IovaMap(), IovaMap()
    other.map(0, Phyr.from_pfns([1]))
    owner = Owner(other)
    alive = weakref.ref(owner)
    iovas.map(PAGE, held(Phyr.from_pfns([5, 9, 7]), owner, 0x7F00_0000_0000))  # type: ignore[arg-type] # no Owner
    del owner
    assert iovas.unmap(2 * PAGE, PAGE) == PAGE
    ((_, first, _), (_, second, _)) = iovas.ranges()
    assert first.owner is second.owner
    assert alive() is not None
    assert second.uaddr == 0x7F00_0000_0000 + 2 * PAGE
    del first, second
    iovas.unmap(0, 2 * PAGE)
    assert alive() is not None
    assert len(other) == 1
    iovas.unmap(0, 1 << 40)
    gc.collect()
    assert alive() is None
    assert len(other) == 0


def test_an_owner_that_goes_may_unmap_from_the_same_map() -> None:
    iovas = IovaMap()
    iovas.map(1 << 20, held(Phyr.from_pfns([5]), Owner(iovas), None))  # type: ignore[arg-type] # no Owner
    assert iovas.unmap(1 << 20, PAGE) == PAGE


def test_a_whole_area_is_the_very_list_that_was_mapped() -> None:
    iovas, phyr = IovaMap(), Phyr.from_pfns([5, 9])
    iovas.map(0, phyr)
    assert iovas.ranges()[0][1] is phyr
    assert iovas.ranges(PAGE)[0][1] == phyr[PAGE:]


@pytest.mark.parametrize("number", [-1, 1 << 64])
def test_what_is_no_address_is_refused(number: int) -> None:
    iovas = IovaMap()
    for call in (iovas.translate, iovas.ranges):
        with pytest.raises(RangeError):
            call(number)
    with pytest.raises(TypeError):
        iovas.map(0, [5])  # type: ignore[arg-type]


def test_clear_reaches_the_last_address() -> None:
    iovas: IovaMap[Phyr] = IovaMap()
    iovas.map((1 << 64) - 4096, Phyr.from_pfns([1]))
    iovas.map(0, Phyr.from_pfns([2]))
    assert iovas.unmap(0, (1 << 64) - 1) == 8191
    assert iovas.translate((1 << 64) - 1) == 0x1FFF
    iovas.clear()
    assert (len(iovas), iovas.translate((1 << 64) - 1), iovas.ranges()) == (0, None, [])
