"""Type1 and Ioas map lists on a kernel that the test is; in a guest they run on a real one."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import IovaSpaceError, MismatchError, NotMappedError, Phyr, VfioError
from phyr._phyr import held
from phyr.iommu import Direction, DmaBackend, Prot, dma_map
from support.fake_vfio import FakeKernel
from support.vfio import BOTH, MAPPERS, ONE, PAGE, TWO, UADDR, Mapper, Pin, buffer_of, mapped

pytest_plugins = ["support.vfio"]


@MAPPERS
def test_a_list_is_one_request_and_one_entry(
    kernel: FakeKernel, make: Callable[[], Mapper]
) -> None:
    phyr = buffer_of(9, 3, 5)
    with make() as backend, backend.open(TWO):
        for direction, access in (
            (Direction.TO_DEVICE, 1),
            (Direction.FROM_DEVICE, 2),
            (BOTH, 3),
        ):
            with dma_map(phyr, backend, direction) as mapping:
                ((iova, length),) = mapping.dma.chunks
                assert length == 3 * PAGE
                assert mapped(kernel) == [(iova, UADDR, 3 * PAGE, access)]
            assert mapped(kernel) == []
        assert backend.requests == 3
        assert isinstance(backend, DmaBackend)


@MAPPERS
def test_a_slice_is_mapped_with_the_whole_pages_it_is_in(
    kernel: FakeKernel, make: Callable[[], Mapper]
) -> None:
    part = buffer_of(9, 3, 5)[0x1F00:0x2001]
    with make() as backend, backend.open(TWO), dma_map(part, backend, BOTH) as mapping:
        ((iova, length),) = mapping.dma.chunks
        assert (iova % PAGE, length) == (0xF00, 0x101)
        assert mapped(kernel) == [(iova - 0xF00, UADDR + PAGE, 2 * PAGE, 3)]


@MAPPERS
def test_what_an_owner_holds_is_held_while_mapped(
    kernel: FakeKernel, make: Callable[[], Mapper]
) -> None:
    pin = Pin("io_uring")
    with make() as backend, backend.open(TWO):
        with dma_map(buffer_of(9, owner=pin), backend, BOTH):
            assert pin.holds == 1
        assert pin.holds == 0
        kernel.fail_at = kernel.calls + 1
        with pytest.raises(VfioError):
            dma_map(buffer_of(9, owner=pin), backend, BOTH)
        assert pin.holds == 0


@MAPPERS
def test_an_empty_list_is_its_own_mapping(kernel: FakeKernel, make: Callable[[], Mapper]) -> None:
    empty = Phyr.from_pfns([])
    with make() as backend, backend.open(TWO):
        assert backend.map(empty, BOTH) is empty
        backend.unmap(empty, BOTH)
        assert mapped(kernel) == []


@MAPPERS
def test_a_list_without_user_addresses_is_refused(
    kernel: FakeKernel, make: Callable[[], Mapper]
) -> None:
    with make() as backend, backend.open(TWO):
        with pytest.raises(MismatchError, match="pin the buffer first"):
            backend.map(Phyr.from_pfns([7]), BOTH)
        assert mapped(kernel) == []


@MAPPERS
def test_exposed_counts_the_bytes_of_whole_pages(
    kernel: FakeKernel, make: Callable[[], Mapper]
) -> None:
    with make() as backend, backend.open(TWO):
        whole = buffer_of(7)
        with dma_map(whole[0x80:], backend, BOTH) as mapping:
            [(_, _, length, _)] = mapped(kernel)
            assert mapping.exposed == length - len(whole) + 0x80
        with dma_map(whole[:0], backend, BOTH) as mapping:
            assert mapping.exposed == 0
        with pytest.raises(NotMappedError, match="is not mapped here"):
            backend.exposed(whole)


@MAPPERS
def test_a_stranger_cannot_be_unmapped(kernel: FakeKernel, make: Callable[[], Mapper]) -> None:
    with make() as backend, backend.open(TWO):
        dma = backend.map(buffer_of(7), BOTH)
        with pytest.raises(NotMappedError, match="is not mapped here"):
            backend.unmap(Phyr.from_chunks(list(dma.chunks)), BOTH)
        with pytest.raises(NotMappedError, match="nothing is mapped at 0x123000"):
            backend.unmap_user(0x12_3000)
        assert len(mapped(kernel)) == 1


@MAPPERS
@pytest.mark.parametrize("pgsize", [2 << 20, 1 << 30])
def test_large_pages_keep_their_place(
    kernel: FakeKernel, make: Callable[[], Mapper], pgsize: int
) -> None:
    whole = Phyr.from_chunks([(5 * pgsize, pgsize), (9 * pgsize, pgsize)])
    with make() as backend, backend.open(TWO):
        backend.map(buffer_of(1), BOTH)
        for start in (0, 0x5123, pgsize - 1):
            part = held(whole, None, UADDR)[start:]
            assert backend.map(part, BOTH)[0] % pgsize == start
        assert backend.map_user(UADDR + 0x3000, pgsize * 2, Prot.READ) % pgsize == 0x3000
        assert len(mapped(kernel)) == 5


@MAPPERS
def test_without_room_for_large_pages_small_ones_do(
    kernel: FakeKernel, make: Callable[[], Mapper]
) -> None:
    kernel.ranges = [(0x10_0000, 0x40_0000 - 1)]
    with make() as backend, backend.open(TWO):
        phyr = held(Phyr.from_chunks([(2 << 20, 2 << 20)]), None, UADDR)
        backend.map_user(UADDR, 0x15_0000, Prot.READ)
        assert backend.map(phyr[: 1 << 20], BOTH)[0] == 0x25_0000
        with pytest.raises(IovaSpaceError):
            backend.map(phyr, BOTH)
        with pytest.raises(IovaSpaceError):
            backend.map_user(UADDR, 0x10_0000, Prot.READ)
        assert len(mapped(kernel)) == 2


@MAPPERS
def test_a_device_of_few_bits_gets_low_addresses(
    kernel: FakeKernel, make: Callable[..., Mapper]
) -> None:
    with make(dma_mask=0x3FFF) as backend, backend.open(TWO):
        assert backend.map(buffer_of(7, 9, 3), BOTH)[0] == 0x1000
        with pytest.raises(IovaSpaceError):
            backend.map(buffer_of(7), BOTH)
        assert len(mapped(kernel)) == 1


@MAPPERS
def test_a_coarse_granule_is_obeyed(kernel: FakeKernel, make: Callable[[], Mapper]) -> None:
    kernel.granule = 0x10000
    with make() as backend, backend.open(TWO):
        phyr = held(Phyr.from_chunks([(0x12_0000, 0x20000)]), None, UADDR)
        dma = backend.map(phyr[0x1_1000:0x1_3000], BOTH)
        assert mapped(kernel) == [(dma[0] - 0x1000, UADDR + 0x10000, 0x10000, 3)]


@st.composite
def layouts(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Draw ranges that may be mapped, of few pages so that they fill up."""
    ranges = []
    at = draw(st.integers(0, 3))
    for _ in range(draw(st.integers(1, 40))):
        length = draw(st.integers(1, 12))
        ranges.append((at * PAGE, (at + length) * PAGE - 1))
        at += length + draw(st.integers(1, 4))
    return ranges


@MAPPERS
@given(
    ranges=layouts(),
    later=st.integers(0, 20),
    steps=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 0x1FFF)), max_size=30),
)
def test_windows_are_where_the_kernel_allows(
    tmp_path_factory: pytest.TempPathFactory,
    make: Callable[[], Mapper],
    ranges: list[tuple[int, int]],
    later: int,
    steps: list[tuple[int, int]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        kernel = FakeKernel(tmp_path_factory.mktemp("kernel"), patch)
        kernel.ranges = ranges
        kernel.add(ONE, 4, "vfio-pci")
        kernel.add(TWO, 5, "vfio-pci")
        with make() as backend, backend.open(ONE):
            model: dict[int, tuple[Phyr, int]] = {}
            for number, (nr_pages, cut) in enumerate(steps):
                if number == later:
                    # Opening another device makes no window forgotten.
                    backend.open(TWO)
                if cut % 3 == 0 and model:
                    dma, _ = model.pop(sorted(model)[cut % len(model)])
                    backend.unmap(dma, BOTH)
                    continue
                phyr = buffer_of(*range(7, 7 + 2 * nr_pages, 2), uaddr=UADDR + cut // PAGE * PAGE)
                part = phyr[cut % PAGE :]
                # The kernel itself refuses what overlaps or is out of its ranges.
                try:
                    dma = backend.map(part, BOTH)
                except IovaSpaceError:
                    continue
                assert dma[0] % PAGE == part[0] % PAGE
                model[dma[0] & -PAGE] = (dma, part.length)
            assert [(iova, length) for iova, _, length, _ in mapped(kernel)] == [
                (iova, -(-(length + dma[0] % PAGE) // PAGE) * PAGE)
                for iova, (dma, length) in sorted(model.items())
            ]
        assert kernel.open_files == []
