"""Type1, Ioas and NoIommu on a kernel that the test is; in a guest they run on a real one."""

import errno
import os
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from ctypes import addressof, c_char
from gc import collect
from pathlib import Path
from termios import FIONREAD
from threading import Event, RLock, Thread
from typing import Any, TypeAlias
from warnings import catch_warnings, simplefilter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import (
    AlignmentError,
    ArrayError,
    DmaPool,
    IovaSpaceError,
    LimitError,
    MismatchError,
    NotMappedError,
    Phyr,
    PinError,
    RangeError,
    VfioError,
    pci,
)
from phyr._devices import uapi
from phyr._devices.uapi import Request, ioctl, refused, tell, write_file
from phyr._phyr import held
from phyr.iommu import Direction, DmaBackend, Owner, Prot, dma_map
from phyr.iommufd import Ioas
from phyr.pci.device import OPEN
from phyr.testing import check_backend
from phyr.vfio import NoIommu, Type1
from support.fake_vfio import CONFIG, TYPE1V2, FakeKernel
from support.interrupts import interrupted

PHYR = str(Path(uapi.__file__).parents[1])
ONE, TWO = "0000:00:04.0", "0000:00:05.0"
PAGE = 4096
UADDR = 0x7F00_0000_0000
BOTH = Direction.BIDIRECTIONAL
Mapper: TypeAlias = Type1 | Ioas
Backend: TypeAlias = Mapper | NoIommu
MAPPERS = pytest.mark.parametrize("make", [Type1, Ioas])
ALL = pytest.mark.parametrize("make", [Type1, Ioas, NoIommu])


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKernel]:
    fake = FakeKernel(tmp_path, monkeypatch)
    fake.add(ONE, 4, "nvme")
    fake.add(TWO, 5, "vfio-pci")
    yield fake
    assert fake.open_files == []
    assert OPEN == {}
    assert fake.maps == {}


class Pin:
    """An owner as pins have it."""

    def __init__(self, method: str | None = None) -> None:
        self.method = method
        self.holds = 0

    def hold(self) -> None:
        self.holds += 1

    def release(self) -> None:
        self.holds -= 1


def buffer_of(*pfns: int, uaddr: int = UADDR, owner: Owner | None = None) -> Phyr:
    """Return the list of a buffer, as a pin gives it."""
    return held(Phyr.from_pfns(pfns), owner, uaddr)


def mapped(kernel: FakeKernel) -> list[tuple[int, int, int, int]]:
    """Return what is mapped: I/O address, user address, length, access."""
    return sorted((iova, *one) for iova, one in kernel.maps.items())


# Mapping.


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
        assert caught.value.page_size == 0x1000
        assert mapped(kernel) == []


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


@ALL
def test_a_dropped_backend_says_so_and_closes_all(
    kernel: FakeKernel, make: Callable[[], Backend]
) -> None:
    backend = make()
    device = backend.open(TWO)
    device.bus_master = True
    region = device.region(0)
    with pytest.warns(ResourceWarning, match="never closed"):
        del backend
    assert device.closed
    assert (kernel.open_files, kernel.maps) == ([], {})
    with pytest.raises(ValueError, match="released"):
        region.u8[0]


@pytest.mark.parametrize("make", [Type1, Ioas, NoIommu])
def test_what_does_not_open_is_dropped_in_silence(kernel: FakeKernel, make: type[Backend]) -> None:
    with catch_warnings(record=True) as said:
        simplefilter("always")
        make.__new__(make).__del__()
        kernel.fail_at = 1
        with pytest.raises(VfioError):
            make()
        collect()
    assert said == []


@ALL
def test_devices_that_are_closed_are_forgotten(
    kernel: FakeKernel, make: Callable[[], Backend]
) -> None:
    with make() as backend:
        for _ in range(3):
            with backend.open(TWO) as device:
                there = weakref.ref(device)
        del device
        collect()
        assert there() is not None
        with backend.open(TWO):
            collect()
            assert there() is None
    assert kernel.open_files == []


# Interrupts.


@MAPPERS
def test_wherever_unmap_is_interrupted_nothing_stays_mapped(
    kernel: FakeKernel, make: Callable[[], Mapper]
) -> None:
    with make() as backend, backend.open(TWO):
        at = 0
        left: list[int] = []
        while not left:
            pin = Pin("io_uring")
            mapping = dma_map(buffer_of(9, owner=pin), backend, BOTH)
            with suppress(KeyboardInterrupt), interrupted(at, PHYR) as left:
                mapping.unmap()
            assert mapped(kernel) == []
            assert pin.holds == 0
            at += 1
        assert at > 4


@MAPPERS
def test_an_interrupt_when_the_kernel_is_done_is_no_error_of_the_next(
    kernel: FakeKernel, make: Callable[[], Mapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    def rude(fd: int, number: int, argument: int | bytearray = 0) -> int:
        kernel.ioctl(fd, number, argument)
        monkeypatch.setattr(uapi, "ioctl", kernel.ioctl)
        raise KeyboardInterrupt

    with make() as backend, backend.open(TWO):
        mapping = dma_map(buffer_of(9), backend, BOTH)
        iova = mapping.dma[0]
        monkeypatch.setattr(uapi, "ioctl", rude)
        with pytest.raises(KeyboardInterrupt) as caught:
            mapping.unmap()
        assert not hasattr(caught.value, "__notes__")
        assert mapped(kernel) == []
        # Its address is free again.
        assert backend.map(buffer_of(9), BOTH)[0] == iova


@MAPPERS
def test_an_interrupted_unmap_takes_no_mapping_of_anothers_away(
    kernel: FakeKernel, make: Callable[[], Mapper]
) -> None:
    with make() as backend, backend.open(TWO):
        at = 0
        left: list[int] = []
        while not left:
            dma = backend.map(buffer_of(9), BOTH)
            with suppress(KeyboardInterrupt), interrupted(at, PHYR) as left:
                backend.unmap(dma, BOTH)
            other = backend.map(buffer_of(11), BOTH)
            # It is done already, maybe.
            with suppress(NotMappedError):
                backend.unmap(dma, BOTH)
            assert [iova for iova, *_ in mapped(kernel)] == [other[0]]
            backend.unmap(other, BOTH)
            at += 1


@ALL
def test_an_interrupted_close_is_completed_by_the_next(
    kernel: FakeKernel, make: Callable[[], Backend]
) -> None:
    at = 0
    left: list[int] = []
    while not left:
        backend = make()
        device = backend.open(TWO)
        device.bus_master = True
        region = device.region(0)
        mapping = dma_map(buffer_of(7, owner=Pin("vfio")), backend, BOTH)
        with suppress(KeyboardInterrupt), interrupted(at, PHYR) as left:
            backend.close()
        calls = kernel.calls
        backend.close()
        # What is closed is not asked again: its number may be another file's.
        assert not left or calls == kernel.calls
        assert (kernel.open_files, kernel.maps, dict(OPEN)) == ([], {}, {})
        with pytest.raises(ValueError, match="released"):
            region.u32[0]
        mapping.unmap()
        at += 1
    assert at > 10


# Forks.


@ALL
@pytest.mark.parametrize("is_real", [True, False])
@pytest.mark.parametrize("device_first", [True, False])
def test_a_forked_child_leaves_all_to_the_parent(
    kernel: FakeKernel,
    make: Callable[[], Backend],
    monkeypatch: pytest.MonkeyPatch,
    is_real: bool,  # noqa: FBT001 - a parameter of the test
    device_first: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    backend = make()
    device = backend.open(TWO)
    device.bus_master = True
    mapping = dma_map(buffer_of(7, owner=Pin("vfio")), backend, BOTH)
    iova = None if isinstance(backend, NoIommu) else backend.map_user(UADDR, PAGE, Prot.READ)
    calls, seen = kernel.calls, mapped(kernel)

    def child() -> None:
        if is_real:
            assert OPEN == {}
        mapping.unmap()
        with pytest.raises(VfioError, match="this is a fork"):
            backend.open(ONE)
        if not isinstance(backend, NoIommu) and iova is not None:
            backend.unmap_user(iova)
            with pytest.raises(VfioError, match="this is a fork"):
                backend.map(buffer_of(7), BOTH)
            with pytest.raises(VfioError, match="this is a fork"):
                backend.map_user(UADDR, PAGE, Prot.READ)
        assert mapped(kernel) == seen
        for close in [device.close, backend.close][:: 1 if device_first else -1]:
            close()
        assert kernel.calls == calls
        assert kernel.open_files == []
        with (kernel.dev / f"device-{TWO}").open("rb") as file:
            file.seek(CONFIG + 4)
            assert file.read(1)[0] & 4

    if is_real:
        # As another thread would hold it.
        lock = getattr(backend, "_lock", RLock())
        thread, holds, ends = Thread(target=lambda: hold(lock, holds, ends)), Event(), Event()
        thread.start()
        holds.wait()
        with catch_warnings():
            # Of threads, which are the point here.
            simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            with suppress(BaseException):
                child()
                os._exit(0)
            os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
        ends.set()
        thread.join()
        assert OPEN[TWO] is device
        assert mapped(kernel) == seen
        mapping.unmap()
        backend.close()
    else:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        child()
        kernel.space = None


def hold(lock: Any, holds: Event, ends: Event) -> None:  # noqa: ANN401 - a class without a name
    with lock:
        holds.set()
        ends.wait()


# What the kernel says.


def test_type1_knows_ranges_page_sizes_and_the_limit(kernel: FakeKernel) -> None:
    kernel.limit = 3
    with Type1() as backend:
        assert (backend.pgsize_bitmap, backend.entry_limit) == (0, None)
        with backend.open(TWO):
            assert backend.ranges == kernel.ranges
            assert backend.pgsize_bitmap == 0x4020_1000
            backend.map(buffer_of(7), BOTH)
            kernel.add("0000:00:06.0", 6, "vfio-pci")
            backend.open("0000:00:06.0")
            assert backend.entry_limit == 3


def test_type1_without_capabilities_may_use_all(kernel: FakeKernel) -> None:
    kernel.caps = False
    with Type1() as backend, backend.open(TWO):
        assert backend.ranges == [(0, 2**64 - 1)]
        assert backend.entry_limit is None


def test_the_entry_limit_is_named(kernel: FakeKernel) -> None:
    kernel.limit = 2
    with Type1() as backend, backend.open(TWO):
        first, _ = [backend.map(buffer_of(pfn), BOTH) for pfn in (7, 9)]
        with pytest.raises(LimitError, match="no more than its 2 mappings") as caught:
            backend.map(buffer_of(11), BOTH)
        assert (caught.value.limit, caught.value.mapped) == (2, 2)
        backend.unmap(first, BOTH)
        assert backend.map(buffer_of(11), BOTH)[0] == first[0]


def test_ioas_asks_again_for_many_ranges(kernel: FakeKernel) -> None:
    kernel.ranges = [(at << 20, (at << 20) + 0xFFFF) for at in range(1, 40)]
    with Ioas() as backend, backend.open(TWO):
        assert backend.ranges == kernel.ranges


def test_ioas_maps_before_any_device(kernel: FakeKernel) -> None:
    with Ioas() as backend:
        dma = backend.map(buffer_of(7), BOTH)
        with backend.open(TWO):
            assert mapped(kernel) == [(dma[0], UADDR, PAGE, 3)]


def test_type1_maps_nothing_before_the_first_device(kernel: FakeKernel) -> None:
    with Type1() as backend, pytest.raises(VfioError, match="open a device first"):
        backend.map(buffer_of(7), BOTH)
    assert kernel.maps == {}


@MAPPERS
@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOMEM, "RLIMIT_MEMLOCK"), (errno.EFAULT, "can be pinned"), (errno.EEXIST, "exists")],
)
def test_a_refused_map_says_why_and_leaves_nothing(
    kernel: FakeKernel, make: Callable[[], Mapper], number: int, words: str
) -> None:
    with make() as backend, backend.open(TWO):
        kernel.fail_at, kernel.errno = kernel.calls + 1, number
        with pytest.raises(VfioError, match=words) as caught:
            backend.map(buffer_of(7), BOTH)
        assert (caught.value.errno, caught.value.uaddr) == (number, UADDR)
        assert caught.value.length == PAGE
        # Nor is the address lost.
        assert backend.map(buffer_of(7), BOTH)[0] == caught.value.iova


@MAPPERS
def test_an_address_that_cannot_be_unmapped_is_not_used_again(
    kernel: FakeKernel, make: Callable[[], Mapper]
) -> None:
    with make() as backend, backend.open(TWO):
        dma = backend.map(buffer_of(7), BOTH)
        kernel.fail_at = kernel.calls + 1
        with pytest.raises(VfioError, match="unmap: Input/output error"):
            backend.unmap(dma, BOTH)
        assert backend.map(buffer_of(7), BOTH)[0] != dma[0]


# Closing.


@ALL
def test_closing_twice_does_nothing(kernel: FakeKernel, make: Callable[[], Backend]) -> None:
    with make() as backend:
        device = backend.open(TWO)
        for each in (device, backend, backend, device):
            each.close()
        calls = kernel.calls
    assert calls == kernel.calls


@ALL
@pytest.mark.parametrize("device_first", [True, False])
def test_closing_in_any_order_leaves_nothing(
    kernel: FakeKernel,
    make: Callable[[], Backend],
    device_first: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    backend = make()
    device = backend.open(TWO)
    device.bus_master = True
    assert device.bus_master
    mapping = dma_map(buffer_of(7, owner=Pin("vfio")), backend, BOTH)
    closing = [device.close, backend.close]
    for close in closing if device_first else reversed(closing):
        close()
    assert (kernel.open_files, kernel.maps) == ([], {})
    config = (kernel.dev / f"device-{TWO}").read_bytes()[CONFIG:]
    assert not config[4] & 4
    mapping.unmap()


@MAPPERS
def test_a_closed_backend_maps_and_opens_nothing(
    kernel: FakeKernel, make: Callable[[], Mapper]
) -> None:
    backend = make()
    backend.open(TWO)
    iova = backend.map_user(UADDR, PAGE, Prot.READ)
    backend.close()
    backend.unmap_user(iova)
    for call in (lambda: backend.map(buffer_of(7), BOTH), lambda: backend.open(ONE)):
        with pytest.raises(VfioError, match="the backend is closed"):
            call()
    assert kernel.maps == {}


@MAPPERS
def test_what_cannot_be_unmapped_goes_with_the_backend(
    kernel: FakeKernel, make: Callable[[], Mapper]
) -> None:
    backend = make()
    backend.open(TWO)
    backend.map(buffer_of(7), BOTH)
    kernel.fail_at = kernel.calls + 1
    backend.close()
    assert kernel.calls >= kernel.fail_at


def test_type1_mappings_go_with_the_last_device_pulled_out(kernel: FakeKernel) -> None:
    with Type1() as backend:
        backend.open(TWO)
        dma = backend.map(buffer_of(7), BOTH)
        # The kernel took the group out of the container.
        kernel.space = None
        backend.unmap(dma, BOTH)


@ALL
def test_groups_stay_for_other_devices(kernel: FakeKernel, make: Callable[[], Backend]) -> None:
    kernel.add("0000:00:05.1", 5, "vfio-pci")
    with make() as backend:
        with backend.open(TWO), backend.open("0000:00:05.1"):
            pass
        with backend.open(TWO) as device:
            assert device.config.read(0, 4) == b"\x36\x1b\x10\x00"


# Opening.


@pytest.mark.parametrize("make", [Type1, NoIommu])
def test_a_group_that_an_interrupt_keeps_out_is_asked_for_again(
    kernel: FakeKernel, make: Callable[[], Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    def rude(_: object, *__: object) -> None:
        raise KeyboardInterrupt

    with make() as backend:
        with monkeypatch.context() as patch:
            patch.setattr(ExitStack, "pop_all", rude)
            with pytest.raises(KeyboardInterrupt):
                backend.open(TWO)
        # As if its number were nobody's any more.
        collect()
        kernel.log.clear()
        with backend.open(TWO):
            assert any(line.endswith("5") for line in kernel.log if line.startswith("open"))


@ALL
def test_a_device_is_opened_once(kernel: FakeKernel, make: Callable[[], Backend]) -> None:
    with make() as backend, backend.open(TWO) as device:
        with pytest.raises(VfioError, match="somebody has it open") as caught:
            backend.open(TWO)
        assert caught.value.errno == errno.EBUSY
        assert OPEN.get(TWO) is device
        assert kernel.open_files


@ALL
def test_what_vfio_does_not_have_cannot_be_opened(
    kernel: FakeKernel, make: Callable[[], Backend]
) -> None:
    kernel.add("0000:00:06.0", None, "nvme")
    with make() as backend:
        for address in (ONE, "0000:00:06.0"):
            with pytest.raises(VfioError) as caught:
                backend.open(address)
            assert caught.value.errno == errno.ENODEV
    assert kernel.maps == {}


@pytest.mark.parametrize("make", [Type1, NoIommu])
def test_a_group_that_others_use_is_refused(
    kernel: FakeKernel, make: Callable[[], Backend]
) -> None:
    kernel.add("0000:00:05.1", 5, "nvme")
    kernel.viable = False
    with make() as backend:
        with pytest.raises(VfioError, match=r"0000:00:05\.1.*nvme") as caught:
            backend.open(TWO)
        assert caught.value.group == 5


def test_without_type1_there_is_no_container(kernel: FakeKernel) -> None:
    kernel.extensions.discard(TYPE1V2)
    with pytest.raises(VfioError, match="TYPE1V2"):
        Type1()
    assert kernel.open_files == []


@ALL
def test_without_vfio_the_file_is_named(kernel: FakeKernel, make: Callable[[], Backend]) -> None:
    for path in (kernel.dev / "vfio" / "vfio", kernel.dev / "iommu"):
        path.unlink()
    with pytest.raises(VfioError, match="its module is not loaded") as caught:
        make()
    assert caught.value.errno == errno.ENOENT


@ALL
def test_whatever_call_fails_nothing_is_left(
    kernel: FakeKernel, make: Callable[[], Backend]
) -> None:
    passed = False
    while not passed:
        kernel.calls, kernel.fail_at = 0, kernel.fail_at + 1
        pin = Pin("io_uring")
        kept = 0
        try:
            with pci.bound(ONE, "vfio-pci") as function, make() as backend:
                device = backend.open(function)
                other = backend.open(TWO)
                device.region(0)
                other.reset()
                mapping = dma_map(buffer_of(7, owner=pin), backend, BOTH)
                kept = 1
                mapping.unmap()
                kept = 0
            passed = kernel.calls < kernel.fail_at
        except VfioError as error:
            assert error.errno == errno.EIO  # noqa: PT017 - any of many calls
        assert kernel.open_files == []
        assert OPEN == {}
        assert kernel.maps == {}
        # Where unmapping itself failed, the owner does not learn of the backend's end.
        assert pin.holds == kept
        # Only what is to give it back can keep it from its driver.
        if kernel.log[-1].startswith("write") and not passed:
            kernel.fail_at, failed = 0, kernel.fail_at
            pci.Function(ONE).bind("nvme")
            kernel.fail_at = failed
        assert pci.Function(ONE).driver == "nvme"
    assert kernel.fail_at > 15


# No IOMMU.


@pytest.mark.parametrize("last", [0x9000 + PAGE - 1, 0x9000 + PAGE - 2, 0xFFFF_FFFF, 2**64 - 1])
def test_without_iommu_nothing_beyond_the_reach_of_a_device_is_mapped(
    kernel: FakeKernel, last: int
) -> None:
    phyr = buffer_of(3, 9, owner=Pin("io_uring"))
    with NoIommu(sysfs=True, dma_mask=last) as backend:
        assert backend.dma_mask == last
        assert backend.map(phyr[: PAGE + PAGE // 2], BOTH).length == PAGE + PAGE // 2
        if last >= 0x9FFF:
            assert backend.map(phyr, BOTH) is phyr
        else:
            with pytest.raises(LimitError, match="ends above the DMA mask 0x9ffe") as caught:
                backend.map(phyr, BOTH)
            assert (caught.value.number, caught.value.dma_addr) == (1, 0x9000)
    assert kernel.calls == 0


def test_a_reach_of_nothing_is_refused_without_iommu(kernel: FakeKernel) -> None:
    with pytest.raises(RangeError, match="dma_mask -1"):
        NoIommu(dma_mask=-1)
    assert kernel.calls == 0


def test_without_iommu_a_list_is_its_own_mapping(kernel: FakeKernel) -> None:
    with NoIommu() as backend, backend.open(TWO):
        for method in ("io_uring", "vfio", "iommufd"):
            phyr = buffer_of(7, 9, owner=Pin(method))
            with dma_map(phyr, backend, BOTH) as mapping:
                assert mapping.dma is phyr
        empty = Phyr.from_pfns([])
        assert backend.map(empty, BOTH) is empty
        assert isinstance(backend, DmaBackend)
    assert kernel.maps == {}


@pytest.mark.parametrize(
    ("owner", "words"), [(None, "no pin holds"), (Pin("mlock"), "a pin of method 'mlock' holds")]
)
def test_without_iommu_only_what_stays_is_mapped(
    kernel: FakeKernel, owner: Owner | None, words: str
) -> None:
    with NoIommu() as backend, pytest.raises(PinError, match=words) as caught:
        dma_map(buffer_of(7, owner=owner), backend, BOTH)
    assert caught.value.errno == errno.EPERM
    assert kernel.maps == {}


class Ended(Pin):
    """The owner of a pin that ended: its method stays what it was."""

    def check(self) -> None:
        raise PinError(errno.EINVAL, "is no longer pinned")


def test_without_iommu_each_part_must_be_pinned_still(kernel: FakeKernel) -> None:
    good, ended, locked = Pin("io_uring"), Ended("io_uring"), Pin("mlock")
    cases: list[tuple[list[Pin], str]] = [
        ([ended], "no longer"),
        ([good, ended], "no longer"),
        ([good, locked], "'mlock'"),
    ]
    with NoIommu(sysfs=True) as backend:
        for owners, words in cases:
            phyr = buffer_of(7, owner=owners[0])
            for owner in owners[1:]:
                phyr = phyr + buffer_of(9, owner=owner)
            with pytest.raises(PinError, match=words):
                backend.map(phyr, BOTH)
        joined = buffer_of(7, owner=good) + buffer_of(9, owner=Pin("vfio"))
        assert backend.map(joined, BOTH) is joined
        with pytest.raises(PinError, match="no pin"):
            backend.map(joined + Phyr.from_pfns([3]), BOTH)
    assert kernel.calls == 0


def test_without_iommu_a_closed_backend_opens_nothing(kernel: FakeKernel) -> None:
    backend = NoIommu(sysfs=True)
    backend.close()
    with pytest.raises(VfioError, match="the backend is closed"):
        backend.open(TWO)
    assert kernel.calls == 0


def test_without_iommu_sysfs_opens_what_no_driver_has(kernel: FakeKernel) -> None:
    with NoIommu(sysfs=True) as backend:
        with pci.bound(ONE, None) as function, backend.open(function) as device:
            device.region(0).u32[3] = 0x1234_5678
            assert kernel.open_files == []
        resource = (function.path / "resource0").read_bytes()
        assert resource[12:16] == bytes.fromhex("78563412")


# Regions.


def test_a_region_that_cannot_be_mapped_is_refused(kernel: FakeKernel) -> None:
    with Type1() as backend, backend.open(TWO) as device:
        for index in (1, -1, 6):
            with pytest.raises(RangeError, match=f"behind BAR {index}"):
                device.region(index)
        kernel.mappable = False
        with pytest.raises(RangeError, match="behind BAR 0"):
            device.region(0)


def test_a_device_is_reset(kernel: FakeKernel) -> None:
    with Type1() as backend, backend.open(TWO) as device:
        device.reset()
        assert kernel.log[-1] == "reset"
        kernel.fail_at, kernel.errno = kernel.calls + 1, errno.EINVAL
        with pytest.raises(VfioError, match="no way to be reset"):
            device.reset()


# Errors.


def test_an_error_without_a_number_is_still_one() -> None:
    error = refused(OSError("?"), "ask", lengths=(1, 2))
    assert str(error) == "[Errno 5] ask: Input/output error, lengths (1, 2)"
    assert error.errno == errno.EIO
    assert isinstance(error, OSError)
    assert os.strerror(error.errno) in str(error)


# What stands behind the requests when no test does.


def test_a_request_reaches_the_kernel_and_its_reply_comes_back() -> None:
    read, write = os.pipe()
    try:
        os.write(write, b"mail")
        waiting = bytearray(4)
        assert ioctl(read, FIONREAD, waiting) == 0
        assert int.from_bytes(waiting, sys.byteorder) == 4
        with pytest.raises(VfioError, match="VFIO_DEVICE_RESET: Inappropriate ioctl"):
            tell(read, Request("VFIO_DEVICE_RESET", 0x3B6F))
    finally:
        os.close(read)
        os.close(write)


def test_a_file_of_sysfs_is_written(tmp_path: Path) -> None:
    write_file(tmp_path / "enable", "1")
    assert (tmp_path / "enable").read_text() == "1"


# The rules of all backends.


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


# What is enforced.


@pytest.mark.parametrize(
    ("iommu", "release", "is_enforced"),
    [
        ("dmar0", "5.10.0-8-amd64", False),
        ("dmar1", "6.12.43", False),
        ("dmar0", "6.13", None),
        ("dmar0", "7.2.9", None),
        ("dmar0", "7.3.4", True),
        ("dmar0", "8.0-rc1", True),
        ("dmar0", "unheard-of", None),
        ("ivhd0", "6.12.43", True),
        ("virtio1", "6.12.43", True),
        ("smmu3.0x09050000", "7.3.4", None),
        (None, "7.3.4", None),
    ],
)
def test_a_backend_says_if_devices_read_what_they_may_only_write(
    kernel: FakeKernel,
    monkeypatch: pytest.MonkeyPatch,
    iommu: str | None,
    release: str,
    is_enforced: bool | None,  # noqa: FBT001 - a case
) -> None:
    real = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*real[:2], release, *real[3:])))
    for address, name in ((TWO, iommu), (ONE, "ivhd7")):
        if name:
            (kernel.sys / "devices" / address / "iommu").symlink_to(kernel.sys / name)
    with Ioas() as backend, pci.bound(ONE, "vfio-pci") as other:
        assert backend.enforces_write_only is None
        with backend.open(TWO):
            assert backend.enforces_write_only is is_enforced
        with backend.open(other):
            assert backend.enforces_write_only is is_enforced


# By user address.


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
