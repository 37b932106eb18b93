"""Whatever fails at its k-th call, for every k: nothing is lost that need not be."""

from collections.abc import Callable

import pytest

from phyr import Phyr
from phyr.iommu import (
    Bounce,
    Direction,
    Otherwise,
    Paging,
    Plan,
    Prot,
    Staging,
    dma_map,
    plan_map,
)
from phyr.iommu._failures import _NOTES, raise_first
from support.machine import PHYR, SIZES, SMALL, FlatMemory, NoTablePageError, PageTable, pattern

BOTH = Direction.BIDIRECTIONAL


class Pin:
    """An owner that counts the mappings it is held by."""

    count = 0

    def hold(self) -> None:
        self.count += 1

    def release(self) -> None:
        self.count -= 1


# A memory and its pool


class Ration(FlatMemory):
    """A memory, and a pool of it, of which one method fails at its k-th call."""

    def __init__(self) -> None:
        super().__init__(1 << 19)
        self.data[:] = pattern(1 << 19)
        self.fail("", 0)

    def fail(self, what: str, k: int, error: type[BaseException] = OSError) -> None:
        self.what, self.left, self.error = what, k, error

    def _count(self, what: str) -> None:
        if what == self.what:
            self.left -= 1
            if self.left == -1:
                raise self.error(what)

    def read(self, phyr: Phyr) -> bytes:
        self._count("read")
        return super().read(phyr)

    def write(self, phyr: Phyr, data: bytes) -> None:
        self._count("write")
        super().write(phyr, data)

    def alloc(self, size: int, *, below: int | None = None, align: int = 4096) -> Phyr:
        self._count("alloc")
        return super().alloc(size, below=below, align=align)

    def free(self, phyr: Phyr) -> None:
        self._count("free")
        super().free(phyr)


Make = Callable[[], tuple[Ration, PageTable, Paging | Bounce]]


def bounce() -> tuple[Ration, PageTable, Bounce]:
    memory = Ration()
    memory.free_pages = list(range(0x2000, 0x1_0000, 4096))
    return memory, PageTable(), Bounce(Staging(memory, memory), dma_mask=0xFFFF)


def staging() -> tuple[Ration, PageTable, Paging]:
    memory, table = Ration(), PageTable(1 << 16)
    memory.free_pages = list(range(1 << 18, 1 << 19, 4096))
    return memory, table, Paging(table, otherwise=Staging(memory, memory))


def windows(backend: Paging | Bounce) -> int:
    return len(backend.iovas) if isinstance(backend, Paging) else 0


@pytest.mark.parametrize("make", [bounce, staging])
@pytest.mark.parametrize("what", ["alloc", "read", "write"])
def test_whichever_call_to_the_memory_fails_mapping_leaves_nothing(make: Make, what: str) -> None:
    for k in range(100):
        memory, table, backend = make()
        pages, pin = list(memory.free_pages), Pin()
        memory.fail(what, k)
        try:
            mapping = dma_map(SMALL, backend, BOTH, owner=pin)
        except OSError as caught:
            failure = str(caught)
        else:
            memory.fail("", 0)
            mapping.unmap()
            break
        finally:
            assert (table.pages, memory.free_pages) == ({}, pages)
            assert memory.handed_out == windows(backend) == pin.count == 0
        assert failure == what
    # One copy of the whole; or three, as two pages touch and one is within reach.
    assert k == (3 if make is bounce else 1)


@pytest.mark.parametrize("make", [bounce, staging])
@pytest.mark.parametrize("what", ["read", "write", "free"])
def test_whichever_call_to_the_memory_fails_unmapping_does_the_rest(make: Make, what: str) -> None:
    fresh = bytes(reversed(pattern(len(SMALL))))
    for k in range(100):
        memory, table, backend = make()
        before = memory.read(SMALL)
        mapping = dma_map(SMALL, backend, BOTH)
        device = mapping.dma
        if isinstance(backend, Paging):
            device = next(iter(backend._mapped.values())).copy.copy  # type: ignore[union-attr] # noqa: SLF001
        memory.write(device, fresh)
        memory.fail(what, k)
        failed = False
        try:
            mapping.unmap()
        except OSError as caught:
            failed = str(caught) == what
        memory.fail("", 0)
        assert table.pages == {}
        assert windows(backend) == 0
        assert memory.handed_out == (failed and what == "free")
        # All that did not fail came back: a copy each for Bounce.
        after = memory.read(SMALL)
        parts = list(SMALL.chunks) if make is bounce else [(0, len(SMALL))]
        position = kept = 0
        for _, length in parts:
            part = slice(position, position + length)
            assert after[part] in (before[part], fresh[part])
            # A part within reach is no copy.
            kept += after[part] == before[part]
            position += length
        assert kept == (failed and what != "free")
        if not failed:
            break
    assert k == (3 if make is bounce else 1)


@pytest.mark.parametrize("make", [bounce, staging])
def test_a_pool_short_of_memory_for_a_moment_gets_all_pages_back(make: Make) -> None:
    for k in range(1 if make is staging else 3):
        memory, table, backend = make()
        pages = list(memory.free_pages)
        mapping = dma_map(SMALL, backend, BOTH)
        memory.fail("free", k, MemoryError)
        mapping.unmap()
        assert memory.left < 0
        assert (table.pages, memory.free_pages, windows(backend)) == ({}, pages, 0)


def test_a_window_that_memory_was_too_short_to_give_back_is_given_back_and_pages_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory, _, backend = staging()
    pages, free, failures = list(memory.free_pages), backend.iovas.free, [MemoryError()]

    def short(iova: int) -> None:
        if failures:
            raise failures.pop()
        free(iova)

    monkeypatch.setattr(backend.iovas, "free", short)
    dma = backend.map(SMALL, BOTH)
    with pytest.raises(MemoryError):
        backend.unmap(dma, BOTH)
    assert (memory.free_pages, windows(backend)) == (pages, 0)


@pytest.mark.parametrize("make", [bounce, staging])
def test_a_failure_is_not_lost_where_an_interrupt_follows(make: Make) -> None:
    class Torn(Ration):
        def write(self, phyr: Phyr, data: bytes) -> None:
            if self.what:
                raise OSError("device data lost")
            super().write(phyr, data)

    memory, table, backend = make()
    memory.__class__ = Torn
    dma = backend.map(SMALL, BOTH)
    memory.fail("free", 0, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        backend.unmap(dma, BOTH)
    assert any("device data lost" in note for note in caught.value.__notes__)
    assert table.pages == {}


def test_a_domain_that_cannot_be_called_is_an_error_and_no_hang() -> None:
    class Proxy:
        def __init__(self) -> None:
            self.table: PageTable | None = PageTable(SIZES)

        def __getattr__(self, name: str) -> object:
            if self.table is None:
                raise ConnectionError("gone")
            return getattr(self.table, name)

    proxy, pin = Proxy(), Pin()
    backend = Paging(proxy)  # type: ignore[arg-type]
    mapping = dma_map(PHYR, backend, BOTH, owner=pin)
    proxy.table = None
    with pytest.raises(ConnectionError, match="gone"):
        mapping.unmap()
    # A device may still reach it.
    assert (mapping.unmapped, pin.count, windows(backend)) == (True, 1, 1)


def test_a_pool_that_takes_nothing_back_does_not_hide_why_mapping_failed() -> None:
    class Keeping(Ration):
        def free(self, _phyr: Phyr) -> None:
            raise OSError("kept")

    for what, k in [("write", 0), ("write", 2), ("alloc", 2)]:
        memory = Keeping()
        memory.free_pages = list(range(0x2000, 0x1_0000, 4096))
        memory.fail(what, k)
        with pytest.raises(OSError, match=what) as caught:
            dma_map(SMALL, Bounce(Staging(memory, memory), dma_mask=0xFFFF), BOTH)
        assert any("kept" in note for note in caught.value.__notes__)
    # No table page, and no window.
    for table, error in [
        (PageTable(1 << 16, fail_at=0), "NoTablePageError"),
        (PageTable(1 << 16, aperture=(0x1_0000, 0x1_EFFF)), "IovaSpaceError"),
    ]:
        memory = Keeping()
        memory.free_pages = list(range(1 << 18, 1 << 19, 4096))
        with pytest.raises(Exception, match=r".*") as raised:
            dma_map(SMALL, Paging(table, otherwise=Staging(memory, memory)), BOTH)
        assert type(raised.value).__name__ == error
        assert any("kept" in note for note in raised.value.__notes__)


# A domain that breaks its promise not to fail


class Stuck(PageTable):
    """A table whose k-th call to unmap raises, or every one from the k-th on."""

    def __init__(self, k: int, *, times: int = 1, sizes: int = SIZES) -> None:
        super().__init__(sizes)
        self.bad = range(k, k + times)
        self.asked = 0

    def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
        self.asked += 1
        if self.asked - 1 in self.bad:
            raise OSError(f"stuck at {self.asked - 1}")
        super().unmap_pages(iova, pgsize, pgcount)


class StuckBatch(Stuck):
    """The same, of a table that takes whole plans."""

    def map_batch(self, plan: Plan, prot: Prot) -> None:
        for call in plan:
            self.map_pages(*call, prot)


@pytest.mark.parametrize("make", [Stuck, StuckBatch])
@pytest.mark.parametrize("otherwise", [Otherwise.ERROR, Otherwise.LIST])
@pytest.mark.parametrize("times", [1, 2, 100])
def test_whichever_unmap_fails_all_else_is_unmapped_and_the_window_is_not_used_again(
    make: type[Stuck], otherwise: Otherwise, times: int
) -> None:
    phyr, sizes = (PHYR, SIZES) if otherwise is Otherwise.ERROR else (SMALL, 1 << 16)
    whole = make(-1, times=0, sizes=sizes)
    dma_map(phyr, Paging(whole, otherwise=otherwise), BOTH).unmap()
    calls = whole.unmaps
    assert len(calls) == (3 if otherwise is Otherwise.ERROR else 4)
    for k in range(len(calls)):
        table, pin = make(k, times=times, sizes=sizes), Pin()
        paging = Paging(table, otherwise=otherwise)
        mapping = dma_map(phyr, paging, BOTH, owner=pin)
        with pytest.raises(OSError, match=f"stuck at {k}") as caught:
            mapping.unmap()
        *notes, last = caught.value.__notes__
        assert "not used again" in last
        stuck = range(k, min(k + times, len(calls)))
        shown = [f"another failure: OSError('stuck at {other}')" for other in stuck[1:]]
        assert notes == shown
        # Each call was made once, and what did not fail is gone.
        assert table.unmaps == [call for at, call in enumerate(calls) if at not in stuck]
        left = {
            iova + at
            for iova, size, count in (calls[at] for at in stuck)
            for at in range(0, size * count, size)
        }
        assert set(table.leaves) == left
        assert (len(paging.iovas), pin.count, mapping.unmapped) == (1, 1, True)
        # Nothing else is at that address from now on.
        table.bad = range(0)
        with dma_map(phyr, paging, BOTH) as again:
            assert len(paging.iovas) == 2
            assert set(table.leaves) > left
        assert again.unmapped


@pytest.mark.parametrize("times", [1, 100])
def test_whichever_call_fails_when_whichever_is_undone_all_else_is_unmapped(times: int) -> None:
    total = len(list(plan_map(PHYR, 0x1_1000, SIZES)))
    for fail_at in range(total):
        for k in range(3):
            table, pin = Stuck(k, times=times), Pin()
            table.fail_at = fail_at
            paging = Paging(table)
            with pytest.raises(NoTablePageError) as caught:
                dma_map(PHYR, paging, BOTH, owner=pin)
            stuck = table.asked > k
            assert any(f"stuck at {k}" in note for note in caught.value.__notes__) == stuck
            assert (len(paging.iovas), bool(table.pages)) == (stuck, stuck)
            # A device may still reach it.
            assert pin.count == stuck


def test_of_many_failures_a_few_are_shown() -> None:
    failures: list[BaseException] = [OSError(number) for number in range(100)]
    with pytest.raises(OSError, match="0") as caught:
        raise_first(failures)
    assert len(caught.value.__notes__) == _NOTES + 1
    assert caught.value.__notes__[-1] == f"and {99 - _NOTES} more"
    raise_first([])
