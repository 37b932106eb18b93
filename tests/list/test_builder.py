"""However a list is built, the same pages give the same list, byte for byte."""

import ctypes
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import AlignmentError, Builder, MismatchError, Phyr, RangeError
from support.agree import agree, built
from support.model import Model
from support.strategies import (
    NODE_EDGES,
    Run,
    batches,
    cuts,
    granules,
    kinds,
    model_of,
    models,
    pages,
    patterned,
    runs,
)

# Ways to hand over an array of numbers.
ARRAYS: dict[str, Callable[[list[int]], Iterable[int]]] = {
    "list": list,
    "tuple": tuple,
    "generator": lambda items: (item for item in items),
    "array": lambda items: array("Q", items),
    "numpy": lambda items: np.array(items, dtype=np.uint64),
    "memoryview": lambda items: memoryview(array("Q", items)),
    "bytes": lambda items: struct.pack(f"={len(items)}Q", *items),
    "bytearray": lambda items: bytearray(struct.pack(f"={len(items)}Q", *items)),
}


@given(granules(), kinds(), st.data())
def test_the_same_pages_in_any_batching_give_identical_bytes(
    granule: int, kind: str, data: st.DataObject
) -> None:
    pfns = data.draw(pages(granule))
    model = Model.of_pages(pfns, granule, kind)
    expected = built(model).to_bytes()
    builder = Builder(granule, kind)
    for batch in data.draw(batches(pfns)):
        way = data.draw(st.sampled_from(["pfns", "pages", "chunks", "columns", "list", "append"]))
        paddrs = [pfn * granule for pfn in batch]
        match way:
            case "pfns":
                builder.extend_pfns(batch)
            case "pages":
                builder.extend_pages(np.array(paddrs, dtype=np.uint64))
            case "chunks":
                builder.extend_chunks((paddr, granule) for paddr in paddrs)
            case "columns":
                builder.extend_chunks(paddrs, [granule] * len(paddrs))
            case "list":
                builder.extend(Phyr.from_pfns(batch, granule=granule, kind=kind))
            case _:
                for paddr in paddrs:
                    builder.append(paddr, granule)
    phyr = builder.finish()
    agree(phyr, model)
    assert phyr.to_bytes() == expected
    assert phyr.stats().nr_entries == model.words()


@given(granules(), kinds(), st.data())
def test_a_sum_of_any_cuts_gives_identical_bytes(
    granule: int, kind: str, data: st.DataObject
) -> None:
    model = model_of(data.draw(runs(granule)), granule, kind)
    phyr = built(model)
    at = sorted(data.draw(st.lists(cuts(model), max_size=4)))
    total = Phyr.from_pfns([], granule=granule, kind=kind)
    for start, end in zip([0, *at], [*at, model.length], strict=True):
        total += phyr[start:end]
    agree(total, model)
    assert total.to_bytes() == phyr.to_bytes()


@given(granules(), st.data())
def test_runs_cut_anywhere_merge_again(granule: int, data: st.DataObject) -> None:
    model = model_of(data.draw(runs(granule)), granule)
    builder = Builder(granule)
    at = sorted(data.draw(st.lists(cuts(model), max_size=8)))
    for start, end in zip([0, *at], [*at, model.length], strict=True):
        for paddr, length in model.slice(start, end).pieces:
            builder.append(paddr, length)
    phyr = builder.finish()
    agree(phyr, model)
    assert phyr.to_bytes() == built(model).to_bytes()


@given(models(max_runs=6), st.data())
def test_offset_and_length_are_a_slice(model: Model, data: st.DataObject) -> None:
    a, b = sorted(data.draw(st.tuples(cuts(model), cuts(model))))
    size, kind = model.granule, model.kind
    whole = built(model)
    assert whole[a:b] == Phyr.from_chunks(
        model.pieces, granule=size, kind=kind, offset=a, length=b - a
    )
    builder = Builder(size, kind)
    builder.extend(whole)
    agree(builder.finish(a, b - a), model.slice(a, b))
    builder.extend(whole)
    agree(builder.finish(offset=a), model.slice(a, model.length))


@pytest.mark.parametrize("way", ARRAYS)
def test_every_array_of_numbers_is_taken(way: str) -> None:
    make = ARRAYS[way]
    pfns = [5, 9, 6, 7, 8, 2, (1 << 52) - 1, 100, 101, 102]
    paddrs = [pfn << 12 for pfn in pfns]
    model = Model.of_pages(pfns)
    lengths = [4096] * len(pfns)
    agree(Phyr.from_pfns(make(pfns)), model)
    agree(Phyr.from_pages(make(paddrs)), model)
    agree(Phyr.from_chunks(make(paddrs), make(lengths)), model)
    builder = Builder()
    builder.extend_pfns(make(pfns))
    builder.extend_pages(make(paddrs))
    builder.extend_chunks(make(paddrs), lengths=make(lengths))
    agree(builder.finish(), model + model + model)
    agree(Phyr.from_pfns(make([])), Model())
    agree(Phyr.from_chunks(make([]), make([])), Model())


@pytest.mark.parametrize("code", "bBhHiIlLqQ")
def test_arrays_of_every_integer_type_are_taken(code: str) -> None:
    pfns = [1, 2, 3, 100, 127, 5]
    model = Model.of_pages(pfns)
    agree(Phyr.from_pfns(array(code, pfns)), model)
    agree(Phyr.from_pfns(np.array(pfns, dtype=code)), model)
    agree(Phyr.from_pages(array(code, pfns)[:0]), Model())


@pytest.mark.parametrize("dtype", ["<u2", "<i4", "<u8", "<i8", "=u4", "=i8"])
def test_little_endian_arrays_are_taken(dtype: str) -> None:
    pfns = [1, 2, 3, 300, 127, 5]
    agree(Phyr.from_pfns(np.array(pfns, dtype=dtype)), Model.of_pages(pfns))


@pytest.mark.parametrize("item", [ctypes.c_uint64, ctypes.c_int64, ctypes.c_uint8, ctypes.c_int])
def test_arrays_of_ctypes_are_taken(item: type[ctypes.c_uint64]) -> None:
    """They lend memory without strides, which a contiguous array may do."""
    pfns = [1, 2, 3, 100, 127, 5]
    agree(Phyr.from_pfns((item * 6)(*pfns)), Model.of_pages(pfns))


def test_the_full_width_of_each_type_is_taken() -> None:
    model = Model.of_pages([255, 7], granule=1)
    agree(Phyr.from_pfns(np.array([255, 7], dtype=np.uint8), granule=1), model)
    top = (1 << 64) - 4096
    agree(Phyr.from_pages(np.array([top], dtype=np.uint64)), Model(((top, 4096),)))


def test_pieces_may_be_any_pairs() -> None:
    model = Model(((0x1000, 0x1000), (0x8000, 0x2000)))
    pieces = list(model.pieces)
    iterables: list[Iterable[Any]] = [
        pieces,
        tuple(pieces),
        iter(pieces),
        (piece for piece in pieces),
        dict(pieces).items(),
        built(model).chunks,
        [list(piece) for piece in pieces],
        [(np.uint64(paddr), np.int32(length)) for paddr, length in pieces],
    ]
    for chunks in iterables:
        agree(Phyr.from_chunks(chunks), model)


@pytest.mark.parametrize("long_every", [0, 1, 2, 5])
@pytest.mark.parametrize("nr_entries", NODE_EDGES)
def test_builds_of_every_size_are_canonical(nr_entries: int, long_every: int) -> None:
    model = model_of(patterned(nr_entries, long_every))
    once = built(model)
    agree(once, model)
    assert once.stats().nr_entries == model.words()
    builder = Builder()
    for paddr, length in model.pieces:
        builder.append(paddr, length)
    grown = builder.finish()
    half = model.length // 2
    builder.extend(once[:half])
    builder.extend(once[half:])
    for same in (grown, builder.finish()):
        agree(same, model)
        assert same.to_bytes() == once.to_bytes()
        assert same.stats().nr_entries == once.stats().nr_entries


@pytest.mark.parametrize("nr_entries", [62, 63, 64, 509, 510, 511, 512, 1021])
@pytest.mark.parametrize("filler", [1, 4095])
def test_a_last_run_grows_across_a_node_edge(nr_entries: int, filler: int) -> None:
    """The last run goes from one word to two and back to one, wherever in a node it stands."""
    drawn = patterned(nr_entries, 2)
    last = (1 << 20) + 1
    builder = Builder()
    for pfn, count in drawn:
        builder.append(pfn << 12, count << 12)
    grown: list[Run] = []
    for step in (1, 2046, 1, 1, 2047, filler, 1 << 20):
        builder.append((last + sum(count for _, count in grown)) << 12, step << 12)
        grown.append((last, step))
    model = model_of([*drawn, (last, sum(count for _, count in grown))])
    agree(builder.finish(), model)


def test_runs_touch_in_order_only() -> None:
    agree(Phyr.from_pfns([3, 2, 1]), Model.of_pages([3, 2, 1]))
    assert len(Phyr.from_pfns([3, 2, 1]).chunks) == 3
    assert len(Phyr.from_pfns([1, 2, 3]).chunks) == 1
    assert len(Phyr.from_pfns([1, 1, 1]).chunks) == 3
    assert len(Phyr.from_pfns([1, 2, 2, 3]).chunks) == 2


def test_the_first_may_start_late_and_the_last_end_early() -> None:
    model = Model(((0x1FFF, 1), (0x5000, 0x1000), (0x9000, 1)))
    agree(Phyr.from_chunks(model.pieces), model)
    builder = Builder()
    for paddr, length in model.pieces:
        builder.append(paddr, length)
    assert builder.length == model.length
    agree(builder.finish(), model)


def test_a_range_may_go_on_at_the_very_next_byte() -> None:
    builder = Builder()
    for at in (0x1234, 0x1235, 0x1236):
        builder.append(at, 1)
    builder.append(0x1237, 0xDC9)
    builder.append(0x8000, 1)
    builder.append(0x8001, 2)
    agree(builder.finish(), Model(((0x1234, 0xDCC), (0x8000, 3))))


def test_after_an_early_end_only_the_next_byte_may_follow() -> None:
    builder = Builder()
    builder.append(0x1000, 0x800)
    follow: list[Callable[[], None]] = [
        lambda: builder.append(0x2000, 0x1000),
        lambda: builder.append(0x1801, 1),
        lambda: builder.append(0x17FF, 1),
        lambda: builder.extend_pfns([2]),
        lambda: builder.extend_pages([0x1000]),
        lambda: builder.extend_chunks([(0x2000, 1)]),
        lambda: builder.extend(Phyr.from_pfns([2])),
    ]
    for act in follow:
        with pytest.raises(AlignmentError):
            act()
        assert builder.length == 0x800
    builder.extend(Phyr.from_chunks([(0x1800, 0x801)]))
    agree(builder.finish(), Model(((0x1000, 0x1001),)))


def test_a_list_may_be_extended_by_views() -> None:
    whole = Phyr.from_pfns([1, 2, 3, 9, 5, 6])
    builder = Builder()
    builder.extend(whole[:0x1800])
    builder.extend(whole[0x1800:0x1800])
    builder.extend(whole[0x1800:])
    assert builder.finish() == whole
    builder.extend(whole[100:])
    builder.extend(whole)
    with pytest.raises(AlignmentError):
        builder.extend(whole[100:])
    assert builder.finish() == whole[100:] + whole


def test_finish_empties_the_builder() -> None:
    builder = Builder(512, "mmio:4")
    builder.extend_pfns([1, 2])
    assert (builder.granule, builder.kind, builder.length) == (512, "mmio:4", 1024)
    first = builder.finish()
    assert builder.length == 0
    assert (builder.granule, builder.kind) == (512, "mmio:4")
    agree(builder.finish(), Model((), 512, "mmio:4"))
    builder.extend_pfns([9])
    agree(builder.finish(), Model.of_pages([9], 512, "mmio:4"))
    agree(first, Model.of_pages([1, 2], 512, "mmio:4"))


def test_a_finish_that_fails_leaves_the_builder_as_it_was() -> None:
    builder = Builder()
    builder.extend_pfns([1, 5])
    for offset, length in ((0x2001, None), (0, 0x2001), (0x2000, 1), (-1, None), (0, -1)):
        with pytest.raises(RangeError):
            builder.finish(offset, length)
        assert builder.length == 0x2000
    agree(builder.finish(1, 2), Model(((0x1001, 2),)))


def test_a_finished_list_does_not_change_with_its_builder() -> None:
    builder = Builder()
    builder.extend_pfns(range(0, 3000, 2))
    first = builder.finish()
    before = first.to_bytes()
    builder.extend(first)
    builder.extend_pfns(range(0, 3000, 2))
    agree(builder.finish(), Model.of_pages([*range(0, 3000, 2), *range(0, 3000, 2)]))
    assert first.to_bytes() == before


def test_a_builder_takes_only_its_own_granule_and_kind() -> None:
    builder = Builder(4096, "mmio:1")
    builder.extend_pfns([1])
    for other in (
        Phyr.from_pfns([9]),
        Phyr.from_pfns([9], kind="mmio"),
        Phyr.from_pfns([9], kind="mmio:1", granule=512),
    ):
        with pytest.raises(MismatchError):
            builder.extend(other)
    assert builder.length == 4096


FAILING: dict[str, Callable[[Builder], None]] = {
    "pfns": lambda builder: builder.extend_pfns([2, 9, 1 << 52]),
    "pfn array": lambda builder: builder.extend_pfns(array("Q", [2, 9, 1 << 52])),
    "pages": lambda builder: builder.extend_pages([0x2000, 0x9000, 0x9001]),
    "page array": lambda builder: builder.extend_pages(array("Q", [0x2000, 0x9000, 0x9001])),
    "chunks": lambda builder: builder.extend_chunks([(0x2000, 0x1000), (0x9000, 1), (0x10, 1)]),
    "columns": lambda builder: builder.extend_chunks([0x2000, 0x9000, 5], [4096, 1, 1]),
    "zero": lambda builder: builder.extend_chunks([(0x2000, 0x1000), (0x9000, 0)]),
    "no number": lambda builder: builder.extend_pfns([2, 9, None]),  # type: ignore[list-item]
    "negative": lambda builder: builder.extend_pfns(array("q", [2, 9, -1])),
    "raising": lambda builder: builder.extend_pfns(_raising()),
    "raising chunks": lambda builder: builder.extend_chunks((pfn, 1) for pfn in _raising()),
    "uneven": lambda builder: builder.extend_chunks([0x2000, 0x9000], [0x1000]),
    "too long": lambda builder: builder.extend_chunks([(0x2000, 0x1000), (0x9000, 1 << 63)] * 3),
}


def _raising() -> Iterator[int]:
    yield from (2, 4096)
    raise ValueError("no more")


@pytest.mark.parametrize("way", FAILING)
@pytest.mark.parametrize("nr_entries", [0, 1, 2, 63, 510, 511, 512])
def test_a_failing_extend_leaves_the_builder_as_it_was(way: str, nr_entries: int) -> None:
    pfns = [*range(5, 5 + 2 * nr_entries, 2)]
    pfns[-1:] = [1] if pfns else []
    builder = Builder()
    builder.extend_pfns(pfns)
    with pytest.raises((ValueError, TypeError)):
        FAILING[way](builder)
    assert builder.length == 4096 * nr_entries
    builder.extend_pfns([2])
    agree(builder.finish(), Model.of_pages([*pfns, 2]))


@pytest.mark.parametrize("granule", [1 << lg2 for lg2 in range(17)])
def test_every_granule_reaches_its_last_page(granule: int) -> None:
    limit = min(1 << 52, (1 << 64) // granule)
    last = Model.of_pages([limit - 1], granule)
    for phyr in (
        Phyr.from_pfns([limit - 1], granule=granule),
        Phyr.from_pages([(limit - 1) * granule], granule=granule),
        Phyr.from_chunks([((limit - 1) * granule, granule)], granule=granule),
    ):
        agree(phyr, last)
    with pytest.raises(RangeError):
        Phyr.from_pfns([limit], granule=granule)
    if limit * granule < 1 << 64:
        for paddr, length in ((limit * granule, 1), ((limit - 1) * granule, granule + 1)):
            with pytest.raises(RangeError):
                Phyr.from_chunks([(paddr, length)], granule=granule)


@pytest.mark.parametrize("leaves", [127, 127 * 102])
@pytest.mark.parametrize("more", [-1, 0, 1, 511])
def test_lists_around_a_full_index_node_hold(leaves: int, more: int) -> None:
    """As many leaves of 510 words as an index node holds, of either level."""
    nr_entries = 510 * leaves + more
    pfns = np.arange(1, 1 + 2 * nr_entries, 2, dtype=np.uint64)
    phyr = Phyr.from_pfns(pfns)
    phyr.validate()
    assert len(phyr.chunks) == nr_entries
    assert np.array_equal(np.asarray(phyr.chunks.paddrs), pfns << 12)
    last = nr_entries - 1
    for number in (0, min(510 * 127 - 1, last), min(510 * 127, last), nr_entries // 2, last):
        assert phyr[4096 * number + 7] == (1 + 2 * number) * 4096 + 7
        assert phyr.chunks[number] == ((1 + 2 * number) * 4096, 4096)
        assert phyr.chunks.find(4096 * number + 4095) == number
        assert phyr.chunks.position(number) == 4096 * number
    tail = phyr[-4096 * 600 :]
    assert np.array_equal(np.asarray(tail.chunks.paddrs), pfns[-600:] << 12)
    assert list(reversed(tail.chunks)) == list(tail.chunks)[::-1]
    assert tail == Phyr.from_pfns(pfns[-600:])
    left, right = phyr.split(phyr.length // 2)
    assert left + right == phyr


def test_a_long_contiguous_array_is_one_entry() -> None:
    pfns = np.arange(1 << 18, (1 << 18) + (1 << 20))
    phyr = Phyr.from_pfns(pfns)
    assert phyr.stats()[:4] == (1 << 32, 1, 1, 0)
    assert phyr == Phyr.from_pages(pfns << 12) == Phyr.from_chunks([(1 << 30, 1 << 32)])
