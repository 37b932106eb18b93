"""A `Phyr` behaves as the buffer that it stands for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import AlignmentError, Builder, MismatchError, Phyr, PhyrError, PositionError, RangeError
from support.agree import agree, agree_at, built, names
from support.model import Model
from support.strategies import (
    EDGES,
    NODE_EDGES,
    bounds,
    cuts,
    model_of,
    models,
    patterned,
    positions,
)


@given(models())
def test_a_list_is_its_model(model: Model) -> None:
    agree(built(model), model)


@given(models(), st.data())
def test_every_byte_is_where_the_model_has_it(model: Model, data: st.DataObject) -> None:
    if model.length:
        agree_at(built(model), model, data.draw(st.lists(positions(model), max_size=5)))


@given(models(), st.data())
def test_slice_is_the_slice_of_the_model(model: Model, data: st.DataObject) -> None:
    key = slice(data.draw(bounds(model)), data.draw(bounds(model)))
    start, stop, _ = key.indices(model.length)
    agree(built(model)[key], model.slice(start, max(start, stop)))


@given(models(), st.data())
def test_slice_of_slice_is_slice(model: Model, data: st.DataObject) -> None:
    a, b = sorted(data.draw(st.tuples(cuts(model), cuts(model))))
    phyr, part = built(model), model.slice(a, b)
    c, d = sorted(data.draw(st.tuples(cuts(part), cuts(part))))
    assert phyr[a:b][c:d] == phyr[a + c : a + d]
    agree(phyr[a:b][c:d], part.slice(c, d))


@given(models(), st.data())
def test_slices_of_one_list_join_to_the_slice_over_both(model: Model, data: st.DataObject) -> None:
    a, b, c = sorted(data.draw(st.tuples(cuts(model), cuts(model), cuts(model))))
    phyr = built(model)
    joined = phyr[a:b] + phyr[b:c]
    assert joined == phyr[a:c]
    agree(joined, model.slice(a, c))


@given(models(), st.data())
def test_split_gives_both_sides_of_a_position(model: Model, data: st.DataObject) -> None:
    at = data.draw(cuts(model))
    left, right = built(model).split(at)
    agree(left, model.slice(0, at))
    agree(right, model.slice(at, model.length))


@given(models(), st.data())
def test_negative_index_counts_from_the_end(model: Model, data: st.DataObject) -> None:
    if model.length:
        position = data.draw(positions(model))
        phyr = built(model)
        assert phyr[position - model.length] == phyr[position] == model.translate(position)


@given(st.data())
def test_sum_is_the_sum_of_the_models_or_an_alignment_error(data: st.DataObject) -> None:
    left = data.draw(models(granule=512, kind="ram"))
    right = data.draw(models(granule=512, kind="ram"))
    if left.joins(right):
        agree(built(left) + built(right), left + right)
    else:
        with pytest.raises(AlignmentError):
            built(left) + built(right)


@pytest.mark.parametrize("long_every", [0, 1, 2, 7])
@pytest.mark.parametrize("nr_entries", NODE_EDGES)
def test_every_operation_holds_at_node_edges(nr_entries: int, long_every: int) -> None:
    model = model_of(patterned(nr_entries, long_every))
    phyr = built(model)
    agree(phyr, model)
    assert phyr.stats().nr_entries == model.words()
    last = len(model.chunks()) - 1
    for number in {0, last // 2, max(last - 1, 0), last}:
        edge = model.position(number)
        start, end = max(edge - 1, 0), min(edge + 5000, model.length)
        part = model.slice(start, end)
        agree(phyr[start:end], part)
        agree(phyr[start:end].compact(), part)
        agree_at(phyr, model, [edge, start, end - 1])
    left, right = phyr.split(model.position(last // 2))
    assert left + right == phyr
    assert (left + right).to_bytes() == phyr.to_bytes()
    assert Phyr.from_bytes(phyr.to_bytes()) == phyr
    assert [tuple(chunk) for chunk in reversed(phyr.chunks)] == model.chunks()[::-1]


def test_slices_clamp_like_bytes() -> None:
    phyr = built(EDGES)
    huge = 1 << 200
    assert phyr[-huge:huge] == phyr[:] == phyr[None:None] == phyr[0 : phyr.length : 1] == phyr
    assert phyr[huge:] == phyr[:-huge] == phyr[5:2] == phyr[-1:-5] == phyr[:0]
    assert phyr[:0].length == 0
    assert phyr[np.int64(1) : np.uint8(9)] == phyr[1:9]


@pytest.mark.parametrize("step", [2, -1, 0, 1 << 70])
def test_a_step_other_than_one_is_refused(step: int) -> None:
    with pytest.raises(ValueError, match="step"):
        built(EDGES)[::step]


@pytest.mark.parametrize("key", ["1", 1.0, None, (1, 2), slice("a"), slice(0.5, 2)])
def test_a_key_that_is_no_integer_is_a_type_error(key: object) -> None:
    with pytest.raises(TypeError):
        built(EDGES)[key]  # type: ignore[call-overload]


@pytest.mark.parametrize("past", [0, 1, 1 << 62, 1 << 64, 1 << 90])
def test_an_index_outside_is_a_position_error(past: int) -> None:
    phyr = built(EDGES)
    for position in (phyr.length + past, -phyr.length - 1 - past):
        with pytest.raises(PositionError, match="position") as caught:
            phyr[position]
        names(caught.value, position, phyr.length)
    with pytest.raises(IndexError):
        Phyr.from_pfns([])[past]


@pytest.mark.parametrize("past", [1, 1 << 62, 1 << 64, 1 << 90])
def test_a_split_outside_is_an_error(past: int) -> None:
    phyr = built(EDGES)
    with pytest.raises(PhyrError):
        phyr.split(phyr.length + past)


def test_an_index_is_any_integer() -> None:
    phyr = built(EDGES)
    assert phyr[np.uint64(1)] == phyr[np.int8(1)] == phyr[True] == 0x5001
    assert type(phyr[0]) is int


def test_an_empty_list_is_an_empty_buffer() -> None:
    for empty in (
        Phyr.from_pfns([]),
        Phyr.from_pages([]),
        Phyr.from_chunks([]),
        Phyr.from_chunks([], []),
        Builder().finish(),
        built(EDGES)[:0],
        built(EDGES)[77:77],
        built(EDGES)[:0].compact(),
    ):
        agree(empty, Model())
        assert len(empty) == empty.length == len(empty.chunks) == 0
        assert not empty
        assert empty == empty[:] == empty + empty == Phyr.from_pfns([])
        assert hash(empty) == hash(Phyr.from_pfns([]))
        assert empty.orders() == {}
        assert list(empty.pages(4096)) == []
        assert Phyr.from_bytes(empty.to_bytes()) == empty
        assert empty.split(0) == (empty, empty)


def test_an_empty_list_gives_way_in_a_sum() -> None:
    phyr = built(EDGES)[1:-1]
    empty = Phyr.from_pfns([])
    assert empty + phyr == phyr + empty == phyr


def test_one_byte_is_a_list() -> None:
    for paddr in (0, 1, 4095, 4096, (1 << 64) - 1):
        model = Model(((paddr, 1),))
        phyr = built(model)
        agree(phyr, model)
        assert (phyr[0], phyr[-1], len(phyr), bool(phyr)) == (paddr, paddr, 1, True)


def test_the_last_byte_of_the_address_space_can_be_held() -> None:
    top = 1 << 64
    model = Model(((0, 4096), (top - 0x3000, 0x3000), (0x1000, 0x1000)))
    phyr = built(model)
    agree(phyr, model)
    assert phyr[0x3FFF] == top - 1
    assert phyr[0x4000] == 0x1000
    agree(phyr[0x3FFF:0x4001], model.slice(0x3FFF, 0x4001))
    assert (phyr[:0x4000] + phyr[0x4000:]) == phyr


def test_the_top_of_the_address_space_does_not_touch_its_bottom() -> None:
    top = 1 << 64
    phyr = Phyr.from_chunks([(top - 4096, 4096), (0, 4096)])
    assert list(phyr.chunks) == [(top - 4096, 4096), (0, 4096)]
    assert len(phyr[4096 - 1 : 4096 + 1].chunks) == 2


def test_long_lists_have_a_length_but_no_len() -> None:
    huge = Phyr.from_chunks([(0, 1 << 63)])
    assert huge.length == 1 << 63
    with pytest.raises(OverflowError):
        len(huge)
    assert len(huge[1:]) == (1 << 63) - 1
    assert bool(huge)
    assert huge[-1] == huge[(1 << 63) - 1] == (1 << 63) - 1
    assert huge[-(1 << 63)] == 0
    assert huge[-5:] == Phyr.from_chunks([((1 << 63) - 5, 5)])


def test_the_longest_list_is_all_but_one_granule() -> None:
    top = 1 << 64
    phyr = Phyr.from_chunks([(4096, top - 4096)])
    agree(phyr, Model(((4096, top - 4096),)))
    assert phyr[-1] == top - 1
    for cut in (1, 5000, top - 4097):
        assert phyr[:cut] + phyr[cut:] == phyr
    with pytest.raises(RangeError):
        phyr + Phyr.from_pfns([0])


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({}, {"granule": 512}),
        ({}, {"kind": "mmio"}),
        ({"kind": "mmio:1"}, {"kind": "mmio:2"}),
        ({"granule": 65536, "kind": "mmio"}, {"granule": 512, "kind": "ram"}),
    ],
)
def test_lists_of_different_granule_or_kind_do_not_join(
    left: dict[str, str], right: dict[str, str]
) -> None:
    pieces = [(0x1_0000, 0x1_0000)]
    one = Phyr.from_chunks(pieces, **left)  # type: ignore[call-overload]
    other = Phyr.from_chunks(pieces, **right)  # type: ignore[call-overload]
    for first, second in ((one, other), (other, one)):
        with pytest.raises(MismatchError) as caught:
            first + second
        for name in ("granule", "kind"):
            if getattr(first, name) != getattr(second, name):
                assert str(getattr(first, name)) in str(caught.value)
                assert str(getattr(second, name)) in str(caught.value)
                break


def test_a_sum_grows_to_what_fits_and_no_further() -> None:
    phyr = Phyr.from_chunks([(0x1000, 1 << 62)])
    most = phyr + phyr + phyr
    assert most.length == 3 << 62
    with pytest.raises(RangeError):
        most + phyr
    most += Phyr.from_chunks([(0x1000, (1 << 62) - 4096)])
    assert most.length == (1 << 64) - 4096
    most.validate()
    with pytest.raises(RangeError):
        most + Phyr.from_pfns([7])


def test_sums_of_long_lists_leave_both_as_they_were() -> None:
    model = model_of(patterned(1500, 3))
    left, right = built(model), built(model_of(patterned(700, 2)))
    before = (left.to_bytes(), right.to_bytes())
    both = left + right
    agree(both, model + model_of(patterned(700, 2)))
    agree(left + left, model + model)
    assert (left.to_bytes(), right.to_bytes()) == before


@given(
    st.sampled_from([1, 4, 512, 1024]),
    st.lists(st.tuples(st.integers(44, 51), st.integers(1, 7)), min_size=9, max_size=60),
    st.data(),
)
def test_lists_near_2_64_bytes_of_small_granules_find_every_byte(
    granule: int, sizes: list[tuple[int, int]], data: st.DataObject
) -> None:
    chunks: list[tuple[int, int]] = []
    starts = [0]
    for order, count in sizes:
        # At two places in turn, so that none touch.
        length = min(count << order, 1 << 50) * granule
        if starts[-1] + length < 1 << 64:
            chunks.append(((len(chunks) % 2 << 51) * granule, length))
            starts.append(starts[-1] + length)
    phyr = Phyr.from_chunks(chunks, granule=granule)
    assert list(phyr.chunks) == chunks
    assert Phyr.from_bytes(phyr.to_bytes()) == phyr
    position = data.draw(st.integers(0, starts[-1] - 1))
    number = sum(start <= position for start in starts) - 1
    paddr = chunks[number][0] + position - starts[number]
    assert phyr[position] == paddr
    assert phyr.chunks.find(position) == number
    assert phyr[position : position + 1].chunks[0] == (paddr, 1)
