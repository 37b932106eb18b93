"""Buffers for DMA: what they lie on, what they say of it, and when they may be freed."""

import errno
import gc
import mmap
import os
import struct
import warnings
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import phyr
from phyr import NoMemoryError, RangeError, _libc, _mmap
from phyr._phyr import Area
from phyr.allocating import Huge
from support.live import PAGE, linux, shown, uring
from support.pages import HUGE, frames, huge_pages, where

pytestmark = linux

THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
transparent = pytest.mark.skipif(
    not THP.exists() or "[never]" in THP.read_text(), reason="transparent huge pages are off"
)

known_machine = pytest.mark.skipif(
    os.uname().machine not in _mmap._MBIND,  # noqa: SLF001
    reason="the number of mbind() is not known here",
)


def is_present(uaddr: int, length: int) -> bool:
    """Tell whether every page of a stretch is there."""
    with Path("/proc/self/pagemap").open("rb", buffering=0) as file:
        file.seek(uaddr // PAGE * 8)
        records = file.read(-(-length // PAGE) * 8)
    return all(record >> 63 for (record,) in struct.iter_unpack("=Q", records))


@given(
    st.integers(1, 5 * PAGE),
    st.sampled_from([None, *(1 << lg2 for lg2 in range(16))]),
    st.booleans(),
)
def test_a_buffer_has_its_length_its_alignment_and_zeros(
    size: int,
    align: int | None,
    populate: bool,  # noqa: FBT001 - drawn
) -> None:
    with phyr.alloc(size, align=align, populate=populate) as buffer:
        uaddr, length = where(buffer)
        assert (buffer.uaddr, len(buffer), length) == (uaddr, size, size)
        assert uaddr % max(align or 1, PAGE) == 0
        assert (buffer.huge, buffer.page_size, buffer.huge_length) == (None, PAGE, 0)
        assert buffer.fallbacks == ()
        assert is_present(uaddr, size) == populate
        assert bytes(buffer) == bytes(size)
        with memoryview(buffer) as view:
            assert not view.readonly
            view[-1] = 7
        assert bytes(buffer)[-1] == 7


def test_it_is_a_buffer_for_numpy_and_struct() -> None:
    buffer = phyr.alloc(4096)
    np.frombuffer(memoryview(buffer), dtype=np.uint64)[3] = 9
    assert struct.unpack_from("=Q", buffer, 24) == (9,)
    struct.pack_into("=I", buffer, 24, 10)
    assert bytes(buffer)[24] == 10
    assert memoryview(buffer).format == "B"


def test_it_is_freed_once_and_not_while_in_use() -> None:
    buffer = phyr.alloc(3 * PAGE)
    uaddr = buffer.uaddr
    view = memoryview(buffer)
    with pytest.raises(BufferError, match=f"{uaddr:#x}\\+0x3000 is in use by 1 views"):
        buffer.close()
    with pytest.raises(BufferError), buffer:
        pass
    view.release()
    assert repr(buffer) == f"Allocation({uaddr:#x}+0x3000, pages 4K)"
    assert is_present(uaddr, 3 * PAGE)
    buffer.close()
    buffer.close()
    assert not is_present(uaddr, PAGE)
    assert repr(buffer) == f"Allocation({uaddr:#x}+0x3000, pages 4K, closed)"
    with pytest.raises(phyr.ClosedError, match="the memory is closed"):
        memoryview(buffer)
    with pytest.raises(phyr.ClosedError, match="the memory is closed"), buffer:
        pass
    assert len(buffer) == 3 * PAGE


def test_a_view_keeps_it() -> None:
    buffer = phyr.alloc(PAGE)
    there, uaddr = weakref.ref(buffer), buffer.uaddr
    view = memoryview(buffer)[5:]
    del buffer
    assert there() is not None
    assert is_present(uaddr, PAGE)
    view.release()
    del view
    gc.collect()
    assert there() is None
    assert not is_present(uaddr, PAGE)


@shown
@uring
def test_it_cannot_be_freed_while_it_is_pinned() -> None:
    with phyr.alloc(3 * PAGE) as buffer:
        with phyr.pin(buffer) as pinned:
            numbers = frames(buffer.uaddr, len(buffer))
            assert [paddr // PAGE for paddr in pinned.phyr.pages(PAGE)] == numbers
            with pytest.raises(BufferError, match="in use by 1 views or pins"):
                buffer.close()
        assert not buffer.closed


# Huge pages


@shown
@transparent
@pytest.mark.parametrize("size", [100, HUGE, 3 * HUGE + 5])
def test_transparent_huge_pages(size: int) -> None:
    with phyr.alloc(size, huge="thp") as buffer:
        if buffer.huge != "thp":
            pytest.skip(f"the kernel had none: {buffer.fallbacks}")
        assert buffer.uaddr % HUGE == 0
        assert (buffer.page_size, buffer.fallbacks) == (HUGE, ())
        numbers = frames(buffer.uaddr, size)
        whole = sum(
            numbers[at] % 512 == 0
            and numbers[at : at + 512] == [*range(numbers[at], numbers[at] + 512)]
            for at in range(0, len(numbers) - 511, 512)
        )
        assert buffer.huge_length >= whole * HUGE
        assert buffer.huge_length <= size
        assert "pages thp" in repr(buffer)


@transparent
def test_huge_pages_of_neighbours_are_not_counted() -> None:
    kept = [phyr.alloc(HUGE, huge="thp") for _ in range(8)]
    assert {buffer.huge_length for buffer in kept if buffer.huge} <= {HUGE}


@transparent
def test_transparent_huge_pages_may_come_later() -> None:
    with phyr.alloc(HUGE, huge="thp", populate=False) as buffer:
        assert (buffer.huge, buffer.huge_length) == ("thp", 0)
        assert not is_present(buffer.uaddr, HUGE)
        memoryview(buffer)[5] = 1
        assert is_present(buffer.uaddr, PAGE)


@shown
def test_huge_pages_of_the_reserve() -> None:
    with huge_pages(3):
        with phyr.alloc(2 * HUGE + 5, huge="2M") as buffer:
            assert (buffer.huge, buffer.page_size, buffer.huge_length) == ("2M", HUGE, len(buffer))
            assert buffer.uaddr % HUGE == 0
            numbers = frames(buffer.uaddr, 3 * HUGE)
            for at in range(0, len(numbers), 512):
                assert numbers[at] % 512 == 0
                assert numbers[at : at + 512] == [*range(numbers[at], numbers[at] + 512)]
            with pytest.raises(NoMemoryError, match="2M: 1 are needed, 0 of 3 are free"):
                phyr.alloc(5, huge="2M", fallback=False)
        # Alignment takes nothing from the reserve.
        with phyr.alloc(3 * HUGE, huge="2M", align=64 << 20) as buffer:
            assert (buffer.huge, buffer.uaddr % (64 << 20)) == ("2M", 0)
            assert is_present(buffer.uaddr, 3 * HUGE)
        with pytest.warns(RuntimeWarning, match="4 are needed, 3 of 3 are free"):
            phyr.alloc(3 * HUGE + 1, huge="2M", align=64 << 20).close()


def test_where_there_is_no_reserve_it_falls_back_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "kernel/mm/hugepages/hugepages-2048kB").mkdir(parents=True)
    for name, count in (("nr", 7), ("free", 5), ("resv", 3)):
        path = tmp_path / f"kernel/mm/hugepages/hugepages-2048kB/{name}_hugepages"
        path.write_text(f"{count}\n")
    monkeypatch.setattr(_mmap, "_SYS", tmp_path)
    size = 1 << 50  # more than any reserve
    with pytest.raises(NoMemoryError, match=r"^1G: this kernel has no pages of 1024 MiB") as caught:
        phyr.alloc(size, huge="1G", fallback=False)
    assert (caught.value.huge, caught.value.size) == ("1G", size)
    monkeypatch.setattr(_mmap, "_MAP_HUGETLB", 0x4_0000 | 63 << 26)  # pages that do not exist
    with pytest.warns(RuntimeWarning) as warned:
        buffer = phyr.alloc(3 * HUGE, huge="1G")
    assert buffer.fallbacks == (
        "1G: this kernel has no pages of 1024 MiB",
        "2M: 3 are needed, 2 of 7 are free (nr_hugepages)",
        "thp: this kernel has no transparent huge pages",
    )
    assert str(warned[0].message) == (
        "asked for 1G pages, got ordinary ones: " + "; ".join(buffer.fallbacks)
    )
    assert warned[0].filename == __file__
    assert (buffer.huge, bytes(buffer)) == (None, bytes(3 * HUGE))


@transparent
def test_memory_that_got_no_huge_page_is_not_called_huge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmap, "MADV_HUGEPAGE", mmap.MADV_NOHUGEPAGE)
    with pytest.warns(RuntimeWarning, match=r"thp: the kernel made none \(transparent_hugepage is"):
        buffer = phyr.alloc(HUGE, huge="thp")
    assert buffer.huge is None
    with pytest.raises(NoMemoryError, match="thp: the kernel made none"):
        phyr.alloc(HUGE, huge="thp", fallback=False)


# Nodes


@shown
@known_machine
def test_memory_of_a_node_comes_from_it() -> None:
    nodes = Path("/sys/devices/system/node/has_memory")
    if not nodes.exists():
        pytest.skip("this kernel has no NUMA")
    node = int(nodes.read_text().replace("-", ",").split(",")[0])
    with phyr.alloc(3 * PAGE, node=node) as buffer, Path("/proc/self/numa_maps").open() as maps:
        (line,) = (line for line in maps if line.startswith(f"{buffer.uaddr:x} "))
        assert f"bind:{node}" in line
        assert f"N{node}=3" in line


@known_machine
@pytest.mark.parametrize("node", [-1, 1023, 1024, 1 << 40, 1 << 70])
@pytest.mark.parametrize("huge", [None, "thp"])
def test_a_node_that_is_not_there_is_refused(node: int, huge: Huge) -> None:
    with pytest.raises(RangeError, match=f"node {node} has no memory here; those with: ") as caught:
        phyr.alloc(PAGE, node=node, huge=huge)
    assert caught.value.node == node


@known_machine
def test_a_node_is_refused_where_nodes_are_unknown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_mmap, "_SYS", tmp_path)
    with pytest.raises(RangeError, match="those with: unknown"):
        phyr.alloc(PAGE, node=1023)


@known_machine
@pytest.mark.parametrize("huge", [None, "thp"])
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.ENOMEM])
def test_a_kernel_that_binds_nothing_is_told_from_a_node_without_memory(
    monkeypatch: pytest.MonkeyPatch, number: int, huge: Huge
) -> None:
    def fail(name: str, *_arguments: int) -> None:
        assert name == "syscall"
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_libc, "call", fail)
    before = Path("/proc/self/maps").read_text().count("\n")
    with pytest.raises(phyr.PhyrError, match=f"bound to node 0: {os.strerror(number)}") as caught:
        phyr.alloc(PAGE, node=0, huge=huge)
    assert type(caught.value) is phyr.PhyrError
    assert caught.value.node == 0
    assert Path("/proc/self/maps").read_text().count("\n") <= before + 1


def test_a_node_is_refused_on_machines_whose_calls_are_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_mmap, "_MBIND", {})
    with pytest.raises(phyr.PhyrError, match="the call is not known on") as caught:
        phyr.alloc(PAGE, node=0)
    assert caught.value.node == 0


# Refusals


@pytest.mark.parametrize("align", [0, -4096, 3, 4097])
def test_an_alignment_is_a_power_of_two(align: int) -> None:
    with pytest.raises(RangeError, match=f"align {align:#x} is not") as caught:
        phyr.alloc(1, align=align)
    assert caught.value.align == align


def test_a_size_is_at_least_one() -> None:
    for size in (0, -1):
        with pytest.raises(RangeError, match=f"a buffer of {size:#x} bytes") as caught:
            phyr.alloc(size)
        assert caught.value.size == size


@pytest.mark.parametrize("value", ["1M", 1.5])
@pytest.mark.parametrize("name", ["size", "align", "uaddr", "node"])
def test_a_number_is_whole(name: str, value: object) -> None:
    given_: dict[str, Any] = {"size": 1, name: value}
    with pytest.raises(TypeError, match=f"{name} is {value!r}, not an int"):
        phyr.alloc(**given_)


def test_a_size_is_a_number_of_any_kind_that_is_whole() -> None:
    with phyr.alloc(np.int64(7), align=np.uint8(64)) as buffer:  # type: ignore[arg-type]
        assert len(buffer) == 7


def test_a_kind_of_pages_is_one_of_them() -> None:
    with pytest.raises(RangeError, match="huge '4M' is none of"):
        phyr.alloc(1, huge="4M")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1 << 62, 1 << 63, 1 << 70])
@pytest.mark.parametrize("huge", [None, "thp"])
def test_there_is_an_end_to_memory(size: int, huge: Huge) -> None:
    with pytest.raises(NoMemoryError, match=f"no memory for {size:#x}"[:22]):
        phyr.alloc(size, huge=huge)


@pytest.mark.parametrize("huge", [None, "thp", "2M"])
@pytest.mark.parametrize(
    ("number", "failure"), [(errno.ENOMEM, NoMemoryError), (errno.EINVAL, phyr.PhyrError)]
)
def test_memory_that_cannot_be_populated_is_freed(
    monkeypatch: pytest.MonkeyPatch, huge: Huge, number: int, failure: type[phyr.PhyrError]
) -> None:
    calls: list[tuple[str, ...]] = []

    def fail(name: str, *_arguments: int) -> None:
        calls.append((name,))
        if len(calls) == 3:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_libc, "call", fail)
    monkeypatch.setattr(_mmap, "PIECE", PAGE)
    before = Path("/proc/self/maps").read_text().count("\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if huge == "2M":
            with huge_pages(1), pytest.raises(failure):
                phyr.alloc(3 * PAGE, huge=huge, fallback=False)
        else:
            with pytest.raises(failure, match=r"populated by Linux|no memory for"):
                phyr.alloc(3 * PAGE, huge=huge)
    assert calls == [("madvise",)] * 3
    assert Path("/proc/self/maps").read_text().count("\n") <= before + 1


# Areas, by themselves


@given(st.binary(max_size=40), st.data())
def test_an_area_is_that_part_of_the_buffer(content: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    buffer = bytearray(content)
    with Area(buffer, start, end - start) as area:
        assert bytes(area) == content[start:end]
        assert len(area) == end - start
        with memoryview(area) as view:
            view[:] = bytes(end - start)
        with pytest.raises(BufferError):
            buffer.append(1)
    buffer[start:end] = content[start:end]
    assert buffer == content
    buffer.append(1)


def test_an_area_is_inside_a_writable_buffer() -> None:
    for offset, length in ((0, 6), (6, 0), (3, 3), (1, (1 << 64) - 1)):
        with pytest.raises(RangeError, match="is outside 0x5 bytes") as caught:
            Area(bytearray(5), offset, length)
        assert (caught.value.offset, caught.value.length) == (offset, length)
    with pytest.raises(BufferError, match="not writable"):
        Area(b"12345", 0, 1)
    with pytest.raises(BufferError, match="contiguous"):
        Area(memoryview(np.zeros(9)[::2]), 0, 1)  # type: ignore[arg-type]
    area = Area(bytearray(5), 0, 5)
    assert repr(area) == f"Area({area.uaddr:#x}+0x5)"


def test_threads_may_share_an_area() -> None:
    import threading  # noqa: PLC0415 - here alone

    area = Area(bytearray(8), 0, 8)

    def work() -> None:
        for _ in range(2000):
            with memoryview(area) as view:
                view[0] = 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    area.close()
