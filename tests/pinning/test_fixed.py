"""Buffers at a user virtual address of the caller's choice."""

import gc
import mmap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import phyr
from phyr import MappedError, NoMemoryError, RangeError, _fixed
from phyr._phyr import Loan
from support.agree import names
from support.live import PAGE, linux
from support.pages import HUGE

pytestmark = linux

# Far from where the kernel puts anything by itself.
BASE = 0x2345_0000_0000

transparent = pytest.mark.skipif(
    "[never]" in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text(),
    reason="transparent huge pages are off",
)


def is_mapped(uaddr: int) -> bool:
    """Tell whether something is mapped at an address."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = line.split()[0].split("-")
        if int(start, 16) <= uaddr < int(end, 16):
            return True
    return False


@given(st.integers(0, 1 << 20), st.integers(1, 3 * PAGE), st.booleans())
def test_a_buffer_lies_where_it_is_asked_for(page: int, size: int, populate: bool) -> None:  # noqa: FBT001 - drawn
    uaddr = BASE + page * PAGE
    with phyr.alloc(size, uaddr=uaddr, populate=populate) as buffer:
        assert (buffer.uaddr, len(buffer), buffer.huge) == (uaddr, size, None)
        with memoryview(buffer) as view:
            assert bytes(view) == bytes(size)
            view[-1] = 7
        with Loan(buffer) as (start, length):
            assert (start, length) == (uaddr, size)
    assert not is_mapped(uaddr)


def test_it_is_unmapped_when_nothing_refers_to_it() -> None:
    buffer = phyr.alloc(PAGE, uaddr=BASE)
    view = memoryview(buffer)
    with pytest.raises(BufferError):
        buffer.close()
    del buffer
    gc.collect()
    assert is_mapped(BASE)
    del view
    gc.collect()
    assert not is_mapped(BASE)


def test_what_is_there_is_named_and_left_alone() -> None:
    with phyr.alloc(2 * PAGE, uaddr=BASE) as buffer:
        memoryview(buffer)[:4] = b"keep"
        for uaddr in (BASE, BASE + PAGE, BASE - PAGE):
            with pytest.raises(MappedError, match=f"memory is at {BASE:#x}") as caught:
                phyr.alloc(2 * PAGE, uaddr=uaddr)
            names(caught.value, uaddr, 2 * PAGE)
        assert bytes(memoryview(buffer)[:4]) == b"keep"
    (stack,) = [
        int(line.split("-")[1].split()[0], 16)
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith("[stack]")
    ]
    with pytest.raises(MappedError, match=r"\[stack\] is at"):
        phyr.alloc(PAGE, uaddr=stack - PAGE)


def test_what_went_meanwhile_is_not_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "maps").write_text("1000-2000 r--p 0 0:0 0 [other]\n")
    with phyr.alloc(PAGE, uaddr=BASE):
        monkeypatch.setattr(_fixed, "_PROC", tmp_path)
        with pytest.raises(MappedError, match="something was there"):
            phyr.alloc(PAGE, uaddr=BASE)


@pytest.mark.parametrize(
    "wishes",
    [
        {"uaddr": 0},
        {"uaddr": -PAGE},
        {"uaddr": BASE + 1},
        {"uaddr": BASE + PAGE, "align": 2 * PAGE},
        {"uaddr": (1 << 64) - PAGE},
        {"uaddr": 1 << 70},
    ],
)
def test_what_cannot_be_an_address_is_refused(wishes: dict[str, int]) -> None:
    with pytest.raises(RangeError) as caught:
        phyr.alloc(PAGE, **wishes)  # type: ignore[arg-type] # all are int
    names(caught.value, wishes["uaddr"])


def test_there_is_an_end_to_addresses() -> None:
    with pytest.raises(NoMemoryError) as caught:
        phyr.alloc(PAGE, uaddr=1 << 62)
    names(caught.value, 1 << 62)
    with pytest.raises(RangeError):
        _fixed.make_fixed(BASE, 0, 0)


def test_an_alignment_that_the_address_has_is_fine() -> None:
    with phyr.alloc(PAGE, uaddr=BASE, align=1 << 20) as buffer:
        assert buffer.uaddr == BASE


def test_it_is_unmapped_if_it_cannot_come_from_the_node() -> None:
    with pytest.raises(RangeError):
        phyr.alloc(PAGE, uaddr=BASE, node=1023)
    assert not is_mapped(BASE)


@transparent
def test_transparent_huge_pages_lie_at_a_multiple_of_their_size() -> None:
    with phyr.alloc(4 * HUGE, uaddr=BASE, huge="thp") as buffer:
        if buffer.huge is None:
            pytest.skip("this kernel made no huge pages")
        assert (buffer.uaddr, buffer.huge) == (BASE, "thp")
        assert 0 < buffer.huge_length <= 4 * HUGE
        # Right beside it: the kernel may make one area of both.
        with phyr.alloc(HUGE, uaddr=BASE + 4 * HUGE, huge="thp") as other:
            assert other.huge_length <= HUGE
        with phyr.alloc(HUGE, uaddr=BASE - HUGE, huge="thp", populate=False) as late:
            assert (late.huge, late.huge_length) == ("thp", 0)
    with pytest.warns(RuntimeWarning, match="got ordinary ones") as warned:
        small = phyr.alloc(HUGE, uaddr=BASE + PAGE, huge="thp")
    with small:
        assert small.huge is None
        assert "is inside a page of 2 MiB" in str(warned[0].message)


def test_where_there_is_no_reserve_it_falls_back_at_the_same_address() -> None:
    with pytest.warns(RuntimeWarning) as warned:
        buffer = phyr.alloc(PAGE, uaddr=BASE + PAGE, huge="1G")
    with buffer:
        assert buffer.uaddr == BASE + PAGE
        assert "is inside a page of 1024 MiB" in str(warned[0].message)


def test_closing_again_does_nothing() -> None:
    whole = _fixed.make_fixed(BASE, PAGE, 0)
    whole.madvise(mmap.MADV_NORMAL, 0, PAGE)
    whole.close()
    whole.close()
    assert not is_mapped(BASE)


@pytest.mark.parametrize("uaddr", [0, -4096, 5, 1 << 63, (1 << 64) - PAGE])
def test_an_address_at_which_nothing_can_start_is_told_with_those_that_can(uaddr: int) -> None:
    with pytest.raises(RangeError) as caught:
        phyr.alloc(2 * PAGE, uaddr=uaddr)
    assert f"cannot start at {uaddr:#x}: a multiple of {PAGE:#x}, from there to" in str(
        caught.value
    )
