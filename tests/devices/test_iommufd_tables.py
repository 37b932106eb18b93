"""Page tables of iommufd, dirty memory, and mappings that two address spaces share."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phyr import AlignmentError, MismatchError, NotMappedError, Phyr, VfioError
from phyr._devices.uapi import Request
from phyr.iommu import Direction, Prot, dma_map
from phyr.iommufd import Ioas, PageTable, ioas, page_table
from support.fake_vfio import FakeKernel
from support.layouts import layout_of, layouts
from support.vfio import BOTH, PAGE, TWO, UADDR, buffer_of

pytest_plugins = ["support.vfio"]


# Two address spaces.


def test_a_copy_is_the_same_memory_at_another_address(kernel: FakeKernel) -> None:
    phyr = buffer_of(3, 9, 4, uaddr=UADDR + PAGE)[0x100:0x2100]
    with Ioas() as one, Ioas(beside=one) as two:
        one.open(TWO)
        with dma_map(phyr, one, BOTH) as mapping:
            # So that the two get other addresses.
            other = two.map_user(UADDR, PAGE, Prot.READ)
            copied = two.copy(mapping.dma, one, Direction.TO_DEVICE)
            assert copied.length == phyr.length
            assert len(copied.chunks) == 1
            assert copied[0] % PAGE == 0x100
            maps = {space: kernel.ioas[space.number].maps for space in (one, two)}
            assert maps[one] == {mapping.dma[0] - 0x100: (UADDR + PAGE, 3 * PAGE, 3)}
            assert maps[two][copied[0] - 0x100] == (UADDR + PAGE, 3 * PAGE, 1)
            assert len(maps[two]) == 2
            assert two.exposed(copied) == 3 * PAGE - phyr.length
            two.unmap(copied, BOTH)
            assert len(maps[two]) == len(maps[one]) == 1
            two.unmap_user(other)
        assert kernel.maps == {}


def test_each_of_two_address_spaces_ends_by_itself(kernel: FakeKernel) -> None:
    one = Ioas()
    two = Ioas(beside=one)
    assert one.number != two.number
    one.close()
    assert kernel.ioas.keys() == {two.number}
    two.map_user(UADDR, PAGE, Prot.READ)
    two.close()
    assert kernel.ioas == {}


def test_a_copy_of_what_is_not_mapped_is_refused(kernel: FakeKernel) -> None:
    with Ioas() as one, Ioas(beside=one) as two, Ioas() as stranger:
        iova = one.map_user(UADDR, 2 * PAGE, Prot.READ)
        long = Phyr.from_chunks([(iova, 3 * PAGE)])
        for dma in (long, long[PAGE:]):
            with pytest.raises(NotMappedError, match="is not mapped in Ioas"):
                two.copy(dma, one)
        kernel.same_iommufd = False
        with pytest.raises(VfioError, match="the two are not of one iommufd") as caught:
            stranger.copy(long[: 2 * PAGE], one)
        assert caught.value.errno == errno.ENOENT
        assert len(kernel.maps) == 1


def test_an_empty_list_is_its_own_copy(kernel: FakeKernel) -> None:
    empty = Phyr.from_pfns([])
    with Ioas() as one, Ioas(beside=one) as two:
        # Mapped at the lowest address, or nothing: an empty list is inside neither.
        for _ in range(2):
            assert two.copy(empty, one) is empty
            two.unmap(empty, Direction.BIDIRECTIONAL)
            one.map_user(UADDR, PAGE, Prot.READ)
        assert len(kernel.maps) == 2


def test_nothing_is_shared_with_a_closed_one(kernel: FakeKernel) -> None:
    one = Ioas()
    one.close()
    with pytest.raises(VfioError) as caught:
        Ioas(beside=one)
    assert caught.value.errno == errno.EBADF
    assert kernel.open_files == []


# Page tables.


def test_a_device_sees_memory_by_its_table_and_then_by_the_space_again(kernel: FakeKernel) -> None:
    with Ioas() as space:
        device = space.open(TWO)
        (file,) = kernel.seen
        with space.page_table(device) as table:
            assert repr(table) == f"PageTable({table.number} of address space {space.number})"
            table.attach(device)
            assert kernel.seen[file] == table.number
            assert not table.tracks
        assert kernel.seen[file] == space.number
        assert kernel.tables == {}
        assert repr(table).endswith(", closed)")
        table.close()
        with pytest.raises(VfioError, match="attach page table"):
            table.attach(device)


def test_closing_the_space_closes_its_tables(kernel: FakeKernel) -> None:
    space = Ioas()
    device = space.open(TWO)
    table = space.page_table(device, tracks=True)
    table.attach(device)
    space.close()
    assert table.closed
    assert not kernel.tables
    assert not kernel.ioas
    with pytest.raises(VfioError, match="the address space is closed") as caught:
        space.page_table(device)
    assert caught.value.errno == errno.EBADF


def test_a_device_may_be_closed_before_its_table(kernel: FakeKernel) -> None:
    with Ioas() as space:
        device = space.open(TWO)
        table = space.page_table(device)
        table.attach(device)
        part = device.region(0).u32[:1]  # keeps the region, and the function, in use
        with pytest.raises(BufferError):
            device.close()
        with pytest.raises(VfioError, match="not open in this address space"):
            table.attach(device)
        table.close()
        assert kernel.tables == {}
        part.release()
        device.close()


def test_a_dropped_table_says_so_and_is_destroyed(kernel: FakeKernel) -> None:
    with Ioas() as space:
        table = space.page_table(space.open(TWO))
        held = [table]
        del table
        with pytest.warns(ResourceWarning, match="never closed: PageTable"):
            held.clear()
        assert kernel.tables == {}


def test_the_files_of_a_device_and_its_backend_are_there_for_others(kernel: FakeKernel) -> None:
    with Ioas() as space:
        device = space.open(TWO)
        names = [Path(f"/proc/self/fd/{each}").readlink().name for each in (device.fd, space.fd)]
        assert names == [Path(name).name for name in kernel.seen] + ["iommu"]
        assert device.fileno() == device.fd
    assert device.fileno() == -1


def test_a_table_is_for_a_device_that_is_open_here(kernel: FakeKernel) -> None:
    with Ioas() as space, Ioas() as other:
        device = other.open(TWO)
        with pytest.raises(VfioError, match="not open in this address space") as caught:
            space.page_table(device)
        assert caught.value.errno == errno.ENODEV
        device.close()
        with pytest.raises(VfioError, match="not open in this address space"):
            other.page_table(device)
        # One that somebody else bound to this iommufd.
        with space.page_table(77) as table:
            assert kernel.tables.keys() == {table.number}
        with pytest.raises(VfioError) as caught:
            space.page_table(78)
        assert caught.value.errno == errno.ENOENT


def test_an_iommu_that_tracks_nothing_says_so(kernel: FakeKernel) -> None:
    kernel.can_track = False
    with Ioas() as space:
        with pytest.raises(VfioError, match="does not keep track of dirty memory") as caught:
            space.page_table(space.open(TWO), tracks=True)
        assert caught.value.errno == errno.EOPNOTSUPP
    kernel.can_track = True


def test_a_table_without_addresses_is_taken_back(kernel: FakeKernel) -> None:
    with Ioas() as space:
        device = space.open(TWO)
        kernel.has_addresses = False
        with pytest.raises(VfioError, match="has no addresses") as caught:
            space.page_table(device)
        assert caught.value.errno == errno.EOPNOTSUPP
        assert kernel.tables == {}
        space.unmap_user(space.map_user(UADDR, PAGE, Prot.READ))


def test_a_fork_leaves_tables_to_its_parent(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = Ioas()
    device = space.open(TWO)
    table = space.page_table(device)
    dma = Phyr.from_chunks([(space.map_user(UADDR, PAGE, Prot.READ), PAGE)])
    calls = kernel.calls
    monkeypatch.setattr(os, "getpid", lambda: -1)
    refused: list[Callable[[], object]] = [
        lambda: Ioas(beside=space),
        lambda: space.page_table(device),
        lambda: space.copy(dma, space),
        lambda: table.track(on=True),
    ]
    for call in refused:
        with pytest.raises(VfioError, match="is a fork") as caught:
            call()
        assert caught.value.errno == errno.ECHILD
    table.close()
    space.close()
    assert kernel.calls == calls


def test_every_failing_call_leaves_nothing(kernel: FakeKernel) -> None:
    def work() -> None:
        with Ioas() as one, Ioas(beside=one) as two:
            device = one.open(TWO)
            with dma_map(buffer_of(3), one, BOTH) as mapping:
                two.copy(mapping.dma, one)
                with one.page_table(device, tracks=True) as table:
                    table.attach(device)
                    table.track(on=True)
                    table.dirty_bitmap(mapping.dma[0], PAGE)

    failed = 0
    for at in range(1, 100):
        kernel.calls, kernel.fail_at = 0, at
        try:
            work()
        except VfioError:
            failed += 1
        finally:
            kernel.fail_at = 0
        assert not any([kernel.ioas, kernel.tables, kernel.maps, kernel.seen])
        assert kernel.open_files == []
        if kernel.calls < at:
            break
    assert failed > 10


# Dirty memory.


@pytest.fixture
def tracked(kernel: FakeKernel) -> Iterator[tuple[Ioas, PageTable]]:
    del kernel
    with Ioas() as space:
        device = space.open(TWO)
        with space.page_table(device, tracks=True) as table:
            table.attach(device)
            table.track(on=True)
            yield space, table


NR_PAGES = 200


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    pfns=st.lists(st.integers(0, 1 << 40), min_size=NR_PAGES, max_size=NR_PAGES),
    written=st.sets(st.integers(0, NR_PAGES - 1)),
    head=st.integers(0, 3 * PAGE),
    tail=st.integers(0, 3 * PAGE),
    clear=st.booleans(),
)
def test_dirty_memory_is_what_was_written(  # noqa: PLR0913, PLR0917 - drawn
    kernel: FakeKernel,
    tracked: tuple[Ioas, PageTable],
    pfns: list[int],
    written: set[int],
    head: int,
    tail: int,
    clear: bool,  # noqa: FBT001 - drawn
) -> None:
    space, table = tracked
    phyr = buffer_of(*pfns)[head : NR_PAGES * PAGE - tail]
    first = head // PAGE
    last = (head + phyr.length - 1) // PAGE
    with dma_map(phyr, space, BOTH) as mapping:
        dma = mapping.dma
        base = dma[0] - head % PAGE
        written = {page for page in written if first <= page <= last}
        kernel.tables[table.number].dirty = {base + (page - first) * PAGE for page in written}
        bits = table.dirty_bitmap(base, (last - first + 1) * PAGE, clear=False)
        assert len(bits) == -(-(last - first + 1) // 8)
        assert {first + at for at in range(8 * len(bits)) if bits[at // 8] >> at % 8 & 1} == written
        # Page by page, as slowly as can be.
        starts = [(max((p - first) * PAGE - head % PAGE, 0), p) for p in sorted(written)]
        spans = [
            (start, min((p - first + 1) * PAGE - head % PAGE, phyr.length)) for start, p in starts
        ]
        there = table.dirty(dma, clear=False)
        assert there.length == sum(end - start for start, end in spans)
        assert set(pages_of(there)) == {base + (page - first) * PAGE for page in written}
        memory = table.dirty(dma, phyr, clear=clear)
        joined = [paddr for start, end in spans for paddr in bytes_of(phyr[start:end])]
        assert bytes_of(memory) == joined
        assert (table.dirty(dma).length == 0) == (clear or not written)
        assert not table.dirty(dma)


def bytes_of(phyr: Phyr) -> list[tuple[int, int]]:
    """Return the first and the last byte on each page."""
    found: list[tuple[int, int]] = []
    for paddr, length in phyr.chunks:
        end = paddr + length
        starts = [paddr, *range(paddr // PAGE * PAGE + PAGE, end, PAGE)]
        found += zip(starts, [*starts[1:], end], strict=True)
    return found


def pages_of(phyr: Phyr) -> list[int]:
    return [paddr & -PAGE for paddr, _ in bytes_of(phyr)]


def test_a_bit_may_stand_for_a_large_page(
    kernel: FakeKernel, tracked: tuple[Ioas, PageTable]
) -> None:
    space, table = tracked
    large = 2 << 20
    iova = space.map_user(UADDR, 4 * large, Prot.WRITE)
    kernel.tables[table.number].dirty = {iova + 5 * PAGE, iova + 3 * large}
    assert table.dirty_bitmap(iova, 4 * large, page_size=large, clear=False) == b"\x09"
    dma = Phyr.from_chunks([(iova, 4 * large)])
    assert list(table.dirty(dma, page_size=large).chunks) == [
        (iova, large),
        (iova + 3 * large, large),
    ]


def test_tracking_begins_clean_and_ends(
    kernel: FakeKernel, tracked: tuple[Ioas, PageTable]
) -> None:
    space, table = tracked
    assert "tracks dirty memory" in repr(table)
    iova = space.map_user(UADDR, PAGE, Prot.WRITE)
    kernel.tables[table.number].dirty = {iova}
    table.track(on=True)
    assert table.dirty_bitmap(iova, PAGE) == b"\0"
    table.track(on=False)
    with pytest.raises(VfioError, match="or track comes first"):
        table.dirty_bitmap(iova, PAGE)


@pytest.mark.parametrize(
    ("iova", "length", "page_size"), [(1, PAGE, None), (0, 0, None), (0, PAGE, 3), (0, 9, PAGE)]
)
def test_a_bitmap_is_of_whole_pages(
    tracked: tuple[Ioas, PageTable], iova: int, length: int, page_size: int | None
) -> None:
    with pytest.raises(AlignmentError, match="is not whole pages of") as caught:
        tracked[1].dirty_bitmap(iova, length, page_size=page_size)
    assert caught.value.align == (page_size or PAGE)


def test_a_list_that_is_not_what_is_mapped_is_refused(tracked: tuple[Ioas, PageTable]) -> None:
    _, table = tracked
    with pytest.raises(MismatchError, match="is to be one chunk"):
        table.dirty(Phyr.from_pfns([1, 3]))
    with pytest.raises(MismatchError):
        table.dirty(Phyr.from_pfns([1]), Phyr.from_pfns([1, 3]))
    assert table.dirty(Phyr.from_pfns([])).length == 0


def test_a_table_that_does_not_track_says_how_to_make_one_that_does(kernel: FakeKernel) -> None:
    del kernel
    with (
        Ioas() as space,
        space.page_table(space.open(TWO)) as table,
        pytest.raises(VfioError, match="make it with tracks=True"),
    ):
        table.track(on=True)


# The layouts, as the kernel's header says.

REQUESTS = {
    each.name: each
    for module in (ioas, page_table)
    for each in vars(module).values()
    if isinstance(each, Request) and each.name.startswith("IOMMU_")
}
# For each request of phyr: the structure, and its fields in order.
STRUCTURES = {
    "IOMMU_IOAS_ALLOC": ("ioas_alloc", "flags out_ioas_id"),
    "IOMMU_IOAS_IOVA_RANGES": (
        "ioas_iova_ranges",
        "ioas_id num_iovas __reserved allowed_iovas out_iova_alignment",
    ),
    "IOMMU_IOAS_MAP": ("ioas_map", "flags ioas_id __reserved user_va length iova"),
    "IOMMU_IOAS_MAP_FILE": ("ioas_map_file", "flags ioas_id fd start length iova"),
    "IOMMU_IOAS_COPY": ("ioas_copy", "flags dst_ioas_id src_ioas_id length dst_iova src_iova"),
    "IOMMU_IOAS_UNMAP": ("ioas_unmap", "ioas_id iova length"),
    "IOMMU_DESTROY": ("destroy", "id"),
    "IOMMU_HWPT_ALLOC": (
        "hwpt_alloc",
        """flags dev_id pt_id out_hwpt_id __reserved data_type data_len data_uptr fault_id
        __reserved2""",
    ),
    "IOMMU_HWPT_SET_DIRTY_TRACKING": ("hwpt_set_dirty_tracking", "flags hwpt_id __reserved"),
    "IOMMU_HWPT_GET_DIRTY_BITMAP": (
        "hwpt_get_dirty_bitmap",
        "hwpt_id flags __reserved iova length page_size data",
    ),
}


def test_structures_are_those_of_the_header(tmp_path: Path) -> None:
    assert STRUCTURES.keys() == REQUESTS.keys()
    structures = {name: (f"iommu_{each}", fields) for name, (each, fields) in STRUCTURES.items()}
    told = layouts("linux/iommufd.h", structures, tmp_path)
    assert told == {name: layout_of(request) for name, request in REQUESTS.items()}
