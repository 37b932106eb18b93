"""The lists of buffers of this process."""

import array
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import phyr
from phyr import pagemap
from phyr._phyr import Loan
from phyr.pagemap import reader
from support.live import PAGE, PFN, linux, record_of, shown
from support.pages import private

pytest_plugins = ["support.processes"]


@shown
@pytest.mark.parametrize(
    "make",
    [
        lambda: b"x" * 50_001,
        lambda: bytearray(b"x" * 50_001),
        lambda: memoryview(b"x" * 50_001)[77:],
        lambda: array.array("H", range(30_000)),
        lambda: np.arange(10_000, dtype=np.float64).reshape(100, 100),
        lambda: np.asfortranarray(np.arange(10_000, dtype=np.float64).reshape(100, 100)),
    ],
)
def test_the_list_of_a_slice_is_the_slice_of_the_list(make: Callable[[], Any]) -> None:
    buffer = make()
    array_ = buffer if isinstance(buffer, np.ndarray) else np.frombuffer(buffer, dtype=np.uint8)
    data = array_.ravel(order="K").view(np.uint8)
    with pagemap.Pagemap() as opened:
        whole = opened.of(buffer)
        assert whole.length == data.nbytes
        for a, b in [(0, data.nbytes), (1, 2), (4096, 8192), (5000, 40_000), (7, data.nbytes - 1)]:
            assert whole[a:b] == opened.of(data[a:b])
        uaddr = data.ctypes.data
        for byte in (0, 1, 4095, 4096, 12_345, data.nbytes - 1):
            number = record_of("self", (uaddr + byte) // PAGE) & PFN
            assert whole[byte] == number * PAGE + (uaddr + byte) % PAGE
    assert pagemap.of(buffer) == whole


@shown
def test_a_buffer_of_nothing_has_the_empty_list() -> None:
    assert pagemap.of(b"") == phyr.Phyr.from_chunks([], granule=PAGE)


@shown
@pytest.mark.parametrize("state", ["hole", "zero"])
def test_a_buffer_that_is_not_all_in_ram_is_refused_by_address(state: str) -> None:
    area = private(3 * PAGE)
    area[0] = area[2 * PAGE] = 1
    if state == "zero":
        _ = area[PAGE]
    with Loan(area) as (uaddr, _), pytest.raises(phyr.RangeError, match="write to it") as caught:
        pagemap.of(area)
    assert f"{uaddr + PAGE:#x}+{PAGE:#x}" in str(caught.value)
    assert (caught.value.uaddr, caught.value.length) == (uaddr + PAGE, PAGE)
    assert caught.value.state == state


@linux
def test_what_is_no_contiguous_buffer_is_refused() -> None:
    with pytest.raises(phyr.ArrayTypeError, match="int"):
        pagemap.of(5)
    with pytest.raises(phyr.ArrayError, match="contiguous"):
        pagemap.of(memoryview(b"12345678")[::2])
    with pytest.raises(phyr.ArrayError, match="contiguous"):
        pagemap.of(np.zeros((8, 8))[:, 1])


@linux
def test_a_lent_buffer_stays_in_place() -> None:
    buffer = bytearray(100)
    with Loan(buffer), pytest.raises(BufferError):
        buffer.clear()
    buffer.clear()


@shown
def test_the_map_of_another_process_shows_no_buffer_of_this_one(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pagemap.Pagemap(child.pid) as opened, pytest.raises(phyr.MismatchError) as caught:
        opened.of(b"1")
    assert caught.value.pid == child.pid
    with pagemap.Pagemap() as opened:
        monkeypatch.setattr(os, "getpid", lambda: child.pid)  # as after a fork
        with pytest.raises(phyr.MismatchError):
            opened.of(b"1")


@linux
def test_a_closed_map_reads_nothing() -> None:
    opened = pagemap.Pagemap()
    assert opened.granule == PAGE
    opened.close()
    opened.close()
    with pytest.raises(phyr.ClosedError, match="this process is closed"):
        opened.read(0, PAGE)
    with pytest.raises(phyr.ClosedError, match="this process is closed"):
        opened.vmas()


@linux
def test_nothing_stays_open_where_opening_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_granule: int) -> None:
        raise MemoryError

    monkeypatch.setattr(reader, "probe", fail)
    before = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(MemoryError):
        pagemap.Pagemap()
    assert sorted(Path("/proc/self/fd").iterdir()) == before
