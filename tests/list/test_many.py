"""Many lists as one, many positions at once, many blocks: each as one by one."""

import array
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import (
    AlignmentError,
    ArrayError,
    ArrayTypeError,
    Builder,
    MismatchError,
    Phyr,
    PositionError,
)
from phyr._ownership import Owners
from phyr._phyr import held
from support.agree import agree, built
from support.model import Model
from support.strategies import cuts, models, positions

BASE = 0x7F00_0000_0000
TWO = Phyr.from_pfns([7, 3])


# Joining


@given(models(), st.data())
def test_parts_of_a_list_join_to_the_list(model: Model, data: st.DataObject) -> None:
    phyr = built(model)
    ends = sorted(data.draw(st.lists(cuts(model), max_size=6)))
    bounds = list(zip([0, *ends], [*ends, model.length], strict=True))
    joined = Phyr.join(phyr[start:end] for start, end in bounds)
    agree(joined, model)
    added = phyr[:0]
    for start, end in bounds:
        added += phyr[start:end]
    assert joined == added


def test_the_first_list_says_granule_and_kind() -> None:
    first = Phyr.from_pfns([], granule=512, kind="mmio:3")
    assert Phyr.join([first, first]) == first
    assert Phyr.join([]) == Phyr.from_pfns([])
    with pytest.raises(MismatchError, match="512"):
        Phyr.join([first, Phyr.from_pfns([1], kind="mmio:3")])


def test_a_joint_inside_a_granule_is_named() -> None:
    with pytest.raises(AlignmentError) as caught:
        Phyr.join([TWO, TWO[:0x1800], TWO])
    assert caught.value.position == 0x3800


@pytest.mark.parametrize("lists", [7, None, [TWO, 7], TWO, ["p"]])
def test_only_lists_join(lists: object) -> None:
    with pytest.raises((ArrayTypeError, TypeError)):
        Phyr.join(lists)  # type: ignore[arg-type]


def test_what_the_iterable_raises_comes_through() -> None:
    def lists() -> Iterator[Phyr]:
        yield TWO
        raise KeyError

    with pytest.raises(KeyError):
        Phyr.join(lists())

    class Broken:
        def __iter__(self) -> Iterator[Phyr]:
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - the one raised above
        Phyr.join(Broken())


def test_joined_lists_keep_all_owners_and_a_common_address() -> None:
    one, other = cast("Any", object()), cast("Any", object())
    parts = [held(TWO, one, BASE + 0x2000 * number) for number in range(3)]
    joined = Phyr.join([TWO[:0], *parts, TWO[:0]])
    assert joined.owner is one
    assert joined.uaddr == BASE
    assert Phyr.join(reversed(parts)).uaddr is None
    mixed = Phyr.join([*parts, held(TWO, other, BASE + 0x6000), parts[0], TWO])
    assert mixed.uaddr is None
    assert isinstance(mixed.owner, Owners)
    assert mixed.owner.parts == (one, other, None)


def test_thousands_of_lists_join() -> None:
    pfns = np.arange(5000, dtype=np.uint64) * 3
    assert Phyr.join(Phyr.from_pfns([pfn]) for pfn in pfns.tolist()) == Phyr.from_pfns(pfns)
    long = Phyr.from_pfns(pfns)
    assert Phyr.join([long, TWO, long]) == long + TWO + long


# Positions


@given(models(), st.data())
def test_many_positions_are_each_position(model: Model, data: st.DataObject) -> None:
    if not model.length:
        return
    drawn = data.draw(st.lists(positions(model), max_size=200))
    expected = [model.translate(position) for position in drawn]
    for phyr in (built(model), built(model).freeze()):
        assert list(phyr.translate(drawn)) == expected
        assert list(phyr.translate(sorted(drawn))) == sorted_by(drawn, expected)
        out = array.array("Q", bytes(8 * len(drawn)))
        assert phyr.translate(iter(drawn), out=out) is out
        assert out.tolist() == expected


def sorted_by(keys: list[int], values: list[int]) -> list[int]:
    """Values in the order of their keys."""
    return [value for _, value in sorted(zip(keys, values, strict=True))]


def test_positions_may_be_replaced_in_place() -> None:
    words = np.array([0x1002, 0x10, 0x1FFF], dtype=np.uint64)
    assert TWO.translate(words, out=words) is words
    assert words.tolist() == [0x3002, 0x7010, 0x3FFF]


def test_a_position_outside_is_named_and_nothing_is_written() -> None:
    out = np.full(3, 9, dtype=np.uint64)
    many = Phyr.from_pfns(range(0, 2000, 2))
    for phyr in (TWO, TWO.freeze(), many, many.freeze()):
        for wrong in ([0, len(phyr), 1 << 63], [1 << 63, len(phyr), 0]):
            first = next(position for position in wrong if position >= len(phyr))
            with pytest.raises(PositionError, match=hex(first)) as caught:
                phyr.translate(wrong, out=out)
            assert (caught.value.position, caught.value.length) == (first, len(phyr))
    assert out.tolist() == [9, 9, 9]


@pytest.mark.parametrize("step", [1, 40, 5000])
def test_positions_close_and_far_are_each_position(step: int) -> None:
    """Close ones are a walk of a frozen list's blocks; far ones are searched."""
    pfns = np.random.default_rng(5).permutation(1 << 15)[:20_000]
    phyr = Phyr.from_pfns(pfns)[0x345:]
    asked = range(0, len(phyr), step * 1000 + 1)
    paddrs = ((pfns[(0x345 + at) >> 12] << 12) + ((0x345 + at) & 4095) for at in asked)
    expected = [int(paddr) for paddr in paddrs]
    for form in (phyr, phyr.freeze()):
        assert np.asarray(form.translate(asked)).tolist() == expected
        assert np.asarray(form.translate(asked[::-1])).tolist() == expected[::-1]


@pytest.mark.parametrize(
    ("out", "error"),
    [
        (np.zeros(2, dtype=np.uint64), ArrayError),
        (np.zeros((3, 1), dtype=np.uint64), ArrayError),
        (np.zeros(6, dtype=np.uint64)[::2], ArrayError),
        (np.zeros(3, dtype=np.int64), ArrayTypeError),
        (np.zeros(3, dtype=np.float64), ArrayTypeError),
        (bytearray(24), ArrayTypeError),
        (memoryview(bytes(24)).cast("Q"), ArrayError),
        ([0, 0, 0], ArrayError),
    ],
)
def test_an_unfit_out_is_refused(out: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        TWO.translate([1, 2, 3], out=out)


# Blocks


@given(models(granule=4096), st.sampled_from([1 << 9, 1 << 12, 1 << 13]))
def test_blocks_are_those_of_the_chunks(model: Model, size: int) -> None:
    phyr = built(model)[:0x40_0000]
    chunks = list(phyr.chunks)
    try:
        pages = list(phyr.pages(size))
    except AlignmentError:
        assert size > phyr.granule
        return
    ranges = [range(paddr & -size, paddr + length, size) for paddr, length in chunks]
    assert pages == [page for blocks in ranges for page in blocks]


def test_a_list_of_many_nodes_has_all_its_blocks() -> None:
    pfns = np.random.default_rng(5).permutation(1 << 13).astype(np.uint64) * np.uint64(2)
    pages = np.asarray(Phyr.from_pfns(pfns).pages(4096))
    assert pages.tolist() == (pfns << np.uint64(12)).tolist()
    twice = np.asarray(Phyr.from_pfns(pfns, granule=8192).pages(8192))
    assert twice.tolist() == (pfns << np.uint64(13)).tolist()


# Cost


def steps_of_join(count: int) -> int:
    """Lists that are taken from the iterable."""
    taken = 0

    def lists() -> Iterator[Phyr]:
        nonlocal taken
        for _ in range(count):
            taken += 1
            yield TWO

    Phyr.join(lists())
    return taken


def test_join_takes_each_list_once() -> None:
    assert steps_of_join(1000) == 1000


@pytest.mark.parametrize(
    "fill",
    [
        lambda builder, pfns: builder.extend_pfns(pfns),
        lambda builder, pfns: builder.extend_chunks(pfns << np.uint64(12), pfns * 0 + 4096),
    ],
)
def test_a_builder_takes_arrays_as_one_by_one(
    fill: Callable[[Builder, "np.typing.NDArray[np.uint64]"], None],
) -> None:
    pfns = np.arange(3000, dtype=np.uint64) * np.uint64(5) % np.uint64(3001)
    builder = Builder()
    fill(builder, pfns)
    plain = Builder()
    for pfn in pfns.tolist():
        plain.append(pfn << 12, 4096)
    assert builder.finish() == plain.finish()
