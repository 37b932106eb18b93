"""Simulated memory against a dictionary of bytes, and its pages against a set of them."""

import hashlib
import threading
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import AlignmentError, ArrayError, MismatchError, Phyr, PositionError, RangeError
from phyr.errors import AllocationError, NoMemoryError
from phyr.sim import Memory, scatter

PAGE = 4096
SIZE = 64 * PAGE


def content_of(seed: int, length: int) -> bytes:
    """Bytes that look like chance, the same for the same seed."""
    return hashlib.shake_128(str(seed).encode()).digest(length)


lists = st.lists(
    st.tuples(st.integers(0, 63), st.integers(1, 4)).map(
        lambda run: (run[0], min(run[1], 64 - run[0]))
    ),
    min_size=1,
    max_size=6,
)


def list_of(runs: list[tuple[int, int]], cut: tuple[int, int]) -> Phyr:
    """A list of runs of pages, cut off by some bytes at either end."""
    whole = Phyr.from_chunks([(pfn * PAGE, count * PAGE) for pfn, count in runs])
    return whole[cut[0] : whole.length - cut[1]]


@given(st.data())
def test_memory_is_a_dictionary_of_bytes(data: st.DataObject) -> None:
    memory, oracle = Memory(SIZE), bytearray(SIZE)
    cuts = st.tuples(st.integers(0, PAGE - 1), st.integers(0, PAGE - 1))
    for _ in range(data.draw(st.integers(1, 5))):
        phyr = list_of(data.draw(lists), data.draw(cuts))
        content = content_of(data.draw(st.integers(0, 1 << 32)), len(phyr))
        memory.write(phyr, content)
        position = 0
        for paddr, length in phyr.chunks:
            oracle[paddr : paddr + length] = content[position : position + length]
            position += length
        other = list_of(data.draw(lists), data.draw(cuts))
        expected = b"".join(oracle[paddr : paddr + length] for paddr, length in other.chunks)
        assert memory.read(other) == expected
        into = bytearray(len(other))
        memory.readinto(other, into)
        assert into == expected
    assert memory.read(Phyr.from_chunks([(0, SIZE)])) == oracle
    used = sum(any(oracle[at : at + PAGE]) for at in range(0, SIZE, PAGE))
    assert memory.resident >= used * PAGE


def test_absent_pages_read_as_zeros_and_stay_absent() -> None:
    memory = Memory(1 << 52)
    last = Phyr.from_chunks([((1 << 52) - 5000, 5000)])
    assert memory.read(last) == bytes(5000)
    assert memory.resident == 0
    memory.write(last, bytes(5000))
    assert memory.resident == 2 * PAGE


def test_words_are_little_endian_and_may_cross_pages() -> None:
    memory = Memory(SIZE)
    memory.write_u64(PAGE - 3, 0x0807_0605_0403_0201)
    assert memory.read(Phyr.from_chunks([(PAGE - 3, 8)])) == bytes(range(1, 9))
    assert memory.read_u64(PAGE - 3) == 0x0807_0605_0403_0201
    memory.write_u64(SIZE - 8, (1 << 64) - 1)
    assert memory.read_u64(SIZE - 8) == (1 << 64) - 1
    for paddr in (SIZE - 7, SIZE, (1 << 64) - 1):
        with pytest.raises(RangeError, match=f"{paddr:#x}"):
            memory.read_u64(paddr)
        with pytest.raises(RangeError):
            memory.write_u64(paddr, 1)
    with pytest.raises(RangeError):
        memory.write_u64(0, 1 << 64)


@pytest.mark.parametrize("size", [0, 1, PAGE, PAGE + 1, SIZE + 1, (1 << 52) + PAGE, 1 << 64, -1])
def test_a_size_that_is_none_is_refused(size: int) -> None:
    with pytest.raises(RangeError):
        Memory(size)


def test_what_is_outside_is_refused_before_anything_is_written() -> None:
    memory = Memory(SIZE)
    phyr = Phyr.from_chunks([(0x1000, PAGE), (SIZE, PAGE), (0x3000, PAGE)])
    with pytest.raises(RangeError) as info:
        memory.write(phyr, b"x" * len(phyr))
    assert (info.value.paddr, info.value.length, info.value.size) == (SIZE, PAGE, SIZE)
    assert memory.resident == 0
    with pytest.raises(RangeError):
        memory.read(phyr)
    with pytest.raises(RangeError):
        memory.read(Phyr.from_chunks([(0, (1 << 64) - PAGE)]))


def test_mmio_is_refused_by_name() -> None:
    memory = Memory(SIZE)
    phyr = Phyr.from_chunks([(0x1000, PAGE)], kind="mmio:7")
    for act in (memory.read, memory.free, memory.reserve):
        with pytest.raises(MismatchError, match="mmio:7") as info:
            act(phyr)
        assert info.value.provider == 7
    with pytest.raises(MismatchError):
        memory.write(phyr, bytes(PAGE))
    with pytest.raises(MismatchError):
        memory.readinto(phyr, bytearray(PAGE))


def test_buffers_must_fit() -> None:
    memory = Memory(SIZE)
    phyr = Phyr.from_chunks([(0x1000, 16)])
    for length in (0, 15, 17):
        with pytest.raises(RangeError) as info:
            memory.write(phyr, bytes(length))
        assert (info.value.given, info.value.length) == (length, 16)
        with pytest.raises(RangeError):
            memory.readinto(phyr, bytearray(length))
    with pytest.raises(ArrayError, match="writable"):
        memory.readinto(phyr, bytes(16))
    with pytest.raises(ArrayError, match="contiguous"):
        memory.write(phyr, memoryview(bytes(32))[::2])
    with pytest.raises(TypeError):
        memory.write(phyr, "sixteen letters!")  # type: ignore[arg-type]
    memory.write(phyr, array("I", [1, 2, 3, 4]))
    into = np.zeros((2, 8), dtype=np.uint8)
    memory.readinto(phyr, into.data)
    assert into.tobytes() == array("I", [1, 2, 3, 4]).tobytes()


def test_empty_lists_are_fine() -> None:
    memory = Memory(SIZE)
    empty = memory.alloc(0)
    assert (len(empty), memory.read(empty), len(memory.scatter(0))) == (0, b"", 0)
    memory.write(empty, b"")
    memory.free(empty)
    memory.reserve(empty)


def test_alloc_is_the_lowest_that_fits_and_never_page_0() -> None:
    memory = Memory(SIZE)
    assert memory.alloc(1).chunks[0] == (PAGE, 1)
    assert memory.alloc(PAGE + 1, align=4 * PAGE).chunks[0] == (4 * PAGE, PAGE + 1)
    assert memory.alloc(2 * PAGE, align=1).chunks[0] == (2 * PAGE, 2 * PAGE)
    assert memory.alloc(PAGE, below=8 * PAGE).chunks[0] == (6 * PAGE, PAGE)
    with pytest.raises(NoMemoryError) as info:
        memory.alloc(2 * PAGE, below=8 * PAGE)
    assert (info.value.length, info.value.free) == (2 * PAGE, 57 * PAGE)
    assert isinstance(info.value, MemoryError)
    for size in (58 * PAGE, (1 << 64) - 1):
        with pytest.raises(NoMemoryError):
            memory.alloc(size)
    for align in (0, 3, 4097):
        with pytest.raises(RangeError):
            memory.alloc(1, align=align)
    with pytest.raises(NoMemoryError):
        memory.alloc(1, align=1 << 63)
    assert memory.free_bytes == 57 * PAGE


def test_freeing_forgets_and_gives_back() -> None:
    memory = Memory(SIZE)
    before = memory.free_bytes
    phyr = memory.scatter(10 * PAGE - 7, seed=4, offset=3)
    memory.write(phyr, b"x" * len(phyr))
    assert (memory.resident, memory.free_bytes) == (10 * PAGE, before - 10 * PAGE)
    memory.free(phyr)
    assert (memory.resident, memory.free_bytes) == (0, before)
    assert memory.read(phyr) == bytes(len(phyr))
    with pytest.raises(AllocationError):
        memory.free(phyr)


def test_freeing_is_all_or_nothing() -> None:
    memory = Memory(SIZE)
    phyr = memory.alloc(4 * PAGE)
    memory.write(phyr, b"y" * len(phyr))
    free = memory.free_bytes
    twice = Phyr.from_pfns([1, 3, 1])
    beyond = Phyr.from_pfns([2, 4, 9])
    zero = Phyr.from_pfns([2, 0])
    for bad in (twice, beyond, zero):
        with pytest.raises(AllocationError):
            memory.free(bad)
        assert memory.free_bytes == free
        assert memory.read(phyr) == b"y" * len(phyr)
    memory.free(phyr[PAGE : 2 * PAGE])
    assert memory.read(phyr) == b"y" * PAGE + bytes(PAGE) + b"y" * 2 * PAGE


def test_reserved_pages_are_nobody_elses() -> None:
    memory = Memory(SIZE)
    mine = Phyr.from_pfns([1, 2, 5])
    memory.reserve(mine)
    for bad in (mine, Phyr.from_pfns([9, 5]), Phyr.from_pfns([9, 8, 9]), Phyr.from_pfns([0])):
        with pytest.raises(AllocationError, match="nothing reserved"):
            memory.reserve(bad)
    assert memory.alloc(2 * PAGE).chunks[0].paddr == 3 * PAGE
    memory.free(mine)
    assert memory.alloc(2 * PAGE).chunks[0].paddr == PAGE


def test_a_memory_is_itself() -> None:
    memory, other = Memory(SIZE), Memory(SIZE)
    assert memory == memory  # noqa: PLR0124
    assert memory != other
    assert memory != 7
    assert len({memory, other, memory}) == 2
    assert repr(memory) == "Memory(0x40000 bytes, 0x0 resident, 0x3f000 free)"


def test_threads_may_share_a_memory() -> None:
    memory = Memory(1 << 30)
    failures: list[int] = []

    def work(number: int) -> None:
        for turn in range(30):
            phyr = memory.scatter(16 * PAGE, seed=number * 100 + turn)
            content = bytes([number]) * len(phyr)
            memory.write(phyr, content)
            if memory.read(phyr) != content:
                failures.append(number)
            memory.free(phyr)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (memory.resident, memory.free_bytes) == (0, (1 << 30) - PAGE)


# Scattered layouts.

orders = st.lists(st.integers(0, 4), min_size=1, max_size=3)


@given(st.integers(1, 200 * PAGE), st.integers(0, 1 << 64 - 1), orders, st.integers(0, PAGE - 1))
def test_a_layout_is_scattered_aligned_and_repeatable(
    size: int, seed: int, orders: list[int], offset: int
) -> None:
    phyr = scatter(size, seed=seed, orders=orders, offset=offset, below=1 << 28)
    assert phyr == scatter(size, seed=seed, orders=tuple(orders), offset=offset, below=1 << 28)
    assert phyr.length == size
    assert phyr[0] % PAGE == offset
    pages = [pfn for paddr in phyr.pages(PAGE) for pfn in [paddr // PAGE]]
    assert len(set(pages)) == len(pages)
    assert 0 not in pages
    assert max(pages) < 1 << 16
    # Every block is a chunk: a power of two, at a multiple of itself, largest ones first used up.
    left = len(pages)
    for paddr, length in Phyr.from_pfns(pages).chunks:
        count = length // PAGE
        assert count.bit_count() == 1
        assert paddr % length == 0
        fitting = {1 << order for order in orders if 1 << order <= left}
        assert count in (fitting or {1 << (left.bit_length() - 1)})
        left -= count


def test_seeds_differ() -> None:
    assert len({scatter(64 * PAGE, seed=seed) for seed in range(20)}) == 20


def test_a_layout_takes_free_pages_of_its_memory_only() -> None:
    memory = Memory(SIZE)
    taken: set[int] = set()
    for seed in range(6):
        phyr = memory.scatter(10 * PAGE, seed=seed)
        pages = set(phyr.pages(PAGE))
        assert not pages & taken
        assert len(phyr.chunks) == 10
        taken |= pages
    assert memory.free_bytes == 3 * PAGE
    with pytest.raises(NoMemoryError) as info:
        memory.scatter(4 * PAGE)
    assert info.value.free == 3 * PAGE


def test_a_layout_that_cannot_be_scattered_takes_nothing() -> None:
    memory = Memory(4 * PAGE)
    # Pages 1, 2, 3: the third block would have to follow the second, in some order of draws.
    for seed in range(40):
        try:
            phyr = memory.scatter(3 * PAGE, seed=seed)
        except NoMemoryError:
            pass
        else:
            assert len(phyr.chunks) == 3
            memory.free(phyr)
        assert memory.free_bytes == 3 * PAGE
    with pytest.raises(NoMemoryError):
        memory.scatter(PAGE, below=PAGE)
    with pytest.raises(NoMemoryError):
        memory.scatter(4 * PAGE, orders=[2])


@pytest.mark.parametrize(
    "layout",
    [
        {"orders": []},
        {"orders": [40]},
        {"offset": PAGE},
        {"offset": -1},
        {"seed": -1},
        {"seed": 1 << 64},
    ],
)
def test_a_layout_that_is_none_is_refused(layout: dict[str, int]) -> None:
    with pytest.raises(RangeError):
        scatter(PAGE, **layout)  # type: ignore[arg-type]


def test_huge_blocks_are_huge_pages() -> None:
    phyr = scatter((1 << 30) + PAGE, orders=[9], seed=5)
    assert phyr.orders() == {0: 1, 9: 512}
    with pytest.raises(AlignmentError):
        phyr.pages(1 << 21)[0:1]
    with pytest.raises(NoMemoryError):
        scatter((1 << 64) - 1)


def test_memory_is_read_and_written_as_a_bytearray() -> None:
    memory, plain = Memory(0x8000), bytearray(0x8000)
    assert len(memory) == len(plain)
    for start, data in ((0, b"first"), (0x0FFE, b"crossing"), (0x7FFC, b"last"), (0x30, b"")):
        memory.write_at(start, data)
        plain[start : start + len(data)] = data
    memory[0x2000:0x2003] = memoryview(b"abc")
    plain[0x2000:0x2003] = b"abc"
    memory[-1] = plain[-1] = 0x21
    for key in (slice(None), slice(0xFF0, 0x1010), slice(-4, None), slice(5, 2), slice(9, 1 << 70)):
        assert memory[key] == bytes(plain[key])
    assert [memory[at] for at in (0, 0x1000, -1, -0x8000)] == [plain[0], plain[0x1000], 0x21, 0x66]
    assert memory.read_at(0x0FFE, 8) == b"crossing"
    assert memory.read_at(0x9000, 0) == b""


def test_what_is_not_inside_memory_or_not_as_long_is_refused() -> None:
    memory = Memory(0x8000)
    for paddr, length in ((0x8000, 1), (0x7FFF, 2), ((1 << 64) - 1, 1), ((1 << 64) - 1, 2)):
        with pytest.raises(RangeError):
            memory.read_at(paddr, length)
        with pytest.raises(RangeError):
            memory.write_at(paddr, bytes(length))
    for at in (0x8000, -0x8001, 1 << 70):
        with pytest.raises(PositionError):
            memory[at]
        with pytest.raises(PositionError):
            memory[at] = 1
    for length in (2, 4):
        with pytest.raises(RangeError):
            memory[5:8] = bytes(length)
    for key in (slice(0, 8, 2), slice(8, 0, -1)):
        with pytest.raises(RangeError):
            memory[key]
        with pytest.raises(RangeError):
            memory[key] = b""
    with pytest.raises(RangeError, match="byte 256 is not from 0 to 255"):
        memory[0] = 256
    with pytest.raises(TypeError):
        memory[0] = b"x"  # type: ignore[call-overload]
    assert memory[:] == bytes(0x8000)
