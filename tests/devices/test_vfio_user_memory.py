"""Type1 and Ioas map memory by its user address."""

import errno
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from ctypes import addressof, c_char
from warnings import catch_warnings, simplefilter

import pytest

from phyr import AlignmentError, ArrayError, DmaPool, Phyr, VfioError
from phyr._phyr import held
from phyr.iommu import Direction, Prot
from phyr.iommufd import Ioas
from phyr.testing import check_backend
from support.fake_vfio import FakeKernel
from support.interrupts import interrupted
from support.vfio import BOTH, MAPPERS, PAGE, PHYR, TWO, UADDR, Mapper, mapped

pytest_plugins = ["support.vfio"]


@MAPPERS
@pytest.mark.parametrize(
    ("uaddr", "length"), [(UADDR + 1, PAGE), (UADDR, PAGE + 1), (UADDR, 0), (UADDR, -PAGE)]
)
def test_user_memory_is_mapped_by_whole_granules(
    kernel: FakeKernel, make: Callable[[], Mapper], uaddr: int, length: int
) -> None:
    with make() as backend, backend.open(TWO):
        with pytest.raises(AlignmentError, match="whole granules of 0x1000") as caught:
            backend.map_user(uaddr, length, Prot.READ)
        assert (caught.value.uaddr, caught.value.length) == (uaddr, length)
        assert caught.value.align == 0x1000
        assert mapped(kernel) == []


class OnUserMemory:
    """An address space for lists of any memory: each gets user addresses of its own."""

    def __init__(self, backend: Ioas) -> None:
        self.backend = backend
        self.lists: list[tuple[int, Phyr]] = []

    def map(self, phyr: Phyr, direction: Direction) -> Phyr:
        uaddr = UADDR + (len(self.lists) << 32) + (phyr[0] % PAGE if phyr else 0)
        self.lists.append((uaddr, phyr))
        return self.backend.map(held(phyr, None, uaddr), direction)

    def unmap(self, dma: Phyr, direction: Direction) -> None:
        self.backend.unmap(dma, direction)

    def seen(self, dma_addr: int, maps: dict[int, tuple[int, int, int]]) -> int | None:
        """Return the physical address behind a bus address."""
        for iova, (uaddr, length, _) in maps.items():
            if iova <= dma_addr < iova + length:
                there = uaddr + dma_addr - iova
                for start, phyr in self.lists:
                    if start <= there < start + phyr.length:
                        return phyr[there - start]
        return None


def test_the_rules_of_backends_are_kept(kernel: FakeKernel) -> None:
    kernel.ranges = [(0x1000, 0x4F_FFFF), (0x60_0000, 0x8F_FFFF)]
    with ExitStack() as stack:

        def new() -> OnUserMemory:
            address = f"0001:{len(kernel.groups):02x}:00.0"
            kernel.add(address, 100 + len(kernel.groups), "vfio-pci")
            backend = stack.enter_context(Ioas())
            backend.open(address)
            return OnUserMemory(backend)

        def reach(mapper: OnUserMemory, dma_addr: int) -> int | None:
            return mapper.seen(dma_addr, kernel.ioas[mapper.backend.number].maps)

        check_backend(new, reach)


@MAPPERS
def test_a_buffer_is_mapped_by_its_address_alone(
    kernel: FakeKernel, make: Callable[[], Mapper]
) -> None:
    buffer = bytearray(3 * PAGE)
    uaddr = addressof(c_char.from_buffer(buffer))
    with make() as backend, backend.open(TWO):
        for direction, access in (
            (Direction.TO_DEVICE, 1),
            (Direction.FROM_DEVICE, 2),
            (BOTH, 3),
        ):
            with backend.map_buffer(buffer, direction) as mapping:
                ((iova, length),) = mapping.dma.chunks
                assert (length, iova % PAGE) == (3 * PAGE, uaddr % PAGE)
                end = uaddr + len(buffer)
                start = uaddr - uaddr % PAGE
                size = end + -end % PAGE - start
                assert mapped(kernel) == [(iova - uaddr % PAGE, start, size, access)]
                with pytest.raises(BufferError):
                    buffer.clear()
            assert repr(mapping).endswith(", unmapped)")
            mapping.unmap()
            assert mapped(kernel) == []
        with backend.map_buffer(bytearray()) as nothing:
            assert nothing.dma.length == 0
            assert mapped(kernel) == []
        with backend.map_buffer((UADDR + 5, 7)) as part:
            assert part.dma.length == 7
            assert [line[1:] for line in mapped(kernel)] == [(UADDR, PAGE, 3)]
        with pytest.raises(ArrayError, match="is read-only"):
            backend.map_buffer(b"constant")
    buffer.clear()


@MAPPERS
def test_a_buffer_that_is_not_mapped_is_let_go(
    kernel: FakeKernel, make: Callable[[], Mapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = bytearray(PAGE)
    with make() as backend, backend.open(TWO):
        kernel.calls, kernel.fail_at, kernel.errno = 0, 1, errno.ENOMEM
        with pytest.raises(VfioError, match="RLIMIT_MEMLOCK"):
            backend.map_buffer(buffer)
        buffer.append(0)
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: -1)
            with pytest.raises(VfioError, match="this is a fork"):
                backend.map_buffer(buffer)
        buffer.append(0)
        # Dropped.
        mapping = backend.map_buffer(buffer)
        with pytest.warns(ResourceWarning, match="never unmapped: UserMapping"):
            del mapping
        assert mapped(kernel) == []
        # Where the kernel does not unmap it, the buffer stays.
        mapping = backend.map_buffer(buffer)
        kernel.calls, kernel.fail_at, kernel.errno = 0, 1, errno.EIO
        with pytest.raises(VfioError):
            mapping.unmap()
        with pytest.raises(BufferError):
            buffer.append(0)
        mapping._backend = None  # noqa: SLF001 - it was told, and not again at the end
    assert mapped(kernel) == []


@MAPPERS
def test_an_interrupted_map_of_a_buffer_leaves_nothing(
    kernel: FakeKernel, make: Callable[[], Mapper]
) -> None:
    at, left = 0, list[int]()
    with make() as backend, backend.open(TWO):
        while not left:
            buffer = bytearray(PAGE)
            with catch_warnings():
                simplefilter("ignore")  # that nobody unmapped it
                alive = []
                with suppress(KeyboardInterrupt), interrupted(at, PHYR) as left:
                    alive.append(backend.map_buffer(buffer))
                    alive[0].unmap()
                for mapping in alive:
                    mapping.unmap()
                alive.clear()
            assert mapped(kernel) == []
            buffer.clear()
            at += 1
        assert at > 10
    assert mapped(kernel) == []


@MAPPERS
def test_a_pool_behind_an_iommu_takes_no_page_numbers(
    kernel: FakeKernel, make: Callable[[], Mapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hidden(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("phyr.pinning.pool.pin", hidden)
    with make() as backend, backend.open(TWO):
        with DmaPool(backend, 2 * PAGE) as pool:
            ((iova, _, size, access),) = mapped(kernel)
            assert (size, access) == (2 * PAGE, 3)
            with pool.take(64) as one, pool.take(PAGE, align=PAGE) as two:
                assert (one.dma_addr, two.dma_addr) == (iova, iova + PAGE)
        assert mapped(kernel) == []
