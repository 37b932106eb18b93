"""Processes that are not there, end, or are named wrongly."""

import errno
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

import phyr
from phyr import pagemap
from support.live import PAGE, end, linux, shown
from support.processes import Scans

if TYPE_CHECKING:
    from collections.abc import Callable

pytest_plugins = ["support.processes"]


@linux
def test_a_process_that_is_not_there_is_gone() -> None:
    questions: list[Callable[[], object]] = [
        lambda: pagemap.vmas(1 << 30),
        lambda: pagemap.read(1 << 30, 0, PAGE),
        lambda: pagemap.present(1 << 30, 0, PAGE),
        lambda: pagemap.resident(1 << 30, 0, PAGE),
    ]
    for question in questions:
        with pytest.raises(phyr.ProcessGoneError, match="1073741824") as caught:
            question()
        assert isinstance(caught.value, ProcessLookupError)
        assert caught.value.errno == errno.ESRCH
        assert caught.value.pid == 1 << 30


@shown
def test_a_process_that_ends_between_two_looks_is_gone(child: subprocess.Popen[bytes]) -> None:
    with pagemap.Pagemap(child.pid) as opened:
        vma = opened.vmas()[0]
        assert opened.resident(vma.start, vma.length).ram
        end(child)
        with pytest.raises(phyr.ProcessGoneError):
            opened.vmas()
        with pytest.raises(phyr.ProcessGoneError):
            opened.read(vma.start, vma.length)
        with pytest.raises(phyr.ProcessGoneError):
            opened.read(vma.start, 1 << 40)


@shown
@pytest.mark.parametrize("known", [True, False])
def test_a_process_that_ends_midway_is_gone(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    Scans(monkeypatch, known=known)
    with pytest.raises(phyr.ProcessGoneError):
        pagemap.read(child.pid, 0x10000, 0x7FFF << 32, progress=lambda _done, _length: end(child))


@linux
def test_a_process_that_has_ended_but_is_not_waited_for_has_no_memory(
    child: subprocess.Popen[bytes],
) -> None:
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert pagemap.vmas(child.pid) == []
    with pytest.raises(phyr.ProcessGoneError):
        pagemap.Pagemap(child.pid)


@linux
def test_a_page_map_that_is_closed_says_so(child: subprocess.Popen[bytes]) -> None:
    opened = pagemap.Pagemap(child.pid)
    opened.close()
    uses: list[Callable[[], object]] = [
        opened.vmas,
        lambda: opened.read(0x10000, 0x1000),
        lambda: opened.resident(0x10000, 0x1000),
    ]
    for use in uses:
        with pytest.raises(phyr.ClosedError, match=f"page map of process {child.pid} is closed"):
            use()
    assert opened.granule > 0


@shown
def test_a_page_map_may_be_closed_while_it_is_read(child: subprocess.Popen[bytes]) -> None:
    opened = pagemap.Pagemap(child.pid)
    with pytest.raises(phyr.ClosedError):
        opened.read(0x10000, 1 << 40, progress=lambda _done, _length: opened.close())


@linux
def test_numpys_numbers_are_process_numbers(child: subprocess.Popen[bytes]) -> None:
    numpy = pytest.importorskip("numpy")
    assert pagemap.vmas(numpy.int64(child.pid)) == pagemap.vmas(child.pid)


@pytest.mark.parametrize("pid", [0, -1, "1", "../1", 1.5, None, True])
def test_only_numbers_and_self_name_a_process(pid: int) -> None:
    with pytest.raises(phyr.RangeError, match=f"^pid {pid!r} is neither"):
        pagemap.vmas(pid)


def test_a_process_number_of_numpy_is_told_as_a_number() -> None:
    numpy = pytest.importorskip("numpy")
    with pytest.raises(phyr.RangeError, match=r"^pid -5 is neither"):
        pagemap.vmas(numpy.int64(-5))


@linux
@pytest.mark.parametrize(("start", "length"), [(-1, 1), (0, -1), (1 << 63, (1 << 63) + 1)])
def test_a_range_stays_within_64_bits(start: int, length: int) -> None:
    with pytest.raises(phyr.RangeError) as caught:
        pagemap.read("self", start, length)
    assert (caught.value.start, caught.value.length) == (start, length)
