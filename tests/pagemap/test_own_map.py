"""The page map of this process that is kept open, as `phyr.pagemap.of` uses it."""

import errno
import mmap
import os
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

import phyr
from phyr import pagemap
from phyr._phyr import Loan
from phyr.pagemap import own, proc, reader, zero
from support.live import PAGE, PFN, linux, python, record_of, shown
from support.together import together


def private(length: int) -> mmap.mmap:
    """Map private memory on small pages, and write to all of it."""
    area = mmap.mmap(-1, length, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.madvise(mmap.MADV_NOHUGEPAGE)
    for page in range(0, length, PAGE):
        area[page] = 1
    return area


def paddr_of(uaddr: int) -> int:
    """Look one byte up."""
    return (record_of("self", uaddr // PAGE) & PFN) * PAGE + uaddr % PAGE


@shown
def test_of_opens_the_page_map_once(monkeypatch: pytest.MonkeyPatch) -> None:
    own.forget()
    opened = Mock(side_effect=proc.open_process)
    monkeypatch.setattr(reader, "open_process", opened)
    buffer = bytearray(b"x" * 3 * PAGE)
    lists = [pagemap.of(buffer) for _ in range(50)]
    assert opened.call_count == 1
    with Loan(buffer) as (uaddr, length):
        for position in (0, 1, PAGE, length - 1):
            assert {list_[position] for list_ in lists} == {paddr_of(uaddr + position)}
    with phyr.pin(private(PAGE), method="mlock") as pinned:
        assert pinned.moved() is None
    assert opened.call_count == 1


@shown
def test_of_takes_memory_by_its_address() -> None:
    area = private(3 * PAGE)
    with Loan(area) as (uaddr, length):
        whole = pagemap.of((uaddr, length))
        assert whole == pagemap.of(area)
        found = pagemap.of((np.uint64(uaddr + 5), np.int16(PAGE)))
        assert found == whole[5 : 5 + PAGE]
        assert found[PAGE - 1] == paddr_of(uaddr + 4 + PAGE)
        with pagemap.Pagemap() as opened:
            assert opened.of((uaddr + 5, PAGE)) == found
        assert pagemap.of((uaddr, 0)) == phyr.Phyr.from_chunks([], granule=PAGE)
    with pytest.raises(phyr.RangeError, match=r"buffer 0x0\+0x1000 is not all in RAM"):
        pagemap.of((0, PAGE))


@linux
def test_what_is_no_address_and_length_is_refused() -> None:
    with pytest.raises(phyr.ArrayTypeError, match=r"a tuple of 3 is not \(uaddr, length\)"):
        pagemap.of((1, 2, 3))
    with pytest.raises(phyr.ArrayTypeError, match=r"'str'.*'int'.* are not \(uaddr, length\)"):
        pagemap.of(("1", 2))
    for uaddr, length in [(-1, 5), (5, -1), ((1 << 64) - 1, 2)]:
        with pytest.raises(phyr.RangeError, match="outside 64 bits") as caught:
            pagemap.of((uaddr, length))
        assert (caught.value.uaddr, caught.value.length) == (uaddr, length)


FORKED = """
import mmap, os
from phyr import pagemap
from phyr.pagemap import own

area = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
area[0] = 1
parents = pagemap.of(area)[0]
files = len(os.listdir("/proc/self/fd"))
if os.fork() == 0:
    assert len(os.listdir("/proc/self/fd")) == files - 2
    assert pagemap.of(area)[0] == parents, "still shared"
    area[0] = 2
    assert pagemap.of(area)[0] != parents, "the child's own"
    os._exit(7)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
assert pagemap.of(area)[0] == parents
assert len(os.listdir("/proc/self/fd")) == files
own.forget()
assert len(os.listdir("/proc/self/fd")) == files - 2
print("right")
"""


@shown
def test_a_forked_child_looks_into_its_own_memory() -> None:
    run = python("-W", "ignore", "-c", FORKED)
    assert run.stdout.strip() == "right", run.stderr


@shown
def test_a_fork_that_python_was_not_told_of_is_noticed() -> None:
    area = private(PAGE)
    own.forget()
    pagemap.of(area)
    [kept] = own.KEPT
    kept._owner = os.getpid() + 1  # noqa: SLF001
    with Loan(area) as (uaddr, _):
        assert pagemap.of(area)[0] == paddr_of(uaddr)
    assert kept not in own.KEPT
    kept.close()


@shown
def test_many_threads_look_at_the_same_time() -> None:
    area = private(64 * PAGE)
    with Loan(area) as (uaddr, _):
        right = [paddr_of(uaddr + at) for at in range(0, len(area), PAGE)]

        def work(seed: int) -> None:
            for turn in range(100):
                page = (seed * 7 + turn) % 63
                found = pagemap.of((uaddr + page * PAGE, 2 * PAGE))
                assert [found[0], found[PAGE]] == right[page : page + 2]

        assert together(partial(work, seed) for seed in range(8)) == []
    assert len(own.KEPT) <= own.MOST


# The huge page of zeros may come after the map was opened.


@shown
def test_a_huge_page_of_zeros_that_came_later_is_no_ram(monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(zero._huge_size())  # noqa: SLF001 - the kernel is not changed for a test
    if not size:
        pytest.skip("this kernel has no huge zero page")
    own.forget()
    with monkeypatch.context() as off:
        off.setattr(zero, "_huge_size", list)
        pagemap.of(b"x")
        areas = Path("/proc/self/maps").read_bytes().count(b"\n")
        for _ in range(50):
            pagemap.of(b"x")
        assert Path("/proc/self/maps").read_bytes().count(b"\n") < areas + 50
    [kept] = own.KEPT
    area = mmap.mmap(-1, 2 * size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.madvise(mmap.MADV_HUGEPAGE)
    with Loan(area) as (base, _):
        inside = -base % size
        _ = area[inside]
        with pytest.raises(phyr.RangeError, match="a zero page that stands in") as caught:
            pagemap.of((base + inside, size))
        assert caught.value.state == "zero"
    assert kept not in own.KEPT, "an error closes it"


@linux
def test_without_huge_pages_there_is_nothing_to_look_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(zero, "THP", tmp_path / "none")
    assert zero.has_huge_zero([(PAGE, 2 * PAGE - 1)], PAGE)
    monkeypatch.setattr(zero, "THP", tmp_path)
    assert not zero.has_huge_zero([(PAGE, 2 * PAGE - 1)], PAGE)
    assert zero.has_huge_zero([(PAGE, 2 * PAGE - 1), (0, (2 << 20) - 1)], PAGE)


@linux
def test_a_map_that_cannot_be_opened_is_the_kernels_error(monkeypatch: pytest.MonkeyPatch) -> None:
    own.forget()
    failure = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    monkeypatch.setattr(reader, "open_process", Mock(side_effect=failure))
    with pytest.raises(OSError, match="Too many open files"):
        pagemap.of(b"x")
    assert own.KEPT == []
