"""Numbers in messages: addresses in hexadecimal and counts in decimal, of any size and type."""

from array import array
from collections.abc import Callable

import numpy as np
import pytest

from phyr import ArrayError, Builder, Phyr, RangeError, desc
from phyr.sim import Memory, SimDomain

PHYR = Phyr.from_pfns([5, 9, 7])
UNFIT = "is not a number from 0 to 2^64 - 1"


class Own:
    """A number of a class that is not `int`, and that `format` does not know."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __index__(self) -> int:
        return self.number


def told(act: Callable[[], object], kind: type[Exception] = RangeError) -> str:
    with pytest.raises(kind) as caught:
        act()
    return str(caught.value)


HEXADECIMAL: dict[str, Callable[[int], object]] = {
    "position": PHYR.split,
    "page_size": PHYR.pages,
    "paddr": PHYR.within,
    "length": lambda length: PHYR.within(0, length),
    "offset": lambda offset: Phyr.from_pfns([1], offset=offset),
    "start": lambda start: desc.split(PHYR, [1], start=start),
    "size": Memory,
    "vmemmap": lambda vmemmap: desc.bio_vecs(PHYR, vmemmap=vmemmap),
}
DECIMAL: dict[str, Callable[[int], object]] = {
    "granule": Builder,
    "rows": lambda rows: PHYR.chunks.table(rows=rows),
    "max_requests": lambda count: desc.map_requests(PHYR, 0, max_requests=count),
    "order": lambda order: desc.kho_vmalloc(PHYR, PHYR, order=order),
}
NARROW: dict[str, Callable[[int], object]] = {
    "levels": lambda levels: SimDomain(Memory(1 << 20), levels=levels),
    "iotlb_sets": lambda sets: SimDomain(Memory(1 << 20), iotlb_sets=sets),
    "iotlb_ways": lambda ways: SimDomain(Memory(1 << 20), iotlb_ways=ways),
    "orders": lambda order: Memory(1 << 20).scatter(4096, orders=[order]),
}
BEYOND = [-1, -4096, 1 << 64, (1 << 64) + 1, 1 << 100, -(1 << 100)]


@pytest.mark.parametrize("number", BEYOND)
@pytest.mark.parametrize("argument", HEXADECIMAL)
def test_an_address_that_is_none_is_hexadecimal(argument: str, number: int) -> None:
    for value in (number, Own(number)):
        text = told(lambda: HEXADECIMAL[argument](value))  # type: ignore[arg-type] # noqa: B023
        assert text == f"argument '{argument}': {number:#x} {UNFIT}"


@pytest.mark.parametrize("number", [*BEYOND, 1 << 32])
@pytest.mark.parametrize("argument", NARROW)
def test_a_number_of_32_bits_says_so(argument: str, number: int) -> None:
    text = told(lambda: NARROW[argument](number))
    assert text == f"argument '{argument}': {number} is not a number from 0 to 2^32 - 1"


@pytest.mark.parametrize("number", BEYOND)
@pytest.mark.parametrize("argument", DECIMAL)
def test_a_count_that_is_none_is_decimal(argument: str, number: int) -> None:
    for value in (number, Own(number)):
        text = told(lambda: DECIMAL[argument](value))  # type: ignore[arg-type] # noqa: B023
        assert text == f"argument '{argument}': {number} {UNFIT}"


@pytest.mark.parametrize("number", [*BEYOND, np.int64(-7)])
def test_an_item_that_is_none_is_hexadecimal(number: int) -> None:
    acts: list[Callable[[list[int]], object]] = [
        Phyr.from_pfns,
        Phyr.from_pages,
        PHYR.translate,
        lambda lengths: desc.split(PHYR, lengths),
    ]
    for act in acts:
        text = told(lambda: act([1, number]), ArrayError)  # noqa: B023
        assert text == f"item 1 is {number:#x}, not a number from 0 to 2^64 - 1"
    text = told(lambda: Phyr.from_chunks([(0, 4096), (number, 5)]), ArrayError)
    assert text == f"item 1 is {number:#x}, not a number from 0 to 2^64 - 1"


def test_a_negative_item_of_an_array_is_hexadecimal() -> None:
    for pfns in (array("q", [1, -0x20]), np.array([1, -0x20], dtype=np.int32)):
        text = told(lambda: Phyr.from_pfns(pfns), ArrayError)  # noqa: B023
        assert text == "item 1 of the array is -0x20, which is negative"


def test_a_number_of_numpy_is_shown_as_a_number() -> None:
    one = Phyr.from_pfns([1])
    minus: int = np.int64(-1)  # type: ignore[assignment]
    for act, text in [
        (lambda: one.chunks[np.int64(9)], "chunk 9 is outside a list of 1 chunks"),
        (lambda: one.chunks.paddrs[np.int64(9)], "item 9 is outside a column of 1 items"),
        (lambda: one[np.int64(-4097)], "position -0x1001 is outside a list of 0x1000 bytes"),
        (lambda: one[:: np.int64(2)], "slice step 2 is not 1"),
        (lambda: one.split(minus), f"argument 'position': -0x1 {UNFIT}"),
        (lambda: Builder(minus), f"argument 'granule': -1 {UNFIT}"),
    ]:
        assert told(act, (ValueError, IndexError)) == text  # type: ignore[arg-type]
    memory = Memory(8192)
    with pytest.raises(RangeError, match=r"^byte 256 is not from 0 to 255$"):
        memory[0] = np.int64(256)  # type: ignore[call-overload]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_of_very_many_digits_is_cut(sign: int) -> None:
    number = sign << 20_000  # Python refuses to write so many digits in decimal
    start = f"{number:#x}"[:60]
    assert told(lambda: PHYR.split(number)) == f"argument 'position': {start}... {UNFIT}"
    assert told(lambda: Builder(number)) == f"argument 'granule': {start}... {UNFIT}"
    assert told(lambda: PHYR.chunks[number], IndexError).startswith(f"chunk {start}... is outside")
