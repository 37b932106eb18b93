"""Pinned pages stay where they are, and `moved` says if they did not."""

import errno
import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

import phyr
from phyr.pinning.pinned import _first_difference
from support.live import PAGE, shown, uring
from support.pages import HUGE, frames, private, where
from support.pins import FakeBackend

pytest_plugins = ["support.pins"]
pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")

MADV_COLLAPSE = 25


@shown
@uring
@pytest.mark.parametrize("method", ["mlock", "io_uring"])
def test_making_huge_pages_moves_locked_pages_and_no_pinned_ones(method: str) -> None:
    area = private(8 << 20)
    area[:] = bytes(len(area))
    uaddr, _ = where(area)
    inside = -uaddr % HUGE
    with memoryview(area)[inside : inside + 2 * HUGE] as view, phyr.pin(view, method=method) as pin:
        before = frames(uaddr + inside, 2 * HUGE)
        area.madvise(mmap.MADV_HUGEPAGE)
        refusal = None
        try:
            area.madvise(MADV_COLLAPSE, inside, 2 * HUGE)
        except OSError as error:
            refusal = error.errno
        if refusal == errno.EINVAL:
            pytest.skip("this kernel knows no MADV_COLLAPSE (Linux 6.1), or no huge pages")
        if refusal == errno.ENOMEM:
            pytest.skip("no huge page is left to collapse into")
        after = frames(uaddr + inside, 2 * HUGE)
        moved = [number for number, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
        if method == "mlock":
            assert refusal is None
            assert len(moved) > 500
            assert pin.moved() == moved[0] * PAGE
        else:
            assert refusal is not None
            assert moved == []
            assert pin.moved() is None


@shown
def test_moved_tells_the_first_byte_that_moved() -> None:
    area = private(8 * PAGE)
    area[:] = b"a" * len(area)
    with phyr.pin(memoryview(area)[100:], backend=FakeBackend()) as pinned:
        assert pinned.moved() is None
        area.madvise(mmap.MADV_DONTNEED, 5 * PAGE, PAGE)
        assert pinned.moved() == 5 * PAGE - 100
        was = pinned.phyr[5 * PAGE]
        kept = [private(PAGE) for _ in range(4)]
        for each in kept:
            each[0] = 1  # takes the freed page, so that another comes
        area[5 * PAGE] = 1
        now = frames(where(area)[0] + 5 * PAGE, 1)[0] * PAGE + 100
        assert pinned.moved() == (None if now == was else 5 * PAGE - 100)
        area.madvise(mmap.MADV_DONTNEED, 0, PAGE)
        assert pinned.moved() == 0


@given(st.data())
def test_the_first_difference_of_two_lists_is_what_the_bytes_say(data: st.DataObject) -> None:
    pages = st.lists(st.integers(0, 5), min_size=1, max_size=8)
    was = data.draw(pages)
    now = data.draw(st.lists(st.integers(0, 5), min_size=len(was), max_size=len(was)))
    common = data.draw(st.integers(0, len(was)))
    now[:common] = was[:common]
    offset = data.draw(st.integers(0, PAGE - 1))
    one, other = (phyr.Phyr.from_pfns(each, offset=offset) for each in (was, now))
    if one == other:
        return
    number = next(at for at, (a, b) in enumerate(zip(was, now, strict=True)) if a != b)
    assert _first_difference(one, other) == max(number * 4096 - offset, 0)
