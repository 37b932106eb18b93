"""Pinned buffers: where they lie, that they stay there, and that nothing is left behind."""

import copy
import errno
import gc
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import phyr
from phyr import PinError, pagemap
from phyr._phyr import Ring
from phyr.iommu import Direct, Direction, Paging, Prot, dma_map
from phyr.pinning import hold, methods, reasons
from phyr.pinning.hold import Hold
from phyr.pinning.pinned import _first_difference
from phyr.testing import TableDomain
from support.interrupts import interrupted
from support.live import PAGE, linux, python, ring_is_allowed, shown, uring
from support.pages import HUGE, addresses, frames, huge_pages, pinned_bytes, private, status, where
from support.rings import Rings

MADV_COLLAPSE = 25


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    gc.collect()
    before = pinned_bytes(), status("VmLck")
    yield
    gc.collect()
    assert (pinned_bytes(), status("VmLck")) == before


# What it gives


def check(pinned: phyr.Pinned, buffer: object) -> None:
    """Compare a pin with an independent reading of the page map."""
    uaddr, length = where(buffer)
    assert (pinned.uaddr, pinned.length, pinned.phyr.length) == (uaddr, length, length)
    pinned.phyr.validate()
    firsts = [0, *range(-uaddr % PAGE or PAGE, length, PAGE), length - 1]
    assert [pinned.phyr[at] for at in firsts] == addresses(uaddr, length)
    assert pinned.phyr.uaddr == uaddr
    assert pinned.moved() is None


@shown
@uring
@pytest.mark.parametrize("method", [None, "io_uring", "mlock"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: bytearray(3 * PAGE + 5),
        lambda: bytearray(1),
        lambda: private(64 * PAGE),
        lambda: mmap.mmap(-1, 64 * PAGE),
        lambda: np.zeros((64, 700), dtype=np.float32),
        lambda: np.zeros((64, 700), order="F")[:, 5:9],
        lambda: memoryview(bytearray(9 * PAGE))[PAGE + 7 :],
    ],
    ids=["bytearray", "byte", "private", "shared", "numpy", "fortran", "view"],
)
def test_the_list_of_a_pinned_buffer_is_what_the_page_map_says(
    make: Callable[[], object], method: str | None
) -> None:
    buffer = make()
    with phyr.pin(buffer, method=method) as pinned:
        check(pinned, buffer)
        assert pinned.method == (method or "io_uring")
        owner: Any = pinned.phyr.owner
        assert (owner.method, owner.uaddr, owner.length) == (
            pinned.method,
            pinned.uaddr,
            pinned.length,
        )
        uaddr, length = where(buffer)
        pages = len(frames(uaddr, length)) * PAGE
        assert (status("VmLck") if method == "mlock" else pinned_bytes()) >= pages


@shown
@uring
def test_shared_memory_is_pinned() -> None:
    shared = SharedMemory(create=True, size=5 * PAGE)
    try:
        with phyr.pin(shared.buf) as pinned:
            check(pinned, shared.buf)
    finally:
        shared.close()
        shared.unlink()


@shown
@uring
def test_huge_pages_of_hugetlbfs_are_pinned_as_one_chunk_each() -> None:
    huge = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000 | 21 << 26  # MAP_HUGETLB of 2 MiB
    with huge_pages(2):
        area = mmap.mmap(-1, 2 * HUGE, huge)
        with phyr.pin(area) as pinned:
            check(pinned, area)
            assert len(pinned.phyr.chunks) <= 2
            assert all(chunk.paddr % HUGE == 0 for chunk in pinned.phyr.chunks)
        with memoryview(area)[100 : HUGE + 200] as view, phyr.pin(view) as pinned:
            check(pinned, view)
        area.close()


@shown
@uring
def test_a_file_of_huge_pages_is_pinned() -> None:
    with huge_pages(2):
        file = os.memfd_create("huge", 0x4 | 21 << 26)  # MFD_HUGETLB of 2 MiB
        os.ftruncate(file, 2 * HUGE)
        area = mmap.mmap(file, 2 * HUGE)
        os.close(file)
        with phyr.pin(area) as pinned:
            check(pinned, area)
            assert all(chunk.paddr % HUGE == 0 for chunk in pinned.phyr.chunks)
        area.close()


@shown
@uring
@pytest.mark.filterwarnings("ignore:asked for thp")
def test_transparent_huge_pages_are_pinned() -> None:
    with phyr.alloc(5 * HUGE + 7, huge="thp") as buffer, phyr.pin(buffer) as pinned:
        check(pinned, buffer)
        if buffer.huge_length > 5 * HUGE:
            assert len(pinned.phyr.chunks) <= 6


@shown
@uring
def test_a_pinned_buffer_is_mapped_through_an_io_page_table() -> None:
    buffer = bytearray(64 * PAGE)
    domain = TableDomain()
    with phyr.pin(buffer) as pinned:
        part = pinned.phyr[100:-100]
        with dma_map(part, Paging(domain), Direction.FROM_DEVICE) as mapping:
            assert len(mapping.dma.chunks) == 1
            iova = mapping.dma[0]
            firsts = addresses(*where(memoryview(buffer)[100:-100]))
            assert domain.iova_to_phys(iova) == firsts[0]
            assert domain.iova_to_phys(iova + len(part) - 1) == firsts[-1]
            with pytest.raises(PinError, match="1 mapping"):
                pinned.unpin()


@shown
@uring
def test_memory_is_pinned_by_its_address_too() -> None:
    area = private(4 * PAGE)
    uaddr, _ = where(area)
    with phyr.pin((uaddr + 10, 2 * PAGE)) as pinned, memoryview(area)[10 : 10 + 2 * PAGE] as view:
        check(pinned, view)


AREA = private(24 * PAGE) if sys.platform == "linux" else mmap.mmap(-1, 24 * PAGE)


@shown
@uring
@given(st.data())
def test_a_pinned_part_is_the_part_of_what_is_pinned(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(AREA) - 1))
    length = data.draw(st.integers(1, len(AREA) - start))
    view = memoryview(AREA)[start : start + length]
    with phyr.pin(AREA) as whole, phyr.pin(view) as part:
        check(part, view)
        assert part.phyr == whole.phyr[start : start + length]
        assert part.phyr.uaddr == whole.phyr[start:].uaddr


@uring
@pytest.mark.parametrize("method", ["io_uring", "mlock"])
def test_an_empty_buffer_is_pinned_by_doing_nothing(method: str) -> None:
    buffer = bytearray()
    with phyr.pin(buffer, method=method) as pinned:
        assert pinned.phyr == phyr.Phyr.from_pfns([], granule=PAGE)
        assert (pinned.length, pinned.method, pinned_bytes()) == (0, method, 0)
        with pytest.raises(BufferError):
            buffer.append(1)
        with dma_map(pinned.phyr, Direct(), Direction.TO_DEVICE):
            pass
    buffer.append(1)


@shown
@uring
def test_memory_never_written_becomes_present() -> None:
    area = private(16 * PAGE)
    _ = area[3 * PAGE]  # a zero page
    with phyr.pin(area) as pinned:
        check(pinned, area)
        assert len(set(frames(*where(area)))) == 16


# How long it lasts


@shown
@uring
@pytest.mark.parametrize("method", ["io_uring", "mlock"])
def test_it_is_unpinned_once_and_says_so_afterwards(method: str) -> None:
    pinned = phyr.pin(bytearray(PAGE), method=method)
    list_ = pinned.phyr
    assert "0 mappings" in repr(pinned)
    assert ("may move" in repr(pinned)) == (method == "mlock")
    pinned.unpin()
    pinned.unpin()
    assert "not pinned" in repr(pinned)
    for use in (lambda: pinned.phyr, pinned.moved, pinned.__enter__):
        with pytest.raises(PinError, match="no longer pinned") as caught:
            use()
        assert caught.value.errno == errno.EINVAL
    with pytest.raises(PinError, match="no longer pinned"):
        dma_map(list_, Direct(), Direction.TO_DEVICE)


@shown
@uring
def test_a_pinned_buffer_cannot_be_resized_or_freed() -> None:
    array, area = bytearray(PAGE), private(PAGE)
    with phyr.pin(array), phyr.pin(area):
        with pytest.raises(BufferError):
            array.extend(bytes(1 << 20))
        with pytest.raises(BufferError):
            area.close()
    array.extend(bytes(1 << 20))
    area.close()


@shown
@uring
def test_slices_and_copies_keep_it_and_the_last_one_warns() -> None:
    pinned = phyr.pin(bytearray(8 * PAGE))
    there = weakref.ref(pinned.phyr.owner)
    kept = [pinned.phyr[5:6], pinned.phyr.compact(), copy.copy(pinned.phyr)]
    del pinned
    while kept:
        gc.collect()
        assert there() is not None
        assert pinned_bytes() >= 8 * PAGE
        last = kept.pop()
        if kept:
            del last
    with pytest.warns(ResourceWarning, match=r"never unpinned: 0x\w+\+0x8000 \(io_uring\)"):
        del last
    assert there() is None


@shown
@uring
def test_a_pin_and_its_hold_are_no_circle() -> None:
    gc.disable()
    try:
        pinned = phyr.pin(bytearray(PAGE))
        there = weakref.ref(pinned.phyr.owner)
        pinned.unpin()
        del pinned
        assert there() is None
    finally:
        gc.enable()


@shown
@uring
def test_a_mapped_list_cannot_be_unpinned() -> None:
    pinned = phyr.pin(bytearray(8 * PAGE))
    first = dma_map(pinned.phyr[PAGE:], Direct(), Direction.TO_DEVICE)
    with pytest.raises(PinError, match=r"stays pinned: 1 mapping of it live") as caught:
        pinned.unpin()
    assert (caught.value.errno, caught.value.mappings) == (errno.EBUSY, 1)
    with dma_map(pinned.phyr, Direct(), Direction.FROM_DEVICE) as second:
        with pytest.raises(PinError, match="2 mappings of it"), pinned:
            assert second.owner is pinned.phyr.owner
        assert pinned.moved() is None
    first.unmap()
    pinned.unpin()


@shown
@uring
def test_a_mapping_keeps_what_it_maps_pinned() -> None:
    mapping = dma_map(phyr.pin(bytearray(8 * PAGE)).phyr[:5], Direct(), Direction.TO_DEVICE)
    gc.collect()
    assert pinned_bytes() >= 8 * PAGE
    mapping.unmap()
    with pytest.warns(ResourceWarning, match="never unpinned"):
        del mapping


@shown
@uring
def test_the_garbage_collector_may_drop_a_mapping_at_any_time() -> None:
    with phyr.pin(bytearray(PAGE)) as pinned:
        circle: list[object] = [dma_map(pinned.phyr, Direct(), Direction.TO_DEVICE)]
        circle.append(circle)
        del circle
        owner: Any = pinned.phyr.owner
        with owner._lock, pytest.warns(ResourceWarning, match="never unmapped"):  # noqa: SLF001
            gc.collect()
        assert owner.mappings == 0


@shown
@uring
def test_threads_may_share_it() -> None:
    buffer = bytearray(64 * PAGE)
    failures: list[BaseException] = []

    def work(pinned: phyr.Pinned) -> None:
        try:
            for _ in range(20):
                with phyr.pin(buffer) as own, phyr.pin(buffer, method="mlock"):
                    assert own.phyr == pinned.phyr
                    with dma_map(pinned.phyr, Direct(), Direction.TO_DEVICE):
                        pass
            pinned.unpin()
        except PinError as error:  # another thread's mapping, or already unpinned
            if error.errno not in {errno.EBUSY, errno.EINVAL}:
                failures.append(error)
        except BaseException as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    with phyr.pin(buffer) as pinned:
        threads = [threading.Thread(target=work, args=(pinned,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


@shown
def test_a_second_unpin_waits_until_the_memory_is_unmapped() -> None:
    unmapping, go_on, second_is_back = (threading.Event() for _ in range(3))

    class Slow(Fake):
        def unmap_user(self, iova: int) -> None:
            unmapping.set()
            assert go_on.wait(60)
            super().unmap_user(iova)

    buffer, backend = bytearray(b"x" * PAGE), Slow()
    pinned = phyr.pin(buffer, backend=backend)

    def again() -> None:
        pinned.unpin()
        second_is_back.set()

    threads = [threading.Thread(target=pinned.unpin), threading.Thread(target=again)]
    threads[0].start()
    assert unmapping.wait(60)
    threads[1].start()
    try:
        assert not second_is_back.wait(0.2)
        with pytest.raises(BufferError):
            buffer.append(1)
    finally:
        go_on.set()
        for thread in threads:
            thread.join()
    assert backend.mapped == {}
    buffer.append(1)


def wrong_in_a_child(area: mmap.mmap, pins: list[phyr.Pinned]) -> int:
    """Return 0 if this forked child has no pin and no ring, and can pin its own memory."""
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the directory's own
            if str(descriptor.readlink()) == "anon_inode:[io_uring]":
                return 2
    for each in pins:
        try:
            each.phyr  # noqa: B018 - it raises
        except PinError as error:
            if error.errno != errno.ECHILD:
                return 3
        else:
            return 4
        each.unpin()
        each.unpin()
    if status("VmLck"):
        return 5
    area[:] = b"c" * len(area)
    with phyr.pin(area, method="mlock") as own:
        check(own, area)
        if status("VmLck") != len(area):
            return 6
    return 7 if status("VmLck") else 0


@shown
@uring
def test_a_forked_child_has_no_pin_and_leaves_the_parents_alone() -> None:
    area = private(16 * PAGE)
    with phyr.pin(area) as pinned, phyr.pin(area, method="mlock") as locked:
        before = frames(*where(area))
        child = os.fork()
        if not child:
            code = 1
            try:
                code = wrong_in_a_child(area, [pinned, locked])
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        area[:] = b"p" * len(area)
        assert frames(*where(area)) == before
        assert pinned.moved() is None
        assert pinned_bytes() >= len(area)
        assert status("VmLck") == len(area)


@shown
@uring
def test_a_fork_that_python_does_not_know_of_leaves_the_parents_pin_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pinned = phyr.pin(bytearray(PAGE))
    real = os.getpid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: real + 1)
        with pytest.raises(PinError, match=f"pinned by process {real}"):
            pinned.moved()
        abandoned: list[str] = []
        patch.setattr(methods.Registered, "abandon", lambda _: abandoned.append("ring"))
        pinned.unpin()
        assert abandoned == ["ring"]


ENDS = """
import mmap, os, signal, sys, phyr
area = mmap.mmap(-1, 2 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000 | 21 << 26)
pinned = phyr.pin(area, method="mlock" if sys.argv[1] == "mlock" else None)
print("pinned", flush=True)
if sys.argv[1] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "_exit":
    os._exit(0)
if sys.argv[1] == "circle":
    pinned.circle = pinned
    sys.modules["keeper"] = pinned
"""


@shown
@uring
@pytest.mark.parametrize("end", ["kill", "_exit", "plain", "circle", "mlock"])
def test_it_is_unpinned_when_the_process_ends_whatever_happens(end: str) -> None:
    free = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
    with huge_pages(1):
        before = int(free.read_text())
        run = python("-W", "ignore", "-c", ENDS, end)
        assert run.stdout == "pinned\n", run.stderr
        assert run.stderr == ""
        assert run.returncode == (-signal.SIGKILL if end == "kill" else 0)
        deadline = time.monotonic() + 10
        while int(free.read_text()) != before and time.monotonic() < deadline:
            time.sleep(0.01)  # the kernel takes rings down in the background
        assert int(free.read_text()) == before


OURS = str(Path(phyr.__file__).parent)


@shown
@uring
@pytest.mark.parametrize("part", ["pin", "unpin"])
@pytest.mark.parametrize("method", ["io_uring", "mlock", "iommufd"])
def test_wherever_an_interrupt_comes_nothing_stays_pinned(method: str, part: str) -> None:
    buffer = bytearray(b"x") * (3 * PAGE)
    backend = Fake()
    options: dict[str, Any] = {"backend": backend} if method == "iommufd" else {"method": method}
    with phyr.pin(buffer, **options):
        pass  # everything is imported now
    at, left = -1, list[int]()
    while not left:
        at += 1
        left = [at]
        with catch_warnings():
            simplefilter("ignore", ResourceWarning)
            try:
                if part == "pin":
                    with interrupted(at, OURS) as left:
                        pinned = phyr.pin(buffer, **options)
                    pinned.unpin()
                else:
                    pinned = phyr.pin(buffer, **options)
                    with interrupted(at, OURS) as left:
                        pinned.unpin()
            except KeyboardInterrupt:
                assert left == []
            pinned = None  # type: ignore[assignment]
        assert (pinned_bytes(), status("VmLck"), backend.lost) == (0, 0, set()), at
        buffer.append(1)
        del buffer[-1]
    assert at > 5


# That nothing moves


@shown
@uring
@pytest.mark.parametrize("method", ["mlock", "io_uring"])
def test_making_huge_pages_moves_locked_pages_and_no_pinned_ones(method: str) -> None:
    area = private(8 << 20)
    area[:] = bytes(len(area))
    uaddr, _ = where(area)
    inside = -uaddr % HUGE
    with memoryview(area)[inside : inside + 2 * HUGE] as view, phyr.pin(view, method=method) as pin:
        before = frames(uaddr + inside, 2 * HUGE)
        area.madvise(mmap.MADV_HUGEPAGE)
        refusal = None
        try:
            area.madvise(MADV_COLLAPSE, inside, 2 * HUGE)
        except OSError as error:
            refusal = error.errno
        if refusal == errno.EINVAL:
            pytest.skip("this kernel knows no MADV_COLLAPSE (Linux 6.1), or no huge pages")
        if refusal == errno.ENOMEM:
            pytest.skip("no huge page is left to collapse into")
        after = frames(uaddr + inside, 2 * HUGE)
        moved = [number for number, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
        if method == "mlock":
            assert refusal is None
            assert len(moved) > 500
            assert pin.moved() == moved[0] * PAGE
        else:
            assert refusal is not None
            assert moved == []
            assert pin.moved() is None


class Fake:
    """A backend that maps, and pins nothing; it counts."""

    method = "iommufd"

    def __init__(self) -> None:
        self.mapped: dict[int, tuple[int, int, int]] = {}

    @property
    def lost(self) -> set[int]:
        """What stays mapped until the backend is closed."""
        return set(self.mapped)

    def map_user(self, uaddr: int, length: int, prot: int) -> int:
        self.mapped[0x1000 * (len(self.mapped) + 1)] = (uaddr, length, prot)
        return 0x1000 * len(self.mapped)

    def unmap_user(self, iova: int) -> None:
        del self.mapped[iova]


@shown
def test_moved_tells_the_first_byte_that_moved() -> None:
    area = private(8 * PAGE)
    area[:] = b"a" * len(area)
    with phyr.pin(memoryview(area)[100:], backend=Fake()) as pinned:
        assert pinned.moved() is None
        area.madvise(mmap.MADV_DONTNEED, 5 * PAGE, PAGE)
        assert pinned.moved() == 5 * PAGE - 100
        was = pinned.phyr[5 * PAGE]
        kept = [private(PAGE) for _ in range(4)]
        for each in kept:
            each[0] = 1  # takes the freed page, so that another comes
        area[5 * PAGE] = 1
        now = frames(where(area)[0] + 5 * PAGE, 1)[0] * PAGE + 100
        assert pinned.moved() == (None if now == was else 5 * PAGE - 100)
        area.madvise(mmap.MADV_DONTNEED, 0, PAGE)
        assert pinned.moved() == 0


@given(st.data())
def test_the_first_difference_of_two_lists_is_what_the_bytes_say(data: st.DataObject) -> None:
    pages = st.lists(st.integers(0, 5), min_size=1, max_size=8)
    was = data.draw(pages)
    now = data.draw(st.lists(st.integers(0, 5), min_size=len(was), max_size=len(was)))
    common = data.draw(st.integers(0, len(was)))
    now[:common] = was[:common]
    offset = data.draw(st.integers(0, PAGE - 1))
    one, other = (phyr.Phyr.from_pfns(each, offset=offset) for each in (was, now))
    if one == other:
        return
    number = next(at for at, (a, b) in enumerate(zip(was, now, strict=True)) if a != b)
    assert _first_difference(one, other) == max(number * 4096 - offset, 0)


# Backends


@shown
@pytest.mark.parametrize(
    ("own", "asked", "method"),
    [
        ("vfio", None, "vfio"),
        ("iommufd", None, "iommufd"),
        ("iommufd", "iommufd", "iommufd"),
        (None, "iommufd", "iommufd"),
        (None, None, "vfio"),
    ],
)
def test_a_backend_pins_by_mapping_whole_pages_once(
    own: str | None, asked: str | None, method: str
) -> None:
    backend = Fake()
    backend.method = own  # type: ignore[assignment]
    buffer = bytearray(3 * PAGE)
    buffer[:] = b"x" * len(buffer)
    uaddr, length = where(buffer)
    with phyr.pin(buffer, backend=backend, method=asked) as pinned:
        check(pinned, buffer)
        assert pinned.method == method
        start = uaddr - uaddr % PAGE
        pages = len(frames(uaddr, length)) * PAGE
        assert list(backend.mapped.values()) == [(start, pages, Prot.READ | Prot.WRITE)]
    assert backend.mapped == {}
    pinned.unpin()


@shown
def test_a_backend_is_undone_where_page_numbers_cannot_be_read() -> None:
    backend = Fake()
    with pytest.raises(phyr.RangeError, match="not there"):
        phyr.pin(private(PAGE), backend=backend)  # which it does not make present
    assert backend.mapped == {}

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt(done, total)

    with pytest.raises(KeyboardInterrupt, match=f"{PAGE}, {PAGE}"):
        phyr.pin(private(PAGE), backend=backend, progress=stop)
    assert backend.mapped == {}


@pytest.mark.parametrize(("own", "method"), [("vfio", "iommufd"), ("vfio", "mlock"), (7, None)])
def test_method_and_backend_must_go_together(own: str, method: str | None) -> None:
    backend = Fake()
    backend.method = own
    with pytest.raises(phyr.MismatchError, match="does not go with a backend"):
        phyr.pin(bytearray(1), method=method, backend=backend)
    with pytest.raises(phyr.MismatchError, match="needs a backend"):
        phyr.pin(bytearray(1), method="vfio")
    with pytest.raises(phyr.RangeError, match="'hope' is none of io_uring") as caught:
        phyr.pin(bytearray(1), method="hope")
    assert caught.value.method == "hope"


@shown
@linux
@pytest.mark.parametrize("shared", [0, PAGE], ids=["alone", "shared"])
def test_a_forked_child_leaves_mappings_and_locks_alone_and_closes_rings(
    monkeypatch: pytest.MonkeyPatch, shared: int
) -> None:
    """Call what a fork calls, here, where its branches are counted."""
    monkeypatch.setattr(methods, "SHARED", shared)
    backend, buffer = Fake(), private(PAGE)
    buffer[0] = 1
    by_backend = phyr.pin(buffer, backend=backend)
    locked = phyr.pin(buffer, method="mlock")
    rings = Rings(monkeypatch, "none", 0)
    ringed = phyr.pin(buffer) if ring_is_allowed() else by_backend
    hold._forked()  # noqa: SLF001
    methods.Locked.forked()
    methods.Registered.shared.forked()
    assert len(backend.mapped) == 1
    assert rings.abandoned == (ringed is not by_backend)
    for each in (by_backend, locked, ringed):
        with pytest.raises(PinError, match="no longer pinned"):
            each.moved()
        each.unpin()
    rings.close()
    methods.Registered().abandon()
    phyr.pin(buffer, method="mlock").unpin()
    buffer.close()


# What cannot be pinned


@pytest.mark.parametrize(
    "given_",
    [b"constant", memoryview(b"constant"), np.broadcast_to(np.zeros(1), 1)],
)
def test_a_read_only_buffer_is_refused(given_: object) -> None:
    with pytest.raises(phyr.ArrayError, match="is read-only"):
        phyr.pin(given_)


def test_what_is_no_memory_is_refused() -> None:
    with pytest.raises(phyr.ArrayTypeError, match="has no buffer"):
        phyr.pin(7)
    with pytest.raises(phyr.ArrayTypeError, match="a tuple of 3"):
        phyr.pin((1, 2, 3))
    with pytest.raises(TypeError):
        phyr.pin((1, "2"))
    with pytest.raises(phyr.ArrayError, match="not contiguous"):
        phyr.pin(np.zeros(9)[::2])
    for uaddr, length in ((-1, 5), (5, -1), (1 << 64, 1), ((1 << 64) - 5, 6)):
        with pytest.raises(phyr.RangeError, match="is outside 64 bits") as caught:
            phyr.pin((uaddr, length))
        assert (caught.value.uaddr, caught.value.length) == (uaddr, length)


def test_a_buffer_that_lends_nothing_any_more_says_why() -> None:
    area, view = mmap.mmap(-1, PAGE), memoryview(bytearray(PAGE))
    area.close()
    view.release()
    with pytest.raises(ValueError, match="mmap closed"):
        phyr.pin(area)
    with pytest.raises(ValueError, match="released memoryview"):
        phyr.pin(view)


def test_why_a_buffer_is_not_lent_is_told() -> None:
    lender = pytest.importorskip("_testbuffer")
    whole = lender.ndarray([0] * 8, shape=[8], format="B", flags=lender.ND_WRITABLE)
    bare = lender.ndarray(whole, getbuf=lender.PyBUF_SIMPLE)
    with pytest.raises(phyr.ArrayError, match="does not lend its memory: BufferError: re-exporter"):
        phyr.pin(bare)


@uring
@pytest.mark.parametrize("method", ["io_uring", "mlock"])
@pytest.mark.parametrize("top", [1 << 48, 1 << 64])
def test_an_address_that_is_not_mapped_is_named(method: str, top: int) -> None:
    area = private(4 * PAGE)
    uaddr, _ = where(area)
    area.close()
    for start in (uaddr, top - PAGE):
        with pytest.raises(PinError, match=f"{start:#x} is not mapped") as caught:
            phyr.pin((start, PAGE), method=method)
        assert caught.value.uaddr == start
        assert caught.value.errno in {errno.EFAULT, errno.ENOMEM, errno.EOVERFLOW, errno.EINVAL}


@shown
@uring
def test_read_only_memory_is_named_and_mlock_takes_it() -> None:
    area = mmap.mmap(-1, PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)
    uaddr, length = where(area)
    with pytest.raises(PinError, match=f"{uaddr:#x} is read-only memory \\(r--p ") as caught:
        phyr.pin((uaddr, length))
    assert caught.value.errno == errno.EFAULT


@uring
def test_memory_of_a_file_on_a_disk_is_named(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(2 * PAGE))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as area:
        mounted = subprocess.run(  # noqa: S603 - a tool of the system
            ["/usr/bin/stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=True
        )
        if mounted.stdout.strip() == "tmpfs":
            pytest.skip("temporary files are in memory here")
        with pytest.raises(PinError, match=f"is memory of the file {path}") as caught:
            phyr.pin(area)
    assert caught.value.errno in {errno.EFAULT, errno.EOPNOTSUPP}


def test_files_that_only_lie_in_memory_are_told_from_those_on_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(
        "22 1 254:1 / / rw - ext4 /dev/vda rw\n23 22 0:21 / /run rw shared:5 - tmpfs tmpfs rw\n"
    )
    monkeypatch.setattr(reasons, "PROC", tmp_path)

    def on_disk(perms: str, device: str, inode: int) -> bool:
        vma = pagemap.Vma(0, PAGE, perms, 0, device, inode, "/x")
        return reasons._is_on_disk(vma)  # noqa: SLF001

    assert on_disk("rw-s", "fe:01", 9)
    assert not on_disk("rw-p", "fe:01", 9)
    assert not on_disk("rw-s", "fe:01", 0)
    assert not on_disk("rw-s", "00:15", 9)
    assert not on_disk("rw-s", "00:01", 9)


LIMITED = """
import ctypes, os, resource, sys, mmap
if len(sys.argv) > 3:
    ctypes.CDLL(None).prctl(24, 14, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_IPC_LOCK
    os.execv(sys.executable, [sys.executable, "-c", os.environ["LIMITED"], *sys.argv[1:3]])
import phyr
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
area = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
try:
    phyr.pin(area, method=sys.argv[1])
except phyr.PinError as error:
    print(error.errno, error.limit, error.length, error.total, error)
status = open("/proc/self/status").read()
print(status.split("VmLck:")[1].split()[0], status.split("VmPin:")[1].split()[0])
area.close()
"""


@shown
@uring
@pytest.mark.parametrize(
    ("method", "limit", "number"),
    [("io_uring", 65536, errno.ENOMEM), ("mlock", 65536, errno.ENOMEM), ("mlock", 0, errno.EPERM)],
)
def test_the_limit_on_locked_memory_is_named(method: str, limit: int, number: int) -> None:
    run = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", LIMITED, method, str(limit), "drop"],
        env={**os.environ, "LIMITED": LIMITED},
        capture_output=True,
        text=True,
        check=True,
    )
    refusal, rest = run.stdout.splitlines()
    assert refusal.startswith(f"{number} {limit} {1 << 20} {1 << 20} [Errno {number}] {method} ")
    assert f"RLIMIT_MEMLOCK allows this user {limit:#x} bytes, and 0x100000" in refusal
    assert rest == "0 0"


HIDDEN = """
import mmap, sys, phyr
area = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
try:
    phyr.pin(area, method=sys.argv[1])
except phyr.HiddenPagesError as error:
    print(error.errno)
status = open("/proc/self/status").read()
print(status.split("VmLck:")[1].split()[0], status.split("VmPin:")[1].split()[0])
area.close()
"""


@shown
@uring
@pytest.mark.parametrize("method", ["io_uring", "mlock"])
def test_it_is_undone_where_page_numbers_are_hidden(method: str) -> None:
    run = python("-W", "error", "-c", HIDDEN, method, admin=False)
    assert run.stdout.split() == [str(errno.EPERM), "0", "0"], run.stderr


SANDBOX = """
import ctypes, struct, sys, phyr
# Load the number of the call; if it is io_uring_setup (425) return an error, else allow.
refuse, allow = 0x50000 | int(sys.argv[1]), 0x7FFF0000
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (6, 0, 0, refuse), (6, 0, 0, allow)]
program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in code))
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
argument = Program(len(code), ctypes.addressof(program))
assert libc.prctl(22, 2, ctypes.byref(argument), 0, 0) == 0  # PR_SET_SECCOMP
try:
    phyr.pin(bytearray(1))
except phyr.PinError as error:
    print(error)
"""


@linux
@pytest.mark.parametrize(
    ("number", "text"),
    [(errno.EPERM, "forbidden to this process, by a sandbox"), (errno.ENOSYS, "has no io_uring")],
)
def test_a_sandbox_without_io_uring_is_named(number: int, text: str) -> None:
    run = python("-c", SANDBOX, str(number))
    assert run.stdout.startswith(f"[Errno {number}] "), run.stderr
    assert text in run.stdout
    assert "vfio and iommufd pin without" in run.stdout


@linux
@pytest.mark.parametrize(
    ("step", "number", "text"),
    [
        ("setup", errno.EMFILE, r"Too many open files \(RLIMIT_NOFILE is [0-9]+: ulimit -n\)"),
        ("setup", errno.ENFILE, r"Too many open files in system \(fs.file-max"),
        ("setup", errno.ENOMEM, "no io_uring to pin with: Cannot allocate memory"),
        ("setup", errno.ENOSYS, "this kernel has no io_uring"),
        ("reserve", errno.EINVAL, "that takes Linux 5.19"),
        ("register", errno.ENOMEM, "Cannot allocate memory"),
    ],
)
@pytest.mark.parametrize("shared", [0, PAGE], ids=["alone", "shared"])
def test_whatever_fails_is_told(
    monkeypatch: pytest.MonkeyPatch, shared: int, step: str, number: int, text: str
) -> None:
    monkeypatch.setattr(methods, "SHARED", shared)
    monkeypatch.setattr(reasons, "_memlock", lambda: None)
    if step != "setup" and not ring_is_allowed():
        pytest.skip("io_uring is not allowed here")
    Rings(monkeypatch, step, number)
    with pytest.raises(PinError, match=text) as caught:
        phyr.pin(private(PAGE))
    assert caught.value.errno == number


@linux
@pytest.mark.parametrize("capabilities", ["000001ffffffffff", "0000000000000000"])
def test_the_limit_is_named_only_to_those_it_holds_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capabilities: str
) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/status").write_text(f"CapPrm:\t0\nCapEff:\t{capabilities}\nSeccomp:\t0\n")
    area = bytearray(PAGE)
    uaddr, length = where(area)
    with monkeypatch.context() as patch:
        patch.setattr(reasons, "PROC", tmp_path)
        patch.setattr(reasons, "_vmas", list)
        error = OSError(errno.EPERM, "no")
        text = str(reasons.refused(error, "mlock", uaddr, length, length))
        assert ("RLIMIT_MEMLOCK" in text) == (capabilities == "0" * 16)
        patch.setattr("resource.getrlimit", lambda _: (-1, -1))
        assert "RLIMIT" not in str(reasons.refused(error, "mlock", uaddr, length, length))


@linux
@pytest.mark.parametrize("knob", ["1\n", "2\n", None])
def test_the_switch_of_io_uring_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knob: str | None
) -> None:
    if knob is not None:
        (tmp_path / "sys/kernel").mkdir(parents=True)
        (tmp_path / "sys/kernel/io_uring_disabled").write_text(knob)
    monkeypatch.setattr(reasons, "PROC", tmp_path)
    Rings(monkeypatch, "setup", errno.EPERM)
    text = f"kernel.io_uring_disabled is {knob.strip()}" if knob else "a sandbox"
    with pytest.raises(PinError, match=text):
        phyr.pin(bytearray(PAGE))


@shown
@uring
@pytest.mark.parametrize("fails_at", range(9))
def test_a_piece_that_fails_leaves_nothing_pinned(
    monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    monkeypatch.setattr(methods, "PIECE", 16 * PAGE)
    monkeypatch.setattr(methods, "SHARED", 0)
    rings = Rings(monkeypatch, "register", errno.EIO, fails_at)
    area = private(8 * 16 * PAGE)
    uaddr, length = where(area)
    if fails_at == 8:
        with phyr.pin(area) as pinned:
            check(pinned, area)
        assert rings.pieces == [(uaddr + at, 16 * PAGE) for at in range(0, length, 16 * PAGE)]
        return
    with pytest.raises(PinError, match=f"{uaddr + fails_at * 16 * PAGE:#x}\\+0x10000: Input/o"):
        phyr.pin(area)
    assert len(rings.pieces) == fails_at
    assert pinned_bytes() == 0
    area.close()


@shown
@uring
@pytest.mark.parametrize("method", ["io_uring", "mlock"])
def test_progress_climbs_to_the_length_and_may_stop_it(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(methods, "PIECE", 4 * PAGE)
    monkeypatch.setattr(methods, "SHARED", 0)
    area = private(18 * PAGE)
    view = memoryview(area)[10:-10]
    told: list[tuple[int, int]] = []
    with phyr.pin(view, method=method, progress=lambda *each: told.append(each)) as pinned:
        check(pinned, view)
    assert told == [(min(end * PAGE - 10, len(view)), len(view)) for end in (4, 8, 12, 16, 18)]

    def interrupt(done: int, _total: int) -> None:
        if done > 8 * PAGE:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        phyr.pin(view, method=method, progress=interrupt)
    assert (pinned_bytes(), status("VmLck")) == (0, 0)
    view.release()
    area.close()


@linux
def test_more_than_a_ring_can_hold_is_refused() -> None:
    with pytest.raises(
        PinError, match=r"0x100000001000 bytes are more than the 0x100000000000"
    ) as caught:
        phyr.pin((0, (1 << 44) + 1))
    assert (caught.value.name, caught.value.limit) == ("IORING_MAX_REG_BUFFERS", 1 << 44)
    assert caught.value.errno == errno.E2BIG


# What the documents say


@shown
@uring
@pytest.mark.parametrize("document", ["README.md", "docs/real-devices.md"])
@pytest.mark.filterwarnings("ignore:asked for thp")
def test_the_pin_of_the_document_runs(document: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / document).read_text()
    blocks = [block.partition("```")[0] for block in text.split("```python\n")[1:]]
    # What takes a device is run in a guest: see tests/vm/guest_vfio.py.
    blocks = [block for block in blocks if "phyr.pin(" in block and "pci.bound" not in block]
    assert blocks
    for block in blocks:
        exec(block, {"phyr": phyr, "buffer": bytearray(5)})  # noqa: S102 - our own document
    assert capsys.readouterr().out.startswith("io_uring Phyr(" if document == "README.md" else "")


# Locks


@shown
@given(st.data())
def test_overlapping_locks_last_until_the_last_one_goes(data: st.DataObject) -> None:
    uaddr, _ = where(AREA)
    live: list[tuple[phyr.Pinned, range]] = []

    def locked() -> int:
        return len({page for _, pages in live for page in pages}) * PAGE

    with ExitStack() as undo:
        for _ in range(data.draw(st.integers(1, 8))):
            start = data.draw(st.integers(0, 23))
            pages = range(start, data.draw(st.integers(start + 1, 24)))
            length = len(pages) * PAGE - 2
            pinned = undo.enter_context(
                phyr.pin((uaddr + start * PAGE + 1, length), method="mlock")
            )
            live.append((pinned, pages))
            assert status("VmLck") == locked()
        while live:
            at = data.draw(st.integers(0, len(live) - 1))
            live.pop(at)[0].unpin()
            assert status("VmLck") == locked()


@linux
def test_two_threads_may_let_go_of_one_lock() -> None:
    area = private(PAGE)
    start, _ = where(area)
    locked, failures = methods.Locked(), list[BaseException]()
    locked.pin(start, start + PAGE, lambda _: None)

    def let_go() -> None:
        try:
            locked.unpin()
        except BaseException as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    threads = [threading.Thread(target=let_go) for _ in range(2)]
    with locked._lock:  # noqa: SLF001 - both are to come to it before one goes on
        for thread in threads:
            thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join()
    assert failures == []
    assert status("VmLck") == 0


@linux
def test_a_lock_that_cannot_be_had_leaves_what_others_have() -> None:
    area = private(4 * PAGE)
    uaddr, _ = where(area)
    others = methods.Locked()
    others.pin(uaddr + PAGE, uaddr + 3 * PAGE, lambda _: None)
    with pytest.raises(PinError, match="not mapped"):
        phyr.pin((uaddr, 1 << 40), method="mlock")
    assert status("VmLck") == 2 * PAGE
    others.unpin()
    assert status("VmLck") == 0


# Rings, by themselves


@uring
def test_a_ring_that_is_closed_says_so() -> None:
    ring = Ring()
    assert repr(ring) == "Ring(open)"
    ring.abandon()
    ring.unregister()
    assert repr(ring) == "Ring(closed)"
    with pytest.raises(ValueError, match="closed"):
        ring.reserve(1)
    with pytest.raises(ValueError, match="closed"):
        ring.register(0, 0, 1)
    assert not ring.release(0)


@uring
def test_a_ring_that_is_dropped_lets_go() -> None:
    area = private(PAGE)
    uaddr, length = where(area)
    ring = Ring()
    ring.reserve(1)
    ring.register(0, uaddr, length)
    assert pinned_bytes() == PAGE
    del ring
    assert pinned_bytes() == 0


def test_a_hold_is_fit_for_dma_map() -> None:
    owner = Hold(methods.Nothing("io_uring"), None, 0x1000, 5)
    owner.hold()
    assert owner.mappings == 1
    assert "1 mappings" in repr(owner)
    owner.release()
    owner.end()
