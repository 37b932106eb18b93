"""`index` of a sequence of phyr takes places as that of a list does: any number."""

from typing import Any

import pytest

from phyr import Phyr

LISTED = [7, 3, 9]
PLACES = [0, 1, 3, -1, -3, 1 << 63, 1 << 200, -(1 << 63), -(1 << 200)]


@pytest.mark.parametrize("start", PLACES)
@pytest.mark.parametrize("stop", PLACES)
def test_places_of_any_size_are_those_of_a_list(start: int, stop: int) -> None:
    phyr = Phyr.from_pfns(LISTED)
    frozen = phyr.freeze()
    listed = list(phyr.chunks)
    sequences: list[Any] = [phyr.chunks, frozen.chunks, phyr.chunks.paddrs]
    wanted = [listed[1], listed[1], listed[1].paddr]
    for sequence, value in zip(sequences, wanted, strict=True):
        try:
            expected = listed.index(listed[1], start, stop)
        except ValueError:
            with pytest.raises(ValueError, match="no such item"):
                sequence.index(value, start, stop)
        else:
            assert sequence.index(value, start, stop) == expected


def test_a_place_is_a_number() -> None:
    chunks = Phyr.from_pfns(LISTED).chunks
    with pytest.raises(TypeError):
        chunks.index(chunks[0], "0")  # type: ignore[arg-type]
