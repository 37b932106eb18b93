"""Pinned buffers lie where the page map says, and the documents that show it run."""

import mmap
import os
from collections.abc import Callable
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import phyr
from phyr import PinError
from phyr.iommu import Direct, Direction, Paging, dma_map
from phyr.testing import TableDomain
from support.live import PAGE, shown, uring
from support.pages import HUGE, addresses, frames, huge_pages, pinned_bytes, private, status, where
from support.pins import AREA, check

pytest_plugins = ["support.pins"]
pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


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


@shown
@uring
@pytest.mark.parametrize("document", ["README.md", "docs/real-devices.md"])
@pytest.mark.filterwarnings("ignore:asked for thp")
def test_the_pin_of_the_document_runs(document: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / document).read_text()
    blocks = [block.partition("```")[0] for block in text.split("```python\n")[1:]]
    # Methods that take a device are tried in a guest: see tests/vm.
    blocks = [block for block in blocks if "phyr.pin(" in block and "backend.open" not in block]
    assert blocks
    for block in blocks:
        exec(block, {"phyr": phyr, "buffer": bytearray(5)})  # noqa: S102 - our own document
    assert capsys.readouterr().out.startswith("io_uring Phyr(" if document == "README.md" else "")
