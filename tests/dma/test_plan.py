"""`plan_map`: against a table, against every other way to cut a list, and at its edges."""

import gc
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import AlignmentError, Phyr, RangeError
from phyr._phyr import alignment
from phyr.iommu import Plan, Prot, plan_map
from support.agree import built, names
from support.machine import PageTable
from support.model import Model
from support.strategies import models

TOP = 2**64
SIZES = 1 << 12 | 1 << 21 | 1 << 30


def fewest(iova: int, paddr: int, pages: int, sizes: list[int]) -> tuple[int, int]:
    """Return the fewest (page-table entries, calls) for one chunk, by trying every cut.

    All numbers count smallest pages.
    """

    @cache
    def rest(at: int, last: int) -> tuple[int, int]:
        if at == pages:
            return (0, 0)
        ways = []
        for size in sizes:
            if (iova + at) % size == (paddr + at) % size == 0 and at + size <= pages:
                entries, calls = rest(at + size, size)
                ways.append((entries + 1, calls + (size != last)))
        return min(ways)

    return rest(0, 0)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40)), min_size=1, max_size=5),
    st.sets(st.sampled_from([1, 2, 4, 8, 16])),
    st.integers(0, 40),
)
def test_no_other_cut_needs_fewer_entries_or_for_those_fewer_calls(
    runs: list[tuple[int, int]], more: set[int], start: int
) -> None:
    sizes = sorted({1} | more)
    phyr = Phyr.from_chunks([(pfn << 12, count << 12) for pfn, count in runs])
    plan = plan_map(phyr, start << 12, sum(sizes) << 12)
    entries = calls = 0
    at = start
    for paddr, length in phyr.chunks:
        found = fewest(at, paddr >> 12, length >> 12, sizes)
        entries, calls = entries + found[0], calls + found[1]
        at += length >> 12
    assert (sum(plan.pgcounts), len(plan)) == (entries, calls)


@given(models(granule=4096, kind="ram", max_runs=6), st.integers(0, 2**20))
def test_every_edge_of_every_chunk_is_where_it_should_be(model: Model, start: int) -> None:
    phyr = built(model)
    if phyr.length > 2**48:
        return
    iova = (start << 12) + (phyr[0] % 4096 if phyr else 0)
    plan = plan_map(phyr, iova, SIZES)
    calls = list(plan)
    # The calls follow each other and cover the list in whole pages.
    at = iova - iova % 4096
    for call_iova, paddr, pgsize, pgcount in calls:
        assert call_iova == at
        assert paddr % pgsize == at % pgsize == 0
        at += pgsize * pgcount
        # Where the list has bytes under this call, they are these.
        position = max(call_iova - iova, 0)
        assert phyr[position] == paddr + (iova + position - call_iova)
        position = min(at - 1 - iova, phyr.length - 1)
        assert phyr[position] == paddr + (iova + position - call_iova)
    assert at - 4096 <= iova + max(phyr.length - 1, 0) <= at
    assert list(zip(plan.iovas, plan.paddrs, plan.pgsizes, plan.pgcounts, strict=True)) == calls


def test_columns_items_and_length_agree_over_many_batches() -> None:
    phyr = Phyr.from_pfns(range(0, 3000, 2))
    plan = plan_map(phyr, 0x1000_0000, SIZES)
    assert len(plan) == 1500
    assert list(plan.paddrs) == [pfn << 12 for pfn in range(0, 3000, 2)]
    assert [call[1] for call in plan] == list(plan.paddrs)
    assert set(plan.pgsizes) == {4096}
    assert list(plan.unmaps()) == [(0x1000_0000, 4096, 1500)]


def test_a_run_goes_on_however_many_chunks_it_has() -> None:
    phyr = Phyr.from_pfns(range(1, 2 * 70_000, 2))
    assert list(plan_map(phyr, 0x1000, SIZES).unmaps()) == [(0x1000, 4096, 70_000)]


def test_unmaps_are_runs_of_one_size_over_many_batches() -> None:
    # Pages and blocks of 16 KiB take turns, so every run is of one size only.
    runs = [(64 * i + 8 * (i % 2), 4) for i in range(1200)]
    phyr = Phyr.from_chunks(
        [((pfn + i % 3 // 2) << 12, n << 12) for i, (pfn, n) in enumerate(runs)]
    )
    plan = plan_map(phyr, 1 << 30, 1 << 12 | 1 << 14)
    table = PageTable(1 << 12 | 1 << 14)
    for call in plan:
        table.map_pages(*call, Prot.READ)
    unmaps = list(plan.unmaps())
    assert len(unmaps) > 256
    assert all(a[1] != b[1] for a, b in pairwise(unmaps))
    for unmap in unmaps:
        table.unmap_pages(*unmap)
    assert table.pages == {}


def test_a_plan_is_true_if_there_is_something_to_map() -> None:
    assert plan_map(Phyr.from_pfns([1]), 0, 1 << 12)
    empty = plan_map(Phyr.from_pfns([]), 0x123, 1 << 12)
    assert not empty
    assert (len(empty), list(empty), list(empty.unmaps()), list(empty.iovas)) == (0, [], [], [])


def test_a_plan_shows_what_it_is_of() -> None:
    phyr = Phyr.from_chunks([(0x7123, 0x100)])
    plan = plan_map(phyr, 0x5123, SIZES)
    assert isinstance(plan, Plan)
    assert (plan.phyr, plan.iova, plan.pgsize_bitmap) == (phyr, 0x5123, SIZES)
    assert repr(plan) == "Plan(0x5123+0x100, pgsize_bitmap 0x40201000)"


def test_the_last_byte_of_both_spaces_can_be_mapped() -> None:
    phyr = Phyr.from_chunks([(TOP - 0x1000, 0x1000)])
    assert list(plan_map(phyr, TOP - 0x1000, 1 << 12)) == [(TOP - 0x1000, TOP - 0x1000, 4096, 1)]
    with pytest.raises(RangeError) as caught:
        plan_map(Phyr.from_pfns([1, 5]), TOP - 0x1000, 1 << 12)
    names(caught.value, TOP - 0x1000, 0x2000)
    # It is the window that passes the end, not memory.
    assert vars(caught.value) == {"iova": TOP - 0x1000, "length": 0x2000}


@given(st.integers(0, 0x3FFF), st.integers(1, 0x9000), st.sampled_from([12, 13, 14]))
def test_strict_refuses_just_the_bytes_beyond_the_list(at: int, length: int, lg2: int) -> None:
    phyr = Phyr.from_chunks([(at, length)])
    pages = {byte >> lg2 for byte in (at, at + length - 1)}
    shown = range(min(pages) << lg2, max(pages) + 1 << lg2)
    if len(shown) == length:
        assert plan_map(phyr, 0x8000 + at, 1 << lg2, strict=True)
        return
    with pytest.raises(AlignmentError) as caught:
        plan_map(phyr, 0x8000 + at, 1 << lg2, strict=True)
    assert vars(caught.value) == {
        "paddr": at,
        "last": at + length - 1,
        "align": 1 << lg2,
        "before": at - shown[0],
        "behind": shown[-1] + 1 - at - length,
        "exposed": len(shown) - length,
    }
    assert len(shown) == sum(size * count for _, _, size, count in plan_map(phyr, at, 1 << lg2))


def test_addresses_out_of_step_are_named() -> None:
    with pytest.raises(AlignmentError) as caught:
        plan_map(Phyr.from_chunks([(0x7123, 1)]), 0x5000, SIZES)
    names(caught.value, 0x7123, 0x5000, 0x1000)
    assert vars(caught.value) == {"iova": 0x5000, "paddr": 0x7123, "align": 0x1000}


def test_a_chunk_that_ends_inside_a_page_is_named() -> None:
    phyr = Phyr.from_chunks([(0x1_0000, 0x1_0000), (0x5_1000, 0x1000)])
    with pytest.raises(AlignmentError) as caught:
        plan_map(phyr, 0, 1 << 16)
    names(caught.value, 0x5_1000, 0x1000, 0x1_0000)


@pytest.mark.parametrize("bitmap", [0, -1, 1 << 64])
def test_what_is_no_bitmap_is_refused(bitmap: int) -> None:
    with pytest.raises(RangeError):
        plan_map(Phyr.from_pfns([1]), 0, bitmap)


def test_a_plan_of_2_to_the_40_pages_is_short() -> None:
    phyr = Phyr.from_chunks([(0x1000, (1 << 52) - 0x2000)])
    assert [call[2:] for call in plan_map(phyr, 0x1000, SIZES)] == [
        (4096, 511),
        (1 << 21, 511),
        (1 << 30, (1 << 22) - 2),
        (1 << 21, 511),
        (4096, 511),
    ]


def test_alignment_keeps_huge_pages_whatever_comes_before_them() -> None:
    huge = [(7 << 21, 2 << 20), (3 << 30, 2 << 30), (9 << 21, 4 << 20)]
    phyr = Phyr.from_chunks([(0x9000, 0x3000), *huge])
    align, residue = alignment(phyr, SIZES)
    plan = plan_map(phyr, (5 << 40) + residue, SIZES)
    sizes = list(zip(plan.pgsizes, plan.pgcounts, strict=True))
    assert align == 1 << 30
    assert sum(count for size, count in sizes if size == 1 << 30) == 2
    assert sum(size * count for size, count in sizes if size == 4096) == 0x3000


def test_plans_leave_no_garbage() -> None:
    phyr = Phyr.from_pfns(range(0, 3000, 2))
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(100):
        assert len(list(plan_map(phyr, 0, SIZES))) == 1500
    gc.collect()
    assert len(gc.get_objects()) - before < 50
