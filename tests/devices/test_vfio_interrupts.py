"""Interrupts and forks leave nothing half done."""

import os
from collections.abc import Callable
from contextlib import suppress
from threading import Event, RLock, Thread
from typing import Any
from warnings import catch_warnings, simplefilter

import pytest

from phyr import NotMappedError, VfioError
from phyr._devices import uapi
from phyr.iommu import Prot, dma_map
from phyr.pci.device import OPEN
from phyr.vfio import NoIommu
from support.fake_vfio import CONFIG, FakeKernel
from support.interrupts import interrupted
from support.vfio import (
    ALL,
    BOTH,
    MAPPERS,
    ONE,
    PAGE,
    PHYR,
    TWO,
    UADDR,
    Backend,
    Mapper,
    Pin,
    buffer_of,
    mapped,
)

pytest_plugins = ["support.vfio"]


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
        # A closed file is not asked again: its number may be another file's.
        assert not left or calls == kernel.calls
        assert (kernel.open_files, kernel.maps, dict(OPEN)) == ([], {}, {})
        with pytest.raises(ValueError, match="released"):
            region.u32[0]
        mapping.unmap()
        at += 1
    assert at > 10


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
