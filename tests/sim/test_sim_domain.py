"""The simulated IOMMU: its tables are as specified, and bad input changes nothing."""

from array import array
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import AlignmentError, ArrayError, Phyr, RangeError
from phyr.errors import MappedError, NoMemoryError, NotMappedError, PhyrError
from phyr.iommu import Prot, plan_map
from phyr.sim import Memory, SimDomain
from support import vtd_walker
from support.sim_tables import ALL, G1, K4, M2, columns, image


@given(
    st.lists(st.tuples(st.integers(1, 1 << 12), st.integers(1, 700)), min_size=1, max_size=8),
    st.integers(0, 3),
    st.sampled_from([K4, K4 | M2, ALL]),
)
def test_a_plan_of_a_list_translates_byte_for_byte(
    runs: list[tuple[int, int]], where: int, sizes: int
) -> None:
    memory = Memory(1 << 26)
    domain = SimDomain(memory, pgsize_bitmap=sizes)
    phyr = Phyr.from_chunks([(pfn * K4, count * K4) for pfn, count in runs])
    iova = (1 << 40) + where * 0x1F_F000
    plan = plan_map(phyr, iova, sizes)
    domain.map_batch(plan, Prot.READ)
    for position in range(0, len(phyr), K4):
        assert domain.iova_to_phys(iova + position + 7) == phyr[position + 7]
        assert phyr[position] == vtd_walker.translate(
            memory, domain.root, 4, iova + position, write=False
        )
    other = SimDomain(memory, pgsize_bitmap=sizes)
    other.map_batch(columns(list(plan)), Prot.READ)
    third = SimDomain(memory, pgsize_bitmap=sizes)
    for call in plan:
        third.map_pages(*call, Prot.READ)
    leaves = vtd_walker.leaves(memory, domain.root, 4)
    assert leaves == vtd_walker.leaves(memory, other.root, 4)
    assert leaves == vtd_walker.leaves(memory, third.root, 4)
    for unmap in plan.unmaps():
        domain.unmap_pages(*unmap)
    assert domain.counters.table_pages == 1


def test_bits_are_where_the_specification_puts_them() -> None:
    memory = Memory(1 << 20)
    domain = SimDomain(memory)
    domain.map_pages(0x1000, 0x7000, K4, 1, Prot.READ)
    domain.map_pages(M2, 3 * M2, M2, 1, Prot.WRITE | Prot.CACHE)
    domain.map_pages(G1, 5 * G1, G1, 1, Prot.READ | Prot.WRITE | Prot.MMIO | Prot.NOEXEC)
    read = memory.read_u64
    pdpt = read(domain.root) & vtd_walker.ADDRESS
    assert read(domain.root) == pdpt | 0b11
    pd = read(pdpt) & vtd_walker.ADDRESS
    pt = read(pd) & vtd_walker.ADDRESS
    assert read(pdpt) == pd | 0b11
    assert read(pdpt + 8) == 5 * G1 | 0x83
    assert read(pd) == pt | 0b11
    assert read(pd + 8) == 3 * M2 | 0x882
    assert read(pt + 8) == 0x7001
    assert read(pt) == 0


@pytest.mark.parametrize("levels", [3, 4, 5])
def test_the_last_page_of_each_width_can_be_mapped_and_nothing_after_it(levels: int) -> None:
    memory = Memory(1 << 20)
    domain = SimDomain(memory, levels=levels)
    top = 1 << (12 + 9 * levels)
    assert domain.aperture == (0, top - 1)
    for pgsize in (K4, M2, G1):
        domain.map_pages(top - pgsize, (1 << 52) - pgsize, pgsize, 1, 3)
        assert domain.iova_to_phys(top - 1) == (1 << 52) - 1
        assert domain.iova_to_phys(top) is None
        with pytest.raises(RangeError):
            domain.map_pages(top, 0, pgsize, 1, 3)
        with pytest.raises(RangeError):
            domain.map_pages(top - pgsize, 0, pgsize, 2, 3)
        with pytest.raises(NotMappedError) as info:
            domain.unmap_pages(top - pgsize, pgsize, 2)
        assert info.value.iova == top
        domain.unmap_pages(top - pgsize, pgsize, 1)
    assert domain.counters.table_pages == 1
    assert domain.lookup(top) is None


def test_a_domain_that_is_none_is_refused() -> None:
    memory = Memory(1 << 20)
    bad: list[dict[str, Any]] = [
        {"levels": 2},
        {"levels": 6},
        {"pgsize_bitmap": 0},
        {"pgsize_bitmap": M2},
        {"pgsize_bitmap": K4 | 1 << 16},
        {"aperture": (2, 1)},
        {"aperture": (0, 1 << 48)},
        {"reserved": [(5, 4)]},
        {"iotlb_sets": 3},
        {"iotlb_ways": 0},
    ]
    for options in bad:
        with pytest.raises(RangeError):
            SimDomain(memory, **options)
    assert memory.free_bytes == (1 << 20) - K4


def test_arguments_that_are_none_are_refused_and_change_nothing() -> None:
    memory = Memory(1 << 20)
    domain = SimDomain(memory, pgsize_bitmap=K4 | M2, aperture=(0x10_0000, 0xFFFF_FFFF))
    before = image(memory)
    bad: list[tuple[tuple[int, ...], type[PhyrError], str]] = [
        ((0x10_0000, 0, G1, 1, 3), RangeError, "page size 0x40000000"),
        ((0x10_0000, 0, 0, 1, 3), RangeError, "page size 0x0"),
        ((0x10_0000, 0, K4 | M2, 1, 3), RangeError, "page size 0x201000"),
        ((0x10_0800, 0, K4, 1, 3), AlignmentError, "0x100800"),
        ((0x10_0000, 0x800, K4, 1, 3), AlignmentError, "0x800"),
        ((0x10_0000, 0, M2, 1, 3), AlignmentError, "0x200000"),
        ((0x10_0000, 0, K4, 0, 3), RangeError, "0 pages"),
        ((0x10_0000, 0, K4, 1 << 52, 3), RangeError, "no range"),
        (((1 << 64) - K4, 0, K4, 2, 3), RangeError, "no range"),
        ((0xF_F000, 0, K4, 2, 3), RangeError, "aperture"),
        ((0xFFFF_F000, 0, K4, 2, 3), RangeError, "aperture"),
        ((0xFEDF_F000, 0, K4, 2, 3), RangeError, "reserved range at 0xfee00000"),
        ((0xFEEF_F000, 0, K4, 1, 3), RangeError, "reserved"),
        ((0x10_0000, 1 << 52, K4, 1, 3), RangeError, "52 bits"),
        ((0x10_0000, (1 << 52) - K4, K4, 2, 3), RangeError, "52 bits"),
        ((0x10_0000, 0, K4, 1, 0), RangeError, "prot 0x0"),
        ((0x10_0000, 0, K4, 1, 4), RangeError, "prot 0x4"),
        ((0x10_0000, 0, K4, 1, 65), RangeError, "prot 0x41"),
        ((0x10_0000, 0, K4, 1, 1 << 32), RangeError, "prot 0x100000000"),
    ]
    for arguments, error, text in bad:
        with pytest.raises(error, match=text):
            domain.map_pages(*arguments)
        *call, prot = arguments
        good = (0x20_0000, 0, K4, 1)
        with pytest.raises(error, match=text):
            domain.map_batch(columns([good, tuple(call)]), prot)  # type: ignore[list-item]
        assert image(memory) == before
    for unmap, error in [
        ((0x10_0000, G1, 1), RangeError),
        ((0x10_0800, K4, 1), AlignmentError),
        ((0x10_0000, K4, 0), RangeError),
        (((1 << 64) - K4, K4, 2), RangeError),
        ((0x10_0000, K4, 1), NotMappedError),
    ]:
        with pytest.raises(error):
            domain.unmap_pages(*unmap)
    assert domain.counters.ptes_written == 0


def test_an_address_out_of_step_is_the_only_one_blamed() -> None:
    with pytest.raises(AlignmentError, match=r"^iova 0x1001 is not a multiple of") as info:
        SimDomain(Memory(1 << 20)).unmap_pages(0x1001, K4, 1)
    assert vars(info.value) == {"iova": 0x1001, "align": K4}


def test_part_of_a_larger_page_cannot_be_unmapped() -> None:
    memory = Memory(1 << 20)
    domain = SimDomain(memory)
    domain.map_pages(0, 0, K4, 512, 1)
    domain.map_pages(M2, M2, M2, 2, 1)
    before = image(memory)
    for iova, pgsize, pgcount, first in [
        (M2, K4, 1, M2),
        (0, K4, 513, M2),
        (2 * M2 + K4, K4, 511, 2 * M2),
        (0, K4, 3 * 512 - 1, 2 * M2),
    ]:
        with pytest.raises(MappedError, match="larger") as info:
            domain.unmap_pages(iova, pgsize, pgcount)
        assert (info.value.iova, info.value.pgsize) == (first, M2)
        assert image(memory) == before
    # Whole pages may go in any size that covers them.
    domain.unmap_pages(0, M2, 2)
    domain.unmap_pages(2 * M2, K4, 512)
    assert domain.counters.table_pages == 1


def test_a_hole_in_what_is_unmapped_is_an_error_that_removes_nothing() -> None:
    memory = Memory(1 << 20)
    domain = SimDomain(memory)
    domain.map_pages(0, 0, K4, 5, 1)
    domain.map_pages(6 * K4, 0, K4, 5, 1)
    before = image(memory)
    with pytest.raises(NotMappedError) as info:
        domain.unmap_pages(0, K4, 11)
    assert info.value.iova == 5 * K4
    with pytest.raises(NotMappedError):
        domain.unmap_pages(512 * G1, K4, 1)
    assert image(memory) == before


@pytest.mark.parametrize("pages", range(7))
def test_memory_that_runs_out_of_tables_leaves_nothing_mapped(pages: int) -> None:
    memory = Memory(64 * K4)
    domain = SimDomain(memory)
    memory.alloc(memory.free_bytes - pages * K4)
    before = image(memory)
    # Two leaf tables below one directory: four tables.
    calls = [(M2 - K4, 0, K4, 2), (1 << 39, 0, G1, 1), (3 * G1, 0, M2, 1)]
    needed = 3 + 1 + 1 + 1
    if pages < needed:
        with pytest.raises(NoMemoryError):
            domain.map_batch(columns(calls), 1)
        assert (domain.counters.table_pages, domain.counters.ptes_written) == (1, 0)
        assert memory.free_bytes == pages * K4
        assert image(memory) == before
    else:
        domain.map_batch(columns(calls), 1)
        assert domain.counters.table_pages == 1 + needed


def test_a_batch_fails_as_a_whole_wherever_it_fails() -> None:
    memory = Memory(1 << 24)
    domain = SimDomain(memory)
    domain.map_pages(700 * K4, 0, K4, 1, 1)
    before = image(memory)
    for clash in (0, 1, 255, 256, 257, 511, 512, 513, 999):
        start = (700 - clash) * K4 % (1 << 39)
        calls = [((start + page * K4) % (1 << 39), page * K4, K4, 1) for page in range(1000)]
        with pytest.raises(MappedError) as info:
            domain.map_batch(columns(calls), 3)
        assert info.value.iova == 700 * K4
        assert image(memory) == before
    # A plan that maps an address twice fails on itself.
    with pytest.raises(MappedError):
        domain.map_batch(columns([(0, 0, K4, 2), (K4, 0, K4, 1)]), 3)
    assert image(memory) == before


@pytest.mark.parametrize("kind", [list, partial(array, "Q"), partial(array, "l"), memoryview])
@pytest.mark.parametrize("clash", [None, 0, 4095, 4096, 9999])
def test_long_columns_map_all_or_nothing_whatever_they_are(
    kind: Callable[[Any], Any], clash: int | None
) -> None:
    phyr = Phyr.from_pfns(range(1, 20_000, 2))
    plan = plan_map(phyr, 0, K4)
    domain = SimDomain(Memory(1 << 26), reserved=())
    if clash is not None:
        domain.map_pages(clash * K4, 0, K4, 1, 1)
    before = domain.counters
    names = ("iovas", "paddrs", "pgsizes", "pgcounts")
    given = SimpleNamespace(**{name: kind(getattr(plan, name)) for name in names})
    if clash is None:
        domain.map_batch(given, 1)
        for page in range(0, 10_000, 7):
            assert domain.iova_to_phys(page * K4) == (2 * page + 1) * K4
        domain.unmap_pages(0, K4, 10_000)
        assert domain.counters.table_pages == 1
    else:
        with pytest.raises(MappedError):
            domain.map_batch(given, 1)
        assert domain.counters.ptes_written == before.ptes_written
        assert domain.counters.table_pages == before.table_pages
        found = [page for page in range(10_000) if domain.iova_to_phys(page * K4) is not None]
        assert found == [clash]


def test_columns_may_be_anything_that_holds_numbers_but_of_one_length() -> None:
    np = pytest.importorskip("numpy")
    domain = SimDomain(Memory(1 << 20))
    good = columns([(0, 0, K4, 1), (K4, 0, K4, 1)])
    arrays = {name: np.array(column, dtype=np.uint64) for name, column in vars(good).items()}
    domain.map_batch(SimpleNamespace(**arrays), 1)
    assert domain.counters.batch_calls == 1
    for name in vars(good):
        with pytest.raises(ArrayError) as info:
            domain.map_batch(SimpleNamespace(**{**vars(good), name: [1, 2, 3]}), 1)
        assert {info.value.iovas, info.value.other} == {2, 3}
    with pytest.raises(TypeError, match="has no paddrs"):
        domain.map_batch(SimpleNamespace(iovas=[]), 1)
    with pytest.raises(TypeError):
        domain.map_batch(SimpleNamespace(**{**vars(good), "iovas": ["x", "y"]}), 1)
    domain.map_batch(columns([]), 1)


def test_tables_written_on_by_hand_end_in_errors() -> None:
    memory = Memory(1 << 20)
    domain = SimDomain(memory)
    domain.map_pages(0, 0, K4, 1, 3)
    memory.write_u64(domain.root, (1 << 51) | 3)
    with pytest.raises(MappedError, match="0x8000000000000") as info:
        domain.map_pages(K4, 0, K4, 1, 3)
    assert info.value.paddr == 1 << 51
    with pytest.raises(MappedError):
        domain.unmap_pages(0, K4, 1)
    assert domain.iova_to_phys(0) is None
    # A table that is its own child ends after as many levels as there are.
    memory.write_u64(domain.root, domain.root | 3)
    assert domain.iova_to_phys(0) == domain.root
    with pytest.raises(MappedError):
        domain.map_pages(0, 0, K4, 1, 3)
    domain.unmap_pages(0, K4, 1)
    del domain
    assert memory.free_bytes <= 1 << 20


def test_a_page_below_somebodys_scribble_is_a_clean_table() -> None:
    memory = Memory(1 << 20)
    memory.write(Phyr.from_chunks([(0x1000, (1 << 20) - 0x1000)]), b"\xff" * ((1 << 20) - 0x1000))
    domain = SimDomain(memory)
    domain.map_pages(0, 0, K4, 1, 3)
    assert len(vtd_walker.leaves(memory, domain.root, 4)) == 1


def test_a_domain_shows_itself() -> None:
    memory = Memory(1 << 20)
    domain = SimDomain(memory, levels=3, aperture=(0, 0xFFFF), reserved=[(K4, K4)])
    assert repr(domain) == (
        "SimDomain(3 levels, root 0xff000, aperture 0x0 to 0xffff, pgsize_bitmap 0x40201000)"
    )
    assert domain.memory == memory
    assert (domain.pgsize_bitmap, domain.reserved, domain.levels) == (ALL, [(K4, K4)], 3)
    domain.map_pages(0, 0x7000, K4, 1, 5)
    assert domain.lookup(0xFFF) == (0, 0x7000, K4, True, False, True, False, False)
