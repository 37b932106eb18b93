"""How long a pin lasts: copies, mappings, threads, and its end."""

import copy
import errno
import gc
import threading
import weakref
from functools import partial
from typing import Any

import pytest

import phyr
from phyr import PinError
from phyr.iommu import Direct, Direction, dma_map
from support.live import PAGE, shown, uring
from support.pages import pinned_bytes, private
from support.pins import FakeBackend
from support.together import together

pytest_plugins = ["support.pins"]
pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


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

    def work(pinned: phyr.Pinned) -> None:
        for _ in range(20):
            with phyr.pin(buffer) as own, phyr.pin(buffer, method="mlock"):
                assert own.phyr == pinned.phyr
                with dma_map(pinned.phyr, Direct(), Direction.TO_DEVICE):
                    pass
        pinned.unpin()

    def is_expected(failure: BaseException) -> bool:
        # Another thread's mapping, or already unpinned.
        return isinstance(failure, PinError) and failure.errno in {errno.EBUSY, errno.EINVAL}

    with phyr.pin(buffer) as pinned:
        failures = together(partial(work, pinned) for _ in range(6))
    assert [failure for failure in failures if not is_expected(failure)] == []


@shown
def test_a_second_unpin_waits_until_the_memory_is_unmapped() -> None:
    unmapping, go_on, second_is_back = (threading.Event() for _ in range(3))

    class Slow(FakeBackend):
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
