"""Pieces of a pool: aligned, apart, zeroed, and where the device finds them."""

import re
import tracemalloc
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import ClosedError, DmaPool, NoMemoryError, Phyr, RangeError
from phyr.iommu import Direct, Direction, Paging
from phyr.pinning.pool import Piece
from phyr.testing import TableDomain
from support.live import PAGE, shown, uring
from support.pages import addresses, where

pytestmark = [shown, uring]


class Told(Paging):
    """Tells how often it was asked."""

    def __init__(self) -> None:
        super().__init__(TableDomain())
        self.asked: list[str] = []

    def map(self, phyr: Phyr, direction: Direction) -> Phyr:
        self.asked.append("map")
        return super().map(phyr, direction)

    def unmap(self, dma: Phyr, direction: Direction) -> None:
        self.asked.append("unmap")
        super().unmap(dma, direction)


def longest_gap(pool: DmaPool, live: list[Piece]) -> int:
    """Return the longest run of bytes that no piece has, byte by byte."""
    used = set()
    for piece in live:
        start, length = where(piece.view)
        used |= set(range(start - pool._uaddr, start - pool._uaddr + length))  # noqa: SLF001
    text = "".join("x" if at in used else "." for at in range(pool.size))
    return max(map(len, text.split("x")))


@given(st.data())
def test_pieces_are_aligned_apart_and_zero(data: st.DataObject) -> None:
    backend = Told()
    with DmaPool(backend, 8 * PAGE - 5) as pool:
        assert pool.size == pool.free == 8 * PAGE
        live: list[Piece] = []
        for _ in range(data.draw(st.integers(1, 30))):
            if data.draw(st.booleans()) and live:
                live.pop(data.draw(st.integers(0, len(live) - 1))).free()
            else:
                length = data.draw(st.integers(1, 2 * PAGE))
                align = 1 << data.draw(st.integers(0, 12))
                try:
                    piece = pool.take(length, align=align)
                except NoMemoryError as error:
                    shortage = error
                    largest = longest_gap(pool, live)
                    assert largest < length + align - 1
                    assert (shortage.free, shortage.largest) == (pool.free, largest)
                    continue
                assert bytes(piece.view) == bytes(length)
                piece.view[:] = b"\xff" * length
                uaddr, there = where(piece.view)
                assert there == length == piece.dma.length
                assert uaddr % align == piece.dma_addr % align == 0
                live.append(piece)
            assert pool.free == 8 * PAGE - sum(len(piece.view) for piece in live)
            taken = sorted(where(piece.view) for piece in live)
            for (low, length), (high, _) in pairwise(taken):
                assert low + length <= high
        assert backend.asked == ["map"]
    assert backend.asked == ["map", "unmap"]


def test_a_piece_is_where_the_device_finds_it() -> None:
    with DmaPool(Direct(), 4 * PAGE) as pool:
        with pool.take(100) as piece:
            uaddr, length = where(piece.view)
            assert piece.dma_addr == addresses(uaddr, length)[0]
            assert pool.free == 4 * PAGE - 100
        with pytest.raises(ValueError, match="released"):
            piece.view[0]
        assert pool.free == 4 * PAGE
        again = pool.take(100)
        piece.free()
        assert again.view[0] == 0, "another's, which a second free does not touch"


@pytest.mark.parametrize(
    ("length", "align"), [(0, 64), (-1, 64), (1, 0), (1, 3), (1, 2 * PAGE), (1, -4)]
)
def test_what_is_no_piece_is_refused(length: int, align: int) -> None:
    with DmaPool(Direct(), PAGE) as pool:
        why = f"no piece of {length:#x} bytes at multiples of {align:#x}"
        with pytest.raises(RangeError, match=why):
            pool.take(length, align=align)
        assert pool.free == PAGE


@pytest.mark.parametrize("name", ["length", "align"])
@pytest.mark.parametrize("value", ["a", 1.5, None])
def test_a_piece_is_of_whole_numbers(name: str, value: object) -> None:
    given: dict[str, Any] = {"length": 1, name: value}
    with DmaPool(Direct(), PAGE) as pool:
        with pytest.raises(TypeError, match=f"^{name} is {value!r}, not an int"):
            pool.take(**given)
        assert pool.free == PAGE


def test_a_pool_of_what_is_no_backend_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^backend is of .*, not a DmaBackend: it has no map"):
        DmaPool(5, PAGE)  # type: ignore[arg-type]


def test_closing_takes_pieces_away_and_says_who_uses_one() -> None:
    backend = Told()
    pool = DmaPool(backend, PAGE)
    piece = pool.take(64)
    pool.close()
    pool.close()
    with pytest.raises(ValueError, match="released"):
        piece.view[0]
    assert backend.asked == ["map", "unmap"]
    pool = DmaPool(backend, PAGE)
    piece = pool.take(64)
    part = memoryview(piece.view)
    with pytest.raises(BufferError):
        pool.close()
    assert backend.asked == ["map", "unmap"] * 2
    part.release()


def test_where_no_piece_is_as_long_the_error_tells_what_is_free() -> None:
    with DmaPool(Direct(), 4 * PAGE) as pool:
        first, _ = pool.take(PAGE), pool.take(PAGE)
        first.free()
        text = (
            f"no piece of {2 * PAGE + 1:#x} bytes at multiples of 0x40 is free in the pool: "
            f"{3 * PAGE:#x} bytes are, the largest piece {2 * PAGE:#x}"
        )
        with pytest.raises(NoMemoryError) as caught:
            pool.take(2 * PAGE + 1)
        assert str(caught.value) == text
        assert vars(caught.value) == {
            "length": 2 * PAGE + 1,
            "align": 64,
            "free": 3 * PAGE,
            "largest": 2 * PAGE,
        }
        assert pool.take(2 * PAGE).view.nbytes == 2 * PAGE


def test_a_piece_that_cannot_be_made_leaves_its_place_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_memory(_: int) -> bytes:
        raise MemoryError

    with DmaPool(Direct(), 4 * PAGE) as pool:
        with monkeypatch.context() as patch:
            patch.setattr("phyr.pinning.pool.bytes", no_memory, raising=False)
            with pytest.raises(MemoryError):
                pool.take(4 * PAGE)
            patch.undo()
            patch.setattr("phyr.pinning.pool.Piece", no_memory)
            with pytest.raises(TypeError):
                pool.take(4 * PAGE)
        assert pool.free == 4 * PAGE
        assert pool.take(4 * PAGE).view.nbytes == 4 * PAGE


def test_a_long_piece_is_zeroed_without_a_copy_of_it() -> None:
    size = 1 << 20
    with DmaPool(Direct(), size) as pool:
        with pool.take(size - 5, align=1) as piece:
            piece.view[:] = b"x" * (size - 5)
        tracemalloc.start()
        piece = pool.take(size - 5, align=1)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 100_000
        assert bytes(piece.view) == bytes(size - 5)


def test_a_size_is_a_whole_number() -> None:
    with pytest.raises(TypeError, match="size is '1M', not an int"):
        DmaPool(Direct(), "1M")  # type: ignore[arg-type]


def test_a_closed_pool_has_no_pieces() -> None:
    pool = DmaPool(Direct(), PAGE)
    pool.take(64)
    pool.close()
    with pytest.raises(ClosedError, match="the pool is closed"):
        pool.take(64)
    assert re.fullmatch(r"DmaPool\(Phyr\(.*\), closed\)", repr(pool))
    assert pool.free == PAGE
