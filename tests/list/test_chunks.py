"""The chunks of a list are a sequence, their columns are arrays, and the counts are exact."""

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import AlignmentError, Chunk, Phyr, PositionError, RangeError
from support.agree import built
from support.model import Model
from support.strategies import NODE_EDGES, cuts, model_of, models, patterned, positions

THREE = Model(((0x5800, 0x800), (0x1000, 0x3000), (0x20_0000, 0x1F_F001)))


@st.composite
def views(draw: st.DrawFn) -> tuple[Phyr, Model]:
    """Draw a list that is a view into a longer one, and its model."""
    whole = draw(models())
    a, b = sorted(draw(st.tuples(cuts(whole), cuts(whole))))
    return built(whole)[a:b], whole.slice(a, b)


@given(views())
def test_chunks_are_the_sequence_of_the_model(pair: tuple[Phyr, Model]) -> None:
    phyr, model = pair
    expected = model.chunks()
    chunks = phyr.chunks
    assert len(chunks) == len(expected)
    assert list(chunks) == expected
    assert list(reversed(chunks)) == expected[::-1]
    assert [chunks[number] for number in range(len(chunks))] == expected
    assert [chunks[-1 - number] for number in range(len(chunks))] == expected[::-1]


@given(views(), st.data())
def test_a_slice_of_chunks_is_the_chunks_of_a_slice(
    pair: tuple[Phyr, Model], data: st.DataObject
) -> None:
    phyr, model = pair
    expected = model.chunks()
    bound = st.none() | st.integers(-len(expected) - 2, len(expected) + 2)
    a, b = data.draw(bound), data.draw(bound)
    part = phyr.chunks[a:b]
    assert list(part) == expected[a:b]
    assert list(reversed(part)) == expected[a:b][::-1]
    assert part.paddrs[:] == [paddr for paddr, _ in expected[a:b]]


@given(views())
def test_columns_are_the_columns_of_the_model(pair: tuple[Phyr, Model]) -> None:
    phyr, model = pair
    for column, expected in (
        (phyr.chunks.paddrs, [paddr for paddr, _ in model.chunks()]),
        (phyr.chunks.lengths, [length for _, length in model.chunks()]),
    ):
        assert list(memoryview(column)) == expected
        assert np.asarray(column).tolist() == expected
        assert list(column) == column[:] == expected
        assert len(column) == len(expected)


@given(views(), st.data())
def test_find_and_position_are_those_of_the_model(
    pair: tuple[Phyr, Model], data: st.DataObject
) -> None:
    phyr, model = pair
    for number in range(len(model.chunks())):
        start = phyr.chunks.position(number)
        assert start == model.position(number)
        assert phyr.chunks.find(start) == number
        assert phyr[start] == phyr.chunks[number].paddr
    if model.length:
        position = data.draw(positions(model))
        assert phyr.chunks.find(position) == model.find(position)


@given(views())
def test_orders_are_those_of_the_model(pair: tuple[Phyr, Model]) -> None:
    phyr, model = pair
    found = phyr.orders()
    assert found == model.orders()
    assert list(found) == sorted(found)
    nr_granules = sum(count for _, count in model.granules())
    assert sum(count << order for order, count in found.items()) == nr_granules


@given(models())
def test_stats_are_those_of_the_model(model: Model) -> None:
    stats = built(model).stats()
    chunks = model.chunks()
    assert stats.length == model.length
    assert stats.nr_chunks == len(chunks)
    assert stats.nr_entries == model.words()
    assert stats.largest == max((length for _, length in chunks), default=0)
    assert stats.storage == 0 if model.words() <= 2 else stats.storage >= 8 * model.words()


@given(views())
def test_stats_of_a_view_speak_of_the_view(pair: tuple[Phyr, Model]) -> None:
    phyr, model = pair
    stats = phyr.stats()
    assert stats.length == model.length
    assert stats.nr_chunks == len(model.chunks())
    assert stats.nr_entries == model.words()
    assert stats.largest == max((length for _, length in model.chunks()), default=0)


def short(pair: tuple[Phyr, Model]) -> bool:
    """Say whether a list can be written out in blocks of 512 bytes."""
    return pair[1].length < 64 << 20


@given(views().filter(short), st.integers(9, 24))
def test_pages_are_the_aligned_blocks_or_an_alignment_error(
    pair: tuple[Phyr, Model], lg2: int
) -> None:
    phyr, model = pair
    size = 1 << lg2
    if model.has_pages(size):
        pages = phyr.pages(size)
        assert list(memoryview(pages)) == pages[:] == model.pages(size)
    else:
        with pytest.raises(AlignmentError):
            phyr.pages(size)


@pytest.mark.parametrize("nr_entries", NODE_EDGES)
def test_chunks_hold_at_node_edges(nr_entries: int) -> None:
    model = model_of(patterned(nr_entries, 3))
    expected = model.chunks()
    chunks = built(model).chunks
    assert len(chunks) == len(expected)
    assert np.asarray(chunks.paddrs).tolist() == [paddr for paddr, _ in expected]
    assert np.asarray(chunks.lengths).tolist() == [length for _, length in expected]
    at = 0
    for number, (chunk, piece) in enumerate(zip(chunks, expected, strict=True)):
        assert chunk == chunks[number] == piece
        assert chunks.position(number) == at
        assert chunks.find(at) == chunks.find(at + piece[1] - 1) == number
        at += piece[1]


def test_both_ends_of_an_iteration_meet() -> None:
    chunks = built(THREE).chunks
    forth, back = iter(chunks), reversed(chunks)
    assert [next(forth), next(forth)] == THREE.chunks()[:2]
    assert next(back) == THREE.chunks()[2]
    assert list(forth) == THREE.chunks()[2:]
    assert list(forth) == []
    assert next(forth, None) is None
    assert iter(forth) is forth


def test_walking_backwards_costs_what_walking_forwards_does() -> None:
    chunks = Phyr.from_pfns(np.arange(0, 800_000, 2)).chunks

    def fastest(walk: Callable[[], Iterator[Chunk]]) -> float:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            assert sum(1 for _ in walk()) == 400_000
            times.append(time.perf_counter() - start)
        return min(times)

    assert fastest(lambda: reversed(chunks)) < 8 * fastest(lambda: iter(chunks))


def test_a_chunk_is_a_named_tuple_of_ints() -> None:
    chunk = built(THREE).chunks[0]
    assert type(chunk) is Chunk
    assert chunk == Chunk(paddr=0x5800, length=0x800) == (0x5800, 0x800)
    assert chunk.paddr == 0x5800
    assert chunk.length == 0x800
    for found in (next(iter(built(THREE).chunks)), next(reversed(built(THREE).chunks))):
        assert type(found) is Chunk
        assert [type(number) for number in found] == [int, int]


def test_chunks_and_columns_are_sequences() -> None:
    chunks = built(THREE).chunks
    assert isinstance(chunks, Sequence)
    # A column has what a sequence has, but is taken as the array that it is.
    column: object = chunks.paddrs
    assert not isinstance(column, Sequence)
    assert isinstance(iter(chunks), Iterator)
    assert (0x1000, 0x3000) in chunks
    assert (0x1000, 0x3001) not in chunks
    assert chunks.index(Chunk(0x1000, 0x3000)) == 1
    assert chunks.count(Chunk(0x1000, 0x3000)) == 1
    assert 0x1000 in chunks.paddrs
    assert chunks.paddrs.index(0x1000) == 1
    assert list(reversed(chunks.lengths)) == [0x1F_F001, 0x3000, 0x800]


def test_chunks_of_chunks_are_bounded_like_a_list() -> None:
    chunks = built(THREE).chunks
    assert list(chunks[-100:100]) == list(chunks[:]) == THREE.chunks()
    assert list(chunks[1 << 80 :]) == list(chunks[2:1]) == []
    assert list(chunks[1:][1:]) == THREE.chunks()[2:]
    assert chunks[1:].position(1) == 0x3000
    assert chunks[1:].find(0x3000) == 1
    with pytest.raises(ValueError, match="step"):
        chunks[::2]
    with pytest.raises(ValueError, match="step"):
        chunks[::-1]


@pytest.mark.parametrize("number", [3, -4, 1 << 63, 1 << 64, -(1 << 64), 1 << 90])
def test_a_chunk_outside_is_a_position_error(number: int) -> None:
    chunks = built(THREE).chunks
    with pytest.raises(PositionError):
        chunks[number]
    with pytest.raises(IndexError):
        chunks.paddrs[number]


@pytest.mark.parametrize("past", [0, 1, 1 << 63, 1 << 64])
def test_a_position_outside_is_a_position_error(past: int) -> None:
    chunks = built(THREE).chunks
    with pytest.raises(PositionError):
        chunks.find(THREE.length + past)
    with pytest.raises(PositionError):
        chunks.position(3 + past)


def test_a_column_of_big_numbers_wraps_nothing() -> None:
    phyr = Phyr.from_chunks([((1 << 64) - 4096, 4096), (0, 1 << 63)])
    assert phyr.chunks.paddrs[:] == [(1 << 64) - 4096, 0]
    assert phyr.chunks.lengths[:] == [4096, 1 << 63]
    assert np.asarray(phyr.chunks.lengths).dtype == np.uint64


def test_a_column_is_a_plain_read_only_array() -> None:
    for column in (
        built(THREE).chunks.paddrs,
        Phyr.from_pfns([]).chunks.lengths,
        Phyr.from_pfns([7]).pages(512),
    ):
        view = memoryview(column)
        assert (view.format, view.itemsize, view.ndim) == ("Q", 8, 1)
        assert view.readonly
        assert view.c_contiguous
        assert view.nbytes == 8 * len(column)
        array = np.asarray(column)
        assert array.dtype == np.uint64
        assert not array.flags.writeable


def test_a_column_outlives_its_list_and_its_views_outlive_the_column() -> None:
    view = memoryview(Phyr.from_pfns(range(0, 4000, 2)).chunks.paddrs)
    array = np.asarray(Phyr.from_pfns(range(0, 4000, 2)).chunks.paddrs)
    assert view.tolist() == array.tolist() == [pfn << 12 for pfn in range(0, 4000, 2)]


def test_a_column_has_python_slices() -> None:
    column = Phyr.from_pfns([1, 3, 5, 7]).chunks.paddrs
    whole = [0x1000, 0x3000, 0x5000, 0x7000]
    for key in (slice(None), slice(1, 3), slice(None, None, -2), slice(-1, None), slice(9, 2)):
        assert column[key] == whole[key]
    assert column[-1] == 0x7000
    with pytest.raises(IndexError):
        column[4]
    with pytest.raises(TypeError):
        column["1"]  # type: ignore[call-overload]


def test_columns_give_the_list_back() -> None:
    model = model_of(patterned(1200, 3))
    phyr = built(model)
    chunks = phyr.chunks
    assert Phyr.from_chunks(chunks) == phyr
    assert Phyr.from_chunks(chunks.paddrs, chunks.lengths) == phyr
    assert Phyr.from_chunks(np.asarray(chunks.paddrs), list(chunks.lengths)) == phyr


def test_pages_start_and_end_inside_a_block() -> None:
    phyr = Phyr.from_chunks([(0x1F_F800, 0x800), (0x40_0000, 0x20_0000), (0x80_0000, 1)])
    assert phyr.pages(0x20_0000)[:] == [0, 0x40_0000, 0x80_0000]
    assert phyr[0x400:0x900].pages(0x20_0000)[:] == [0, 0x40_0000]
    assert Phyr.from_chunks([(0x1FFF, 2)]).pages(4096)[:] == [0x1000, 0x2000]
    assert Phyr.from_chunks([(5, 3)]).pages(1)[:] == [5, 6, 7]


def test_pages_at_the_end_of_the_address_space() -> None:
    top = 1 << 64
    phyr = Phyr.from_chunks([(top - 0x2001, 0x2001)])
    assert phyr.pages(4096)[:] == [top - 0x3000, top - 0x2000, top - 0x1000]
    assert phyr.pages(1 << 63)[:] == [1 << 63]


def test_pages_names_the_boundary_that_does_not_fit() -> None:
    phyr = Phyr.from_chunks([(0x20_0000, 0x1000), (0x40_0000, 0x20_0000)])
    with pytest.raises(AlignmentError, match="0x200000"):
        phyr.pages(0x20_0000)
    with pytest.raises(AlignmentError, match="0x401000"):
        Phyr.from_chunks([(0x20_0000, 0x20_0000), (0x40_1000, 1)]).pages(0x20_0000)


@pytest.mark.parametrize("size", [0, 3, 4095, 4097, -4096, 1 << 64, 1 << 90])
def test_a_page_size_is_a_power_of_two(size: int) -> None:
    with pytest.raises(RangeError):
        Phyr.from_pfns([1]).pages(size)


def test_more_pages_than_memory_are_refused() -> None:
    with pytest.raises((MemoryError, RangeError, OverflowError)):
        Phyr.from_chunks([(0, 1 << 63)]).pages(1)


def test_every_order_is_counted() -> None:
    for order in range(52):
        one = Phyr.from_chunks([(4096 << order, 4096 << order)])
        assert one.orders() == {order: 1}
        assert one.stats().nr_entries == 1
    ladder = Phyr.from_chunks([(4096, (1 << 63) - 4096)])
    assert ladder.orders() == dict.fromkeys(range(51), 1)


def test_numpy_takes_chunks_for_records() -> None:
    assert np.array(built(THREE).chunks).dtype.names == ("paddr", "length")


def test_what_is_looked_for_may_be_anything() -> None:
    chunks = built(THREE).chunks
    assert chunks.count("chunk") == 0
    assert chunks[1] in chunks
    assert chunks.paddrs.count("page") == 0
    assert chunks.paddrs[0] in chunks.paddrs


@pytest.mark.parametrize("granule", [1, 512, 4096, 65536])
@pytest.mark.parametrize("long", [(), (3,), (600, 1900), range(3100)])
def test_columns_of_many_nodes_are_the_chunks_at_every_granule(
    granule: int, long: Sequence[int]
) -> None:
    # Of seven nodes none, one, two or all have entries of two words: odd runs of 2049 granules.
    ranges = [
        ((4098 * number + 1) * granule, (2049 if number in long else 1 + number % 3) * granule)
        for number in range(3100)
    ]
    phyr = Phyr.from_chunks(ranges, granule=granule)
    for part in (phyr, phyr[granule // 2 : -granule // 2]):
        expected = list(part.chunks)
        assert part.chunks.paddrs[:] == [paddr for paddr, _ in expected]
        assert part.chunks.lengths[:] == [length for _, length in expected]
