"""Places outside are written in one way everywhere: bytes in hexadecimal, numbers in decimal."""

from collections.abc import Callable

import numpy as np
import pytest

from phyr import FrozenPhyr, Phyr, PositionError
from phyr.sim import Memory

PHYR = Phyr.from_pfns([5, 9, 7])
BOTH = pytest.mark.parametrize("phyr", [PHYR, PHYR.freeze()], ids=["phyr", "frozen"])
OUTSIDE = pytest.mark.parametrize(
    "place", [0x3000, 0x3001, -0x3001, 1 << 63, -(1 << 64), 1 << 70, np.uint64(0x3000)]
)


def told(act: Callable[[], object]) -> tuple[str, dict[str, object]]:
    with pytest.raises(PositionError) as caught:
        act()
    return str(caught.value), vars(caught.value)


@BOTH
@OUTSIDE
def test_a_position_is_hexadecimal_however_it_is_asked_for(
    phyr: Phyr | FrozenPhyr, place: int
) -> None:
    text, numbers = told(lambda: phyr[place])
    assert text == f"position {place:#x} is outside a list of 0x3000 bytes"
    assert numbers == {"position": place, "length": 0x3000}
    if place >= 0:
        assert told(lambda: phyr.chunks.find(place)) == (text, numbers)
    if 0 <= place < 1 << 64:
        assert told(lambda: phyr.translate([place])) == (text, numbers)


@BOTH
@pytest.mark.parametrize("place", [-1, -0x3001, 1 << 64, -(1 << 70), np.int64(-5)])
def test_a_place_outside_every_list_is_told_as_any_other(
    phyr: Phyr | FrozenPhyr, place: int
) -> None:
    for of, length in [(phyr, 0x3000), (phyr[0x800:], 0x2800), (phyr[:0], 0)]:
        assert told(lambda: of.chunks.find(place)) == (  # noqa: B023
            f"position {place:#x} is outside a list of {length:#x} bytes",
            {"position": place, "length": length},
        )
        nr_chunks = len(of.chunks)
        assert told(lambda: of.chunks.position(place)) == (  # noqa: B023
            f"chunk {place} is outside a list of {nr_chunks} chunks",
            {"number": place, "nr_chunks": nr_chunks},
        )


@BOTH
def test_the_number_of_a_chunk_is_decimal_however_it_is_asked_for(
    phyr: Phyr | FrozenPhyr,
) -> None:
    for number in (3, 300, 1 << 63):
        text = f"chunk {number} is outside a list of 3 chunks"
        assert told(lambda: phyr.chunks[number])[0] == text  # noqa: B023 - called at once
        assert told(lambda: phyr.chunks.position(number)) == (  # noqa: B023
            text,
            {"number": number, "nr_chunks": 3},
        )
    text, numbers = told(lambda: phyr.chunks[-4])
    assert (text, numbers["number"]) == ("chunk -4 is outside a list of 3 chunks", -4)


def test_the_number_of_an_item_is_decimal() -> None:
    assert told(lambda: PHYR.chunks.paddrs[3]) == (
        "item 3 is outside a column of 3 items",
        {"number": 3, "nr_items": 3},
    )


def test_an_address_outside_a_memory_is_hexadecimal() -> None:
    memory = Memory(1 << 20)
    for act in (lambda: memory[1 << 20], lambda: memory.__setitem__(1 << 20, 0)):
        assert told(act)[0] == "position 0x100000 is outside a memory of 0x100000 bytes"


class Told(int):
    """A number with a repr and a format of its own that say nothing."""

    def __repr__(self) -> str:
        raise ValueError

    def __format__(self, _how: str) -> str:
        raise ValueError


def test_a_number_that_cannot_be_formatted_is_shown_as_a_number() -> None:
    assert told(lambda: PHYR[Told(0x3000)])[0].startswith("position 0x3000 is outside")
    assert told(lambda: PHYR.chunks[Told(30)])[0].startswith("chunk 30 is outside")


@BOTH
@pytest.mark.parametrize("key", ["a", 1.5, None, [1]])
def test_a_key_that_is_no_number_is_shown(phyr: Phyr | FrozenPhyr, key: object) -> None:
    for indexed in (phyr, phyr.chunks, PHYR.chunks.paddrs):
        with pytest.raises(TypeError) as caught:
            indexed[key]  # type: ignore[call-overload]
        assert str(caught.value) == f"a position is {key!r}, not an int or a slice"


class Raising:
    """A number that raises an error of its own."""

    def __index__(self) -> int:
        raise TypeError("my own")


def test_a_key_that_raises_is_not_spoken_for() -> None:
    with pytest.raises(TypeError, match=r"^my own$"):
        PHYR[Raising()]
