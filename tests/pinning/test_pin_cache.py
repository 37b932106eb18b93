"""The cache of pins: its lists are what the page map says, and it keeps no more than it may."""

import errno
import mmap
import os
import signal
from functools import partial
from pathlib import Path
from threading import Event, Thread
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

import phyr
from phyr import ClosedError, PinCache, PinError
from phyr.iommu import Direct, Direction, dma_map
from phyr.pinning.cache import Lease, _forked
from support.live import PAGE, linux, shown, uring
from support.pages import addresses, pinned_bytes, private, where
from support.together import together

pytest_plugins = ["support.pins"]
pytestmark = [linux, pytest.mark.usefixtures("nothing_is_left_behind")]
PAGES = 64
AREA = private(PAGES * PAGE)
BASE = where(AREA)[0]


def right(lease: Lease) -> bool:
    """Compare with an independent reading of the page map."""
    uaddr, length = lease.uaddr, lease.length
    firsts = [0, *range(-uaddr % PAGE or PAGE, length, PAGE), length - 1]
    return [lease.phyr[at] for at in firsts] == addresses(uaddr, length)


@shown
@uring
@given(st.data())
def test_every_lease_is_right_and_idle_memory_stays_within_the_limit(data: st.DataObject) -> None:
    limit = data.draw(st.integers(0, PAGES)) * PAGE
    live: list[Lease] = []
    with PinCache(limit) as cache:
        for _ in range(data.draw(st.integers(1, 20))):
            match data.draw(st.sampled_from(["pin", "pin", "release", "free", "trim"])):
                case "pin":
                    start = data.draw(st.integers(0, PAGES * PAGE - 1))
                    most = min(16 * PAGE, PAGES * PAGE - start)
                    lease = cache.pin((BASE + start, data.draw(st.integers(1, most))))
                    assert right(lease)
                    live.append(lease)
                case "release" if live:
                    live.pop(data.draw(st.integers(0, len(live) - 1))).release()
                case "free" if not live:
                    # The pages go, and others come at the next touch.
                    AREA.madvise(mmap.MADV_DONTNEED, data.draw(st.integers(0, 9)) * PAGE, 8 * PAGE)
                case "trim":
                    cache.trim(data.draw(st.none() | st.integers(0, limit)))
                case _:
                    pass
            in_use = {lease._entry for lease in live}  # noqa: SLF001
            assert cache.pinned - sum(entry.end - entry.start for entry in in_use) <= limit
            if not live:
                cache.trim()
                assert cache.pinned <= limit
            assert cache.pinned == pinned_bytes()
        for lease in live:
            lease.release()
        cache.trim(0)
        assert (cache.pinned, pinned_bytes(), len(cache)) == (0, 0, 0)


@shown
@uring
def test_a_buffer_that_comes_again_is_pinned_once() -> None:
    # On small pages: of a huge page the kernel counts all that is pinned, once.
    buffer = private(5 * PAGE)
    with PinCache() as cache:
        for turn in range(10):
            with cache.pin(buffer) as lease:
                assert (lease.uaddr, lease.length) == where(buffer)
                assert right(lease)
                with pytest.raises(BufferError):
                    buffer.close()
            assert (cache.misses, cache.hits) == (1, turn)
        with cache.pin(memoryview(buffer)[PAGE : PAGE + 7]) as part:
            assert part.phyr.length == 7
        assert cache.hits == 10
        assert repr(cache).startswith("PinCache(1 stretches, 0x")
        held = cache.pinned
        assert pinned_bytes() == held
    assert pinned_bytes() == 0
    buffer.close()


@shown
@uring
def test_what_overlaps_is_pinned_as_one() -> None:
    with PinCache() as cache:
        first = cache.pin((BASE, 4 * PAGE))
        cache.pin((BASE + 8 * PAGE, 4 * PAGE)).release()
        cache.pin((BASE + 12 * PAGE, PAGE)).release()
        both = cache.pin((BASE + 3 * PAGE, 6 * PAGE))
        assert right(both)
        # One in use stays as well, until it is released; a neighbour is left alone.
        assert len(cache) == 2
        assert cache.pinned == (12 + 4 + 1) * PAGE == pinned_bytes()
        assert right(first)
        first.release()
        assert cache.pinned == (12 + 1) * PAGE == pinned_bytes()
        with cache.pin((BASE, 12 * PAGE)):
            assert cache.hits == 1
        both.release()


@shown
@uring
def test_what_overlaps_may_have_to_go_for_the_limit_first() -> None:
    area = private(16 * PAGE)
    uaddr, _ = where(area)
    with PinCache(4 * PAGE) as cache:
        # Dropped leases are counted at the next pin, so more is idle then than the limit.
        leases = [cache.pin((uaddr + at * PAGE, 4 * PAGE)) for at in (0, 10)]
        leases.clear()
        with cache.pin((uaddr + 2 * PAGE, 4 * PAGE)) as lease:
            assert right(lease)
            # All that the two overlap; and what was used last stays.
            assert (cache.misses, len(cache)) == (3, 2)
            assert cache.pinned == pinned_bytes() == (6 + 4) * PAGE
    area.close()


@shown
@uring
def test_memory_that_went_and_came_again_is_noticed() -> None:
    area = private(8 * PAGE)
    uaddr, length = where(area)
    with PinCache() as cache:
        cache.pin(area).release()
        area.madvise(mmap.MADV_DONTNEED, 4 * PAGE, PAGE)
        with cache.pin((uaddr, 4 * PAGE)):
            assert (cache.hits, cache.misses) == (1, 1), "what is asked for is still there"
        with cache.pin(area) as lease:
            assert right(lease)
        assert (cache.hits, cache.misses) == (1, 2)
        area.madvise(mmap.MADV_DONTNEED)
        # Not touched since: there is nothing.
        with cache.pin((uaddr + PAGE, length - PAGE)) as lease:
            assert right(lease)
        assert cache.misses == 3
    area.close()


@shown
@uring
def test_an_overlap_whose_rest_is_gone_does_not_keep_memory_from_being_pinned() -> None:
    area = private(8 * PAGE)
    uaddr, _ = where(area)
    with PinCache() as cache:
        cache.pin((uaddr, 6 * PAGE)).release()
        # The first page cannot be pinned any more.
        area_ = memoryview(area)
        with pytest.MonkeyPatch.context() as patch:
            real = phyr.pin

            def some(memory: tuple[int, int], **options: object) -> phyr.Pinned:
                if memory[0] == uaddr:
                    raise PinError(errno.EFAULT, "gone")
                return real(memory, **options)  # type: ignore[arg-type]

            patch.setattr("phyr.pinning.cache.pin", some)
            with cache.pin((uaddr + 4 * PAGE, 4 * PAGE)) as lease:
                assert right(lease)
            with pytest.raises(PinError, match="gone"):
                cache.pin(area_[:PAGE])
        assert cache.pinned == 4 * PAGE == pinned_bytes()
        area_.release()
    area.close()


@shown
@uring
def test_the_least_recently_used_goes_first() -> None:
    places = [BASE + at * PAGE for at in (0, 10, 20, 30)]
    with PinCache(3 * PAGE) as cache:
        for uaddr in places[:3]:
            cache.pin((uaddr, PAGE)).release()
        cache.pin((places[0], PAGE)).release()
        cache.pin((places[3], PAGE)).release()
        assert sorted(cache._entries) == [places[0], places[2], places[3]]  # noqa: SLF001
        assert cache.pinned == 3 * PAGE


@shown
@uring
def test_where_a_limit_is_met_what_is_idle_goes_before_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = phyr.pin
    attempts = Mock(side_effect=real)
    monkeypatch.setattr("phyr.pinning.cache.pin", attempts)
    full = PinError(errno.ENOMEM, "RLIMIT_MEMLOCK")
    with PinCache() as cache:
        cache.pin((BASE, PAGE)).release()
        kept = cache.pin((BASE + 4 * PAGE, PAGE))
        attempts.side_effect = [full, real((BASE + 8 * PAGE, PAGE))]
        with cache.pin((BASE + 8 * PAGE, PAGE)) as lease:
            assert right(lease)
        assert len(cache) == 2
        attempts.side_effect = full
        cache.trim(0)
        with pytest.raises(PinError, match="RLIMIT_MEMLOCK"):
            cache.pin((BASE + 12 * PAGE, PAGE))
        kept.release()


@shown
@uring
def test_what_is_mapped_stays_pinned() -> None:
    with PinCache(0) as cache:
        lease = cache.pin((BASE, PAGE))
        mapping = dma_map(lease.phyr, Direct(), Direction.TO_DEVICE)
        lease.release()
        lease.release()
        with pytest.raises(PinError, match="was released") as caught:
            lease.phyr  # noqa: B018
        assert caught.value.uaddr == BASE
        cache.trim(0)
        assert cache.pinned == PAGE == pinned_bytes()
        mapping.unmap()
        assert cache.pinned == PAGE
        cache.trim()
        assert cache.pinned == 0
        # Mapped between the look and the end.
        lease = cache.pin((BASE, PAGE))
        lease._entry.pinned.unpin = Mock(side_effect=PinError(errno.EBUSY, "?"))  # type: ignore[method-assign] # noqa: SLF001
        lease.release()
        assert cache.pinned == PAGE
        del lease._entry.pinned.unpin  # noqa: SLF001
        cache.trim()


@shown
@uring
def test_a_lease_that_is_dropped_is_over() -> None:
    buffer = bytearray(PAGE)
    with PinCache(0) as cache:
        lease = cache.pin(buffer)
        del lease
        buffer.clear()
        assert cache.pinned > 0
        cache.trim()
        assert cache.pinned == 0
    lost = PinCache()
    lost.pin((BASE, PAGE)).release()
    assert pinned_bytes() == PAGE
    del lost
    assert pinned_bytes() == 0
    Lease.__new__(Lease).release()


def test_a_limit_is_a_whole_number() -> None:
    with pytest.raises(TypeError, match="limit is '1M', not an int"):
        PinCache("1M")  # type: ignore[arg-type]


@uring
def test_an_empty_buffer_takes_no_place() -> None:
    with PinCache() as cache, cache.pin(bytearray()) as lease:
        assert lease.phyr.length == 0
        assert len(cache) == cache.pinned == 0


@pytest.mark.parametrize("given_", [b"constant", 7])
def test_what_cannot_be_pinned_is_refused(given_: object) -> None:
    with PinCache() as cache, pytest.raises(phyr.PhyrError):
        cache.pin(given_)


@uring
def test_what_is_refused_is_let_go() -> None:
    buffer = bytearray(PAGE)
    with PinCache() as cache, pytest.MonkeyPatch.context() as patch:
        patch.setattr("phyr.pinning.cache.pin", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            cache.pin(buffer)
        with pytest.raises(KeyboardInterrupt):
            cache.pin((BASE, PAGE))
    buffer.clear()


def wrong_in_a_child(cache: PinCache, lease: Lease) -> int:
    """Return 0 if the cache of this forked child is empty, and pins the child's own memory."""
    empty = "PinCache(0 stretches, 0x0 bytes pinned, at most 0x40000000 of them idle)"
    if (len(cache), cache.pinned, repr(cache)) != (0, 0, empty):
        return 2
    try:
        lease.phyr  # noqa: B018 - it raises
    except PinError as error:
        if error.errno != errno.ECHILD:
            return 3
    else:
        return 4
    lease.release()
    cache.trim(0)
    if len(cache) or cache.pinned:
        return 5
    AREA[0] = 7
    with cache.pin((BASE, PAGE)) as own:
        if not (right(own) and cache.misses == 2 and len(cache) == 1):
            return 6
    cache.close()
    return 7 if len(cache) or cache.pinned else 0


@shown
@uring
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_starts_with_an_empty_cache_whoever_held_its_lock() -> None:
    AREA[:PAGE] = b"x" * PAGE
    held, forked = Event(), Event()
    with PinCache() as cache:
        lease = cache.pin((BASE, PAGE))

        def hold() -> None:
            with cache._lock:  # noqa: SLF001
                held.set()
                forked.wait()

        thread = Thread(target=hold)
        thread.start()
        held.wait()
        if pid := os.fork():
            forked.set()
            thread.join()
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        else:
            status = 1
            try:
                signal.alarm(30)
                status = wrong_in_a_child(cache, lease)
            finally:
                os._exit(status)
        assert right(lease)
        assert (len(cache), cache.pinned) == (1, PAGE)
        lease.release()


@shown
@uring
def test_a_fork_drops_what_every_cache_has() -> None:
    """Call what a fork calls, here, where its branches are counted."""
    with PinCache() as cache:
        cache.pin((BASE, PAGE)).release()
        [entry] = cache._entries.values()  # noqa: SLF001
        _forked()
        assert (len(cache), cache.pinned) == (0, 0)
        entry.pinned.unpin()


@shown
@uring
def test_a_fork_that_python_does_not_know_of_leaves_the_parents_pins_alone() -> None:
    cache = PinCache()
    cache.pin((BASE, PAGE)).release()
    [entry] = cache._entries.values()  # noqa: SLF001
    cache._process += 1  # noqa: SLF001
    with cache.pin((BASE + PAGE, PAGE)) as other:
        assert right(other)
    assert len(cache) == 1
    assert pinned_bytes() == 2 * PAGE
    cache._process += 1  # noqa: SLF001
    cache.close()
    assert pinned_bytes() == 2 * PAGE
    entry.pinned.unpin()
    [entry] = cache._entries.values()  # noqa: SLF001
    entry.pinned.unpin()


@shown
@uring
def test_memory_in_use_leaves_room_for_as_much_that_is_idle() -> None:
    with PinCache(8 * PAGE) as cache:
        used = cache.pin((BASE, 8 * PAGE))
        cache.pin((BASE + 10 * PAGE, 4 * PAGE)).release()
        assert cache.pinned == 12 * PAGE == pinned_bytes()
        assert (
            repr(cache) == "PinCache(2 stretches, 0xc000 bytes pinned, at most 0x8000 of them idle)"
        )
        with cache.pin((BASE + 10 * PAGE, 4 * PAGE)) as lease:
            assert (cache.hits, cache.misses) == (1, 2)
            # Mapped, and so in use, though it is released.
            mapping = dma_map(lease.phyr, Direct(), Direction.TO_DEVICE)
        cache.pin((BASE + 20 * PAGE, 8 * PAGE)).release()
        assert cache.pinned == 20 * PAGE
        mapping.unmap()
        cache.trim()
        assert cache.pinned == 16 * PAGE == pinned_bytes(), "the least recently used went"
        cache.trim(7 * PAGE)
        assert cache.pinned == 8 * PAGE
        used.release()
        assert cache.pinned == 8 * PAGE == pinned_bytes()


@shown
@uring
def test_a_dropped_lease_makes_room_at_the_next_pin() -> None:
    with PinCache(PAGE) as cache:
        lease = cache.pin((BASE, 2 * PAGE))
        del lease
        cache.pin((BASE + 4 * PAGE, PAGE)).release()
        assert cache.pinned == PAGE == pinned_bytes()


@shown
@uring
def test_a_closed_cache_pins_nothing() -> None:
    buffer = bytearray(PAGE)
    cache = PinCache()
    lease = cache.pin((BASE, PAGE))
    cache.pin((BASE + 4 * PAGE, PAGE)).release()
    cache.close()
    cache.close()
    with pytest.raises(ClosedError, match="the cache of pins is closed"):
        cache.pin(buffer)
    buffer.clear()
    text = "PinCache(0 stretches, 0x1000 bytes pinned, at most 0x40000000 of them idle, closed)"
    assert repr(cache) == text
    assert right(lease)
    lease.release()
    assert cache.pinned == 0 == pinned_bytes()


@shown
@uring
def test_threads_share_a_cache() -> None:
    with PinCache(20 * PAGE) as cache:

        def work(seed: int) -> None:
            for turn in range(60):
                start = (seed * 11 + turn * 7) % (PAGES - 8)
                with cache.pin((BASE + start * PAGE + 5, 6 * PAGE)) as lease:
                    assert right(lease)

        assert together(partial(work, seed) for seed in range(6)) == []
        cache.trim()
        assert cache.pinned <= 20 * PAGE


@shown
@uring
@pytest.mark.parametrize("name", ["PinCache", "DmaPool"])
def test_the_example_of_the_document_runs(name: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / "real-devices.md").read_text()
    blocks = [block.partition("```")[0] for block in text.split("```python\n")[1:]]
    [block] = [block for block in blocks if f"phyr.{name}(" in block]
    exec(block, {"phyr": phyr, "buffer": bytearray(PAGE), "backend": Direct()})  # noqa: S102 - ours
