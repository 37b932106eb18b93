"""A list knows what holds its memory and where that lies, and nothing else about it changes."""

import copy
import gc
import pickle
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import Phyr, RangeError, desc
from phyr._ownership import Owners
from phyr._phyr import held
from phyr.iommu import BusOffset, Direct, Direction, dma_map

BASE = 0x7F00_0000_0000
PLAIN = Phyr.from_pfns([7, 8, 3, 5], offset=0x123)


class Hold:
    """An owner that counts, and may refuse."""

    def __init__(self, method: str | None = "io_uring", *, refuse: bool = False) -> None:
        self.method = method
        self.refuse = refuse
        self.fail = False
        self.held = 0

    def hold(self) -> None:
        if self.refuse:
            raise RuntimeError("refused")
        self.held += 1

    def release(self) -> None:
        self.held -= 1
        if self.fail:
            raise RuntimeError("failed")


def test_lists_that_are_made_know_nothing() -> None:
    assert PLAIN.owner is None
    assert PLAIN.uaddr is None


def test_owner_and_address_are_no_part_of_the_value() -> None:
    other = held(PLAIN, Hold(), BASE)
    assert (other == PLAIN, hash(other) == hash(PLAIN)) == (True, True)
    assert repr(other) == repr(PLAIN)
    back = pickle.loads(pickle.dumps(other))  # noqa: S301 - our own bytes
    assert back == other
    assert (back.owner, back.uaddr) == (None, None)
    assert PLAIN.owner is None


def test_copies_keep_them() -> None:
    list_ = held(PLAIN, Hold(), BASE)
    for each in (copy.copy(list_), copy.deepcopy(list_), list_.compact(), list_[:]):
        assert each.owner is list_.owner
        assert each.uaddr == BASE


@given(st.integers(0, 4 * 4096), st.integers(0, 4 * 4096))
def test_a_slice_is_where_its_bytes_are(start: int, end: int) -> None:
    owner = Hold()
    list_ = held(PLAIN, owner, BASE)
    part = list_[start:end]
    assert part == PLAIN[start:end]
    assert part.owner is owner
    if part:
        assert part.uaddr == BASE + start
    before, after = list_.split(min(start, len(list_)))
    assert (before.owner, after.owner) == (owner, owner)
    assert (before.uaddr, after.uaddr) == (BASE, BASE + len(before))
    assert (before + after).uaddr == BASE
    assert (before + after).owner is owner


def test_parts_of_desc_split_are_where_their_bytes_are() -> None:
    owner = Hold()
    parts = desc.split(held(PLAIN, owner, BASE), [0x10, 0, 0x1000], start=0x20)
    assert [part.uaddr for part in parts] == [BASE + 0x20, BASE + 0x30]
    assert all(part.owner is owner for part in parts)


def test_an_address_may_be_the_last_but_the_list_may_not_pass_it() -> None:
    top = (1 << 64) - len(PLAIN)
    list_ = held(PLAIN, None, top)
    assert list_[-1:].uaddr == (1 << 64) - 1
    assert list_[len(PLAIN) :].uaddr is None
    assert (list_[:5] + list_[5:]).uaddr == top
    assert held(PLAIN[:0], None, (1 << 64) - 1).uaddr == (1 << 64) - 1
    with pytest.raises(RangeError, match=r"0xffff\w*\+0x3edd pass 2\^64") as caught:
        held(PLAIN, None, top + 1)
    assert (caught.value.uaddr, caught.value.length) == (top + 1, len(PLAIN))
    with pytest.raises(RangeError):
        held(PLAIN, None, -1)


# Joining

PAGE = Phyr.from_pfns([9])


def test_lists_of_one_owner_that_follow_each_other_keep_the_address() -> None:
    owner = Hold()
    joined = held(PAGE, owner, BASE) + held(PAGE, owner, BASE + 4096)
    assert joined.owner is owner
    assert joined.uaddr == BASE


@pytest.mark.parametrize("uaddr", [BASE + 1, BASE + 8192, None])
def test_lists_of_one_owner_that_do_not_follow_lose_the_address(uaddr: int | None) -> None:
    owner = Hold()
    for left, right in ((BASE, uaddr), (uaddr, BASE + 4096)):
        joined = held(PAGE, owner, left) + held(PAGE, owner, right)
        assert joined.owner is owner
        assert joined.uaddr is None


def test_lists_of_two_owners_keep_both_and_no_address() -> None:
    left, right = Hold(), Hold("vfio")
    joined = held(PAGE, left, BASE) + held(PAGE, right, BASE + 4096)
    assert joined.uaddr is None
    assert isinstance(joined.owner, Owners)
    assert joined.owner.parts == (left, right)
    again = joined + joined[:10] + held(PAGE, left, BASE)[10:]
    assert isinstance(again.owner, Owners)
    assert again.owner.parts == (left, right)
    assert "Hold" in repr(again.owner)


def test_an_empty_part_brings_no_owner() -> None:
    owner = Hold()
    nothing, page = held(PAGE, Hold(), 1)[:0], held(PAGE, owner, BASE)
    for joined in (nothing + page, page + nothing, page[:0] + page):
        assert joined.owner is owner
        assert joined.uaddr == BASE
    assert (PLAIN[:0] + PLAIN).owner is None


@pytest.mark.parametrize(
    ("left", "right", "method"),
    [
        ("io_uring", "vfio", "io_uring"),
        ("io_uring", "mlock", "mlock"),
        ("mlock", "iommufd", "mlock"),
        ("iommufd", "hope", "hope"),
        ("mlock", "hope", "mlock"),
        ("mlock", None, None),
        (None, "vfio", None),
    ],
)
def test_joined_lists_are_held_as_their_least_held_part(
    left: str | None, right: str | None, method: str | None
) -> None:
    assert Owners([Hold(left), Hold(right)]).method == method
    assert Owners([Hold("vfio"), None]).method is None


# Mapping


@pytest.mark.parametrize("backend", [Direct(), BusOffset(1 << 40)])
def test_a_mapping_holds_the_owner_of_its_list(backend: Direct | BusOffset) -> None:
    owner = Hold()
    with dma_map(held(PLAIN, owner, BASE)[1:], backend, Direction.TO_DEVICE) as mapping:
        assert mapping.owner is owner
        assert owner.held == 1
    assert owner.held == 0


def test_a_mapping_with_an_owner_of_its_own_holds_that_one_too() -> None:
    owner, other = Hold(), Hold("mlock")
    list_ = held(PLAIN, owner, BASE)
    with dma_map(list_, Direct(), Direction.TO_DEVICE, owner=other) as mapping:
        assert isinstance(mapping.owner, Owners)
        assert mapping.owner.parts == (owner, other)
        assert (owner.held, other.held) == (1, 1)
    assert (owner.held, other.held) == (0, 0)
    for refuses in (owner, other):
        refuses.refuse = True
        with pytest.raises(RuntimeError, match="refused"):
            dma_map(list_, Direct(), Direction.TO_DEVICE, owner=other)
        assert (owner.held, other.held) == (0, 0)
        refuses.refuse = False


def test_a_mapping_holds_an_owner_once_that_is_given_again() -> None:
    owner, other = Hold(), Hold()
    list_ = held(PAGE, owner, BASE)
    with dma_map(list_, Direct(), Direction.TO_DEVICE, owner=owner) as mapping:
        assert mapping.owner is owner
        assert owner.held == 1
    both = (list_ + held(PAGE, other, None)).owner
    with dma_map(list_, Direct(), Direction.TO_DEVICE, owner=both):
        assert (owner.held, other.held) == (1, 1)
    with dma_map(PAGE, Direct(), Direction.TO_DEVICE, owner=other) as mapping:
        assert mapping.owner is other
        assert other.held == 1
    assert (owner.held, other.held) == (0, 0)


def test_a_mapping_of_a_joined_list_holds_all_owners_or_none() -> None:
    left, right = Hold(), Hold()
    joined = held(PAGE, left, None) + PAGE + held(PAGE, right, None)
    with dma_map(joined, Direct(), Direction.TO_DEVICE):
        assert (left.held, right.held) == (1, 1)
    assert (left.held, right.held) == (0, 0)
    right.refuse = True
    with pytest.raises(RuntimeError, match="refused"):
        dma_map(joined, Direct(), Direction.TO_DEVICE)
    assert (left.held, right.held) == (0, 0)


@pytest.mark.parametrize("failing", [{0}, {1}, {2}, {0, 2}, {0, 1, 2}])
def test_an_owner_that_fails_to_let_go_keeps_no_other_held(failing: set[int]) -> None:
    owners = [Hold(), Hold(), Hold()]
    joined = sum((held(PAGE, owner, None) for owner in owners[1:]), held(PAGE, owners[0], None))
    mapping = dma_map(joined, Direct(), Direction.TO_DEVICE)
    for number in failing:
        owners[number].fail = True
    with pytest.raises(RuntimeError, match="failed"):
        mapping.unmap()
    assert mapping.unmapped
    assert [owner.held for owner in owners] == [0, 0, 0]


def test_the_owner_lives_as_long_as_a_slice_a_copy_or_a_mapping() -> None:
    owner = Hold()
    there = weakref.ref(owner)
    whole = held(PLAIN, owner, BASE)
    kept: list[object] = [whole[5:6], whole.compact(), whole + PAGE[:0]]
    kept.append(dma_map(whole[7:], Direct(), Direction.TO_DEVICE))
    del owner, whole
    while kept:
        gc.collect()
        assert there() is not None
        last = kept.pop()
        if hasattr(last, "unmap"):
            last.unmap()
        del last
    gc.collect()
    assert there() is None


# Constructors


@pytest.mark.parametrize("make", [Phyr.from_pfns, Phyr.from_pages, Phyr.from_chunks])
def test_an_unknown_keyword_is_refused_by_name(make: object) -> None:
    with pytest.raises(TypeError, match="'granul': unexpected keyword"):
        make([], granul=4096)  # type: ignore[operator]
    with pytest.raises(TypeError, match="'kind'"):
        make([], kind=7)  # type: ignore[operator]
