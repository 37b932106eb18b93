"""Pinned memory for the tests: an independent look at pages, and what the kernel counts."""

import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from phyr._phyr import Loan
from support.live import PAGE, PFN, PRESENT

HUGE = 2 << 20
NR_HUGEPAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")


def frames(uaddr: int, length: int) -> list[int]:
    """Read the page map by plain Python: the number of every page under a stretch."""
    first, after = uaddr // PAGE, -(-(uaddr + length) // PAGE)
    file = os.open("/proc/self/pagemap", os.O_RDONLY)
    try:
        records = os.pread(file, (after - first) * 8, first * 8)
    finally:
        os.close(file)
    numbers = []
    for (record,) in struct.iter_unpack("=Q", records):
        assert record & PRESENT
        numbers.append(record & PFN)
    return numbers


def addresses(uaddr: int, length: int) -> list[int]:
    """Give the physical address of the first byte on each page, and of the last byte."""
    numbers = frames(uaddr, length)
    firsts = [uaddr, *range(uaddr - uaddr % PAGE + PAGE, uaddr + length, PAGE)]
    found = [number * PAGE + at % PAGE for number, at in zip(numbers, firsts, strict=True)]
    return [*found, numbers[-1] * PAGE + (uaddr + length - 1) % PAGE]


def status(field: str) -> int:
    """Read a figure of this process from the kernel, in bytes."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition(f"\n{field}:")[2].split()[0]) << 10


def pinned_bytes() -> int:
    """Give what the kernel counts as pinned of this process."""
    return status("VmPin")


def where(buffer: object) -> tuple[int, int]:
    """Give address and length of a buffer."""
    with Loan(buffer) as (uaddr, length):
        return uaddr, length


def private(length: int) -> mmap.mmap:
    """Map private memory that stays on small pages, never written."""
    area = mmap.mmap(-1, length, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.madvise(mmap.MADV_NOHUGEPAGE)
    return area


@contextmanager
def huge_pages(count: int) -> Iterator[None]:
    """Reserve huge pages of 2 MiB while the test runs, beside those that were there; or skip."""
    try:
        before = int(NR_HUGEPAGES.read_text())
        NR_HUGEPAGES.write_text(str(before + count))
    except OSError as error:
        pytest.skip(f"no huge pages can be reserved here: {error}")
    try:
        if int(NR_HUGEPAGES.read_text()) < before + count:
            pytest.skip(f"memory is too scattered for {count} huge pages")
        yield
    finally:
        NR_HUGEPAGES.write_text(str(before))
