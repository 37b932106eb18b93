"""Arrays and iterables that are none: each way to hand them over refuses them."""

from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from phyr import AlignmentError, ArrayError, ArrayTypeError, Builder, Phyr, PhyrError, RangeError
from support.agree import agree, names
from support.model import Model

TOP = 1 << 64
# Ways to hand over one array.
TAKERS: dict[str, Callable[[Any], object]] = {
    "from_pfns": Phyr.from_pfns,
    "from_pages": Phyr.from_pages,
    "paddrs": lambda given: Phyr.from_chunks(given, [4096, 4096]),
    "lengths": lambda given: Phyr.from_chunks([0, 0x9000], given),
    "extend_pfns": lambda given: Builder().extend_pfns(given),
    "extend_pages": lambda given: Builder().extend_pages(given),
    "extend_chunks": lambda given: Builder().extend_chunks(given, [0, 0]),
}
TAKEN = pytest.mark.parametrize("taker", TAKERS)


@TAKEN
@pytest.mark.parametrize(
    "given",
    [
        np.arange(8)[::2],
        np.arange(8)[::-1],
        np.arange(4).reshape(2, 2),
        np.array(4096),
        memoryview(array("Q", range(8)))[::2],
        memoryview(bytes(32)).cast("Q", (2, 2)),
    ],
    ids=["strided", "reversed", "square", "single", "strided view", "square view"],
)
def test_an_array_that_is_not_one_contiguous_row_is_refused(taker: str, given: object) -> None:
    with pytest.raises(
        ArrayError, match=r"gaps between its items|is no array of one|shape is null"
    ):
        TAKERS[taker](given)


@TAKEN
@pytest.mark.parametrize(
    "given",
    [
        np.zeros(2, dtype=np.float64),
        np.zeros(2, dtype=np.float16),
        np.zeros(2, dtype=np.bool_),
        np.zeros(2, dtype=np.complex128),
        np.zeros(2, dtype=[("a", "u4"), ("b", "u4")]),
        np.zeros(2, dtype="S8"),
        np.array([None, None], dtype=object),
        array("d", [1, 2]),
        array("f", [1, 2]),
        memoryview(bytes(2)).cast("?"),
        memoryview(bytes(2)).cast("c"),
    ],
    ids=[
        *["f8", "f2", "bool", "complex", "struct", "string", "object"],
        *["array d", "array f", "view ?", "view c"],
    ],
)
def test_an_array_of_other_things_is_refused(taker: str, given: object) -> None:
    with pytest.raises(ArrayTypeError):
        TAKERS[taker](given)


@TAKEN
@pytest.mark.parametrize(
    "given", [None, 5, 1.5, "ab", ["1"], [1.0], [None], [b"1"], [(1, 2)], object(), Phyr, {1.5: 1}]
)
def test_what_is_no_array_of_integers_is_refused(taker: str, given: object) -> None:
    with pytest.raises(ArrayTypeError):
        TAKERS[taker](given)


@TAKEN
@pytest.mark.parametrize("code", ["b", "h", "i", "q"])
def test_negative_numbers_in_arrays_are_refused_by_place(taker: str, code: str) -> None:
    for numbers in ([-1, 4096 % 128], [0, -1], [0, -128]):
        for given in (array(code, numbers), np.array(numbers, dtype=code)):
            with pytest.raises(ArrayError) as caught:
                TAKERS[taker](given)
            names(caught.value, min(numbers))


@TAKEN
@pytest.mark.parametrize("number", [-1, -TOP, TOP, TOP + 1, 1 << 90])
def test_numbers_beyond_64_bits_are_refused(taker: str, number: int) -> None:
    with pytest.raises(ArrayError):
        TAKERS[taker]([0, number])


@TAKEN
@pytest.mark.parametrize("size", [1, 7, 9, 15])
def test_packed_bytes_come_in_eights(taker: str, size: int) -> None:
    for given in (bytes(size), bytearray(size)):
        with pytest.raises(ArrayError) as caught:
            TAKERS[taker](given)
        names(caught.value, size)


@pytest.mark.parametrize("lengths", [[], [1], [1, 1, 1], array("Q", [1]), np.ones(3, np.uint64)])
def test_columns_of_uneven_length_are_refused(lengths: list[int]) -> None:
    for paddrs in ([0, 4096], array("Q", [0, 4096])):
        with pytest.raises(ArrayError) as caught:
            Phyr.from_chunks(paddrs, lengths)
        names(caught.value, min(2, len(lengths)))


@pytest.mark.parametrize(
    "chunks",
    [
        [1, 2],
        [(1,)],
        [(1, 2, 3)],
        [(0x1000, "1")],
        [("1", 0x1000)],
        [(0x1000, 1.0)],
        [None],
        ["ab"],
        5,
        None,
        [(0x1000, 0x1000), ()],
    ],
)
def test_what_are_no_pairs_is_refused(chunks: object) -> None:
    with pytest.raises(PhyrError) as caught:
        Phyr.from_chunks(chunks)  # type: ignore[call-overload]
    assert isinstance(caught.value, ArrayTypeError | ArrayError)
    with pytest.raises(PhyrError):
        Builder().extend_chunks(chunks)  # type: ignore[arg-type]


@pytest.mark.parametrize(("paddr", "length"), [(-1, 1), (TOP, 1), (0, -1), (0, TOP), (1 << 90, 1)])
def test_a_range_of_no_64_bit_numbers_is_refused(paddr: int, length: int) -> None:
    with pytest.raises(RangeError):
        Builder().append(paddr, length)
    with pytest.raises(PhyrError):
        Phyr.from_chunks([(paddr, length)])


def test_an_exception_inside_an_iterable_comes_out_as_it_is() -> None:
    class OddError(Exception):
        pass

    def raising(first: object) -> object:
        yield first
        raise OddError

    for attempt in (
        lambda: Phyr.from_pfns(raising(1)),  # type: ignore[arg-type]
        lambda: Phyr.from_pages(raising(0)),  # type: ignore[arg-type]
        lambda: Phyr.from_chunks(raising((0, 4096))),  # type: ignore[call-overload]
        lambda: Phyr.from_chunks([0], raising(4096)),  # type: ignore[call-overload]
        lambda: Builder().extend_pfns(raising(1)),  # type: ignore[arg-type]
    ):
        with pytest.raises(OddError):
            attempt()


def test_an_iterable_that_lies_about_its_length_is_harmless() -> None:
    class Boaster:
        def __init__(self, claimed: int) -> None:
            self.claimed = claimed

        def __iter__(self) -> object:
            return iter([1, 5])

        def __length_hint__(self) -> int:
            return self.claimed

        __len__ = __length_hint__

    for claimed in (0, 1, 3, 1 << 40, (1 << 63) - 1):
        agree(Phyr.from_pfns(Boaster(claimed)), Model.of_pages([1, 5]))  # type: ignore[arg-type]


@pytest.mark.parametrize("wrap", [memoryview, lambda data: memoryview(bytearray(data))])
def test_bytes_behind_a_view_are_not_taken_for_page_numbers(
    wrap: Callable[[bytes], object],
) -> None:
    # The same bytes must not mean two different lists.
    data = bytes(16)
    for take in (Phyr.from_pfns, Phyr.from_pages, Builder().extend_pfns):
        with pytest.raises(ArrayTypeError, match=r"cast\('Q'\)"):
            take(wrap(data))  # type: ignore[arg-type]
    assert Phyr.from_pfns(memoryview(data).cast("Q")) == Phyr.from_pfns(data)


def test_what_an_object_raises_comes_out_as_it_is() -> None:
    class Rude:
        def __len__(self) -> int:
            raise KeyboardInterrupt

        def __iter__(self) -> object:
            raise ZeroDivisionError

        def __index__(self) -> int:
            raise KeyboardInterrupt

    chunks = Phyr.from_pfns([1]).chunks
    with pytest.raises(KeyboardInterrupt):
        Phyr.from_chunks([Rude()])  # type: ignore[list-item]
    with pytest.raises(ZeroDivisionError):
        Phyr.from_pfns(Rude())  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        chunks.count((1, Rude()))
    with pytest.raises(KeyboardInterrupt):
        chunks.paddrs.index(Rude())


def test_a_batch_that_fails_names_its_place_in_the_whole() -> None:
    builder = Builder()
    builder.append(0x1_0000, 0x1_0000)
    with pytest.raises(AlignmentError) as caught:
        builder.extend_chunks([(0x1000, 0x10), (0x5000, 0x1000)])
    assert caught.value.position == 0x1_0010
    assert builder.length == 0x1_0000
