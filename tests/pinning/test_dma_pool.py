"""Pieces of a pool: aligned, apart, zeroed, and where the device finds them."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import DmaPool, IovaSpaceError, Phyr, RangeError
from phyr.iommu import Direct, Direction, Paging
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


@given(st.data())
def test_pieces_are_aligned_apart_and_zero(data: st.DataObject) -> None:
    backend = Told()
    with DmaPool(backend, 8 * PAGE - 5) as pool:
        assert pool.size == pool.free == 8 * PAGE
        live: list[Any] = []
        for _ in range(data.draw(st.integers(1, 30))):
            if data.draw(st.booleans()) and live:
                live.pop(data.draw(st.integers(0, len(live) - 1))).free()
            else:
                length = data.draw(st.integers(1, 2 * PAGE))
                align = 1 << data.draw(st.integers(0, 12))
                try:
                    piece = pool.take(length, align=align)
                except IovaSpaceError:
                    assert pool.free < 8 * PAGE
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
        with pytest.raises(RangeError, match=f"no piece of {length} bytes at multiples of {align}"):
            pool.take(length, align=align)
        with pytest.raises(IovaSpaceError):
            pool.take(PAGE + 1)
        assert pool.free == PAGE


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
