"""The allocator of I/O virtual addresses, against a set of the addresses in use."""

import tracemalloc
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import IovaSpaceError, RangeError
from phyr.iommu import IovaAllocator
from support.agree import names

if TYPE_CHECKING:
    from collections.abc import Callable

TOP = 2**64 - 1


def test_address_0_is_never_handed_out() -> None:
    assert IovaAllocator().alloc(0x1000, align=0x1000) == 0x1000
    assert IovaAllocator((0, 0xFF)).alloc(0xFF) == 1


def test_the_whole_space_but_its_first_byte_can_be_handed_out() -> None:
    iovas = IovaAllocator()
    assert iovas.alloc(TOP) == 1
    with pytest.raises(IovaSpaceError):
        iovas.alloc(1)


def test_reserved_ranges_may_touch_overlap_and_lie_outside() -> None:
    reserved = [(0x3000, 0x3FFF), (0, 0x10), (0x4000, 0x4FFF), (0x2800, 0x37FF), (0xF000, TOP)]
    iovas = IovaAllocator((0x1000, 0xFFFF), reserved)
    assert iovas.alloc(0x1800) == 0x1000
    assert iovas.alloc(0x1000) == 0x5000
    assert iovas.alloc(0x9000) == 0x6000
    with pytest.raises(IovaSpaceError) as caught:
        iovas.alloc(0x1000)
    names(caught.value, 0x1000, 0xFFFF)
    assert isinstance(caught.value, MemoryError)


class Disturbed(list[tuple[int, int, bool]]):
    """A list whose next readers find that something else is done first, as a collection would."""

    def __init__(self, items: list[tuple[int, int, bool]]) -> None:
        super().__init__(items)
        self.acts: list[Callable[[], object]] = []

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 - as list does
        if self.acts:
            self.acts.pop()()
        return super().__getitem__(index)


def test_windows_freed_in_the_midst_of_a_search_are_free_and_nothing_else() -> None:
    for turn in range(11):
        iovas = IovaAllocator((0x1000, 0xFFFF))
        taken = [iovas.alloc(0x1000) for _ in range(14)]
        disturbed = iovas._taken = Disturbed(iovas._taken)  # noqa: SLF001 - stands for the collector
        gone = taken[turn:][:3]
        # Three collections, some readings apart.
        for window in gone:
            disturbed.acts += [*[int] * turn, partial(iovas.free, window)]
        found = [iovas.alloc(0x1000)]
        iovas.free(taken[-1])
        while len(iovas) < 15:
            found.append(iovas.alloc(0x1000))
        assert sorted([*{*taken} - {*gone, taken[-1]}, *found]) == list(
            range(0x1000, 0x10000, 0x1000)
        )


def test_a_window_freed_in_the_midst_of_freeing_another_is_freed_as_well() -> None:
    for turn in range(6):
        iovas = IovaAllocator((0x1000, 0xFFFF))
        taken = [iovas.alloc(0x1000) for _ in range(15)]
        disturbed = iovas._taken = Disturbed(iovas._taken)  # noqa: SLF001 - stands for the collector
        disturbed.acts = [partial(iovas.free, taken[3]), *[int] * turn]
        iovas.free(taken[8])
        assert len(iovas) == 13 + bool(disturbed.acts)


def test_a_mask_is_a_limit_to_the_last_byte() -> None:
    iovas = IovaAllocator((0x1000, TOP))
    assert iovas.alloc(0x1000, last=0x1FFF) == 0x1000
    with pytest.raises(IovaSpaceError):
        iovas.alloc(0x1000, last=0x2FFE)
    assert iovas.alloc(0x1000, last=0x2FFF) == 0x2000


def test_windows_lie_where_large_pages_can_be_used() -> None:
    iovas = IovaAllocator((0x1000, TOP))
    assert iovas.alloc(4 << 20, align=2 << 20) == 2 << 20
    assert iovas.alloc(0x3000, align=1 << 30, residue=(1 << 30) - 0x1000) == (1 << 30) - 0x1000


def test_what_is_given_back_is_used_again() -> None:
    iovas = IovaAllocator((0x1000, 0x3FFF))
    windows = [iovas.alloc(0x1000) for _ in range(3)]
    assert len(iovas) == 3
    iovas.free(windows[1])
    assert iovas.alloc(0x1000) == windows[1]
    iovas.free(windows[0])
    iovas.free(windows[1])
    assert iovas.alloc(0x2000) == windows[0]


def test_what_lies_below_the_last_search_is_found_in_the_end() -> None:
    iovas = IovaAllocator((0x1000, 0x8FFF))
    low, *_ = [iovas.alloc(0x1000), iovas.alloc(0x4000, align=0x4000)]
    assert low == 0x1000
    assert iovas.alloc(0x1000) == 0x8000
    assert iovas.alloc(0x2000) == 0x2000


def test_only_a_window_can_be_given_back_and_only_once() -> None:
    iovas = IovaAllocator((0x1000, TOP), [(0x5000, 0x5FFF)])
    window = iovas.alloc(0x2000)
    for iova in (window + 0x1000, 0x5000, 0, -1, TOP + 1):
        with pytest.raises(RangeError):
            iovas.free(iova)
    iovas.free(window)
    with pytest.raises(RangeError) as caught:
        iovas.free(window)
    names(caught.value, window)


@pytest.mark.parametrize(
    ("length", "align", "residue"), [(0, 1, 0), (1, 0, 0), (1, 3, 0), (1, 4, 4)]
)
def test_nonsense_is_refused(length: int, align: int, residue: int) -> None:
    with pytest.raises(RangeError):
        IovaAllocator().alloc(length, align=align, residue=residue)


@pytest.mark.parametrize("pair", [(1, 0), (-1, 5), (0, TOP + 1)])
def test_a_range_that_is_none_is_refused(pair: tuple[int, int]) -> None:
    with pytest.raises(RangeError):
        IovaAllocator(pair)
    with pytest.raises(RangeError):
        IovaAllocator((0, TOP), [pair])


def test_giving_back_needs_no_memory() -> None:
    tracemalloc.start()
    try:
        iovas = IovaAllocator()
        # The program that measures coverage needs memory the first time.
        iovas.free(iovas.alloc(0x1000))
        windows = [iovas.alloc(0x1000, align=0x1000) for _ in range(2000)]
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for window in windows:
            iovas.free(window)
        # Nothing but the numbers at hand: lists and tables only shrink.
        assert tracemalloc.get_traced_memory()[1] - before < 1024
    finally:
        tracemalloc.stop()
    assert len(iovas) == 0


_STEPS = st.one_of(
    st.tuples(st.integers(1, 20), st.integers(0, 4), st.integers(0, 15), st.integers(5, 140)),
    st.integers(0, 30),
)


@given(
    st.tuples(st.integers(0, 20), st.integers(80, 127)),
    st.lists(st.tuples(st.integers(0, 127), st.integers(0, 9)), max_size=3),
    st.lists(_STEPS, max_size=40),
)
def test_every_window_is_free_aligned_and_inside_and_none_is_missed(
    aperture: tuple[int, int],
    reserved: list[tuple[int, int]],
    steps: list[tuple[int, int, int, int] | int],
) -> None:
    ranges = [(first, first + more) for first, more in reserved]
    iovas = IovaAllocator(aperture, ranges)
    usable = set(range(max(aperture[0], 1), aperture[1] + 1))
    for first, last in ranges:
        usable -= set(range(first, last + 1))
    windows: list[tuple[int, int]] = []
    for step in steps:
        if isinstance(step, int):
            if windows:
                start, length = windows.pop(step % len(windows))
                iovas.free(start)
                usable |= set(range(start, start + length))
            continue
        length, align_lg2, residue, last = step
        align = 1 << align_lg2
        residue %= align
        places = [
            start
            for start in range(residue, min(last, 127) + 2 - length, align)
            if usable.issuperset(range(start, start + length))
        ]
        try:
            start = iovas.alloc(length, align=align, residue=residue, last=last)
        except IovaSpaceError:
            assert places == []
        else:
            assert start in places
            usable -= set(range(start, start + length))
            windows.append((start, length))
    assert len(iovas) == len(windows)


@pytest.mark.parametrize("pgsize_bitmap", [0, 0x10000, 0x30000])
def test_where_no_page_is_below_the_alignment_the_least_is_tried(pgsize_bitmap: int) -> None:
    iovas = IovaAllocator((0x1000, 0xFFFF))

    def window(length: int) -> int:
        return iovas.alloc_for_pages(length, pgsize_bitmap, align=0x10000, least=0x1000, residue=0)

    assert window(0x2000) == 0x1000
    with pytest.raises(IovaSpaceError, match="no room for 0x10000 bytes at 0x0 modulo 0x1000"):
        window(0x10000)
    assert len(iovas) == 1
