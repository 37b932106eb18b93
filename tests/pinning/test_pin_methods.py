"""Locks and rings by themselves."""

import threading
import time
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

import phyr
from phyr import PinError
from phyr._phyr import Ring
from phyr.pinning import methods
from phyr.pinning.hold import Hold
from support.live import PAGE, linux, shown, uring
from support.pages import pinned_bytes, private, status, where
from support.pins import AREA

pytest_plugins = ["support.pins"]
pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


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
