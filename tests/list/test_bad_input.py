"""Each kind of bad input is refused, by an exception of phyr that names the numbers."""

from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import phyr as package
from phyr import (
    AlignmentError,
    ArrayError,
    ArrayTypeError,
    Builder,
    Phyr,
    PhyrError,
    RangeError,
)
from support.agree import agree, names
from support.model import Model

TOP = 1 << 64


def from_pairs(paddr: int, length: int, granule: int) -> Phyr:
    return Phyr.from_chunks([(paddr, length)], granule=granule)


def from_columns(paddr: int, length: int, granule: int) -> Phyr:
    return Phyr.from_chunks([paddr], [length], granule=granule)


def from_arrays(paddr: int, length: int, granule: int) -> Phyr:
    return Phyr.from_chunks(array("Q", [paddr]), array("Q", [length]), granule=granule)


def from_append(paddr: int, length: int, granule: int) -> Phyr:
    builder = Builder(granule)
    builder.append(paddr, length)
    return builder.finish()


def from_extend(paddr: int, length: int, granule: int) -> Phyr:
    builder = Builder(granule)
    builder.extend_chunks([(paddr, length)])
    return builder.finish()


ONE_RANGE = pytest.mark.parametrize(
    "make", [from_pairs, from_columns, from_arrays, from_append, from_extend]
)
OneRange = Callable[[int, int, int], Phyr]


@ONE_RANGE
def test_a_range_of_zero_length_is_refused_everywhere(make: OneRange) -> None:
    for paddr in (0, 0x1000, 0x1001, TOP - 4096, TOP - 1):
        with pytest.raises(RangeError) as caught:
            make(paddr, 0, 4096)
        names(caught.value, paddr)


@ONE_RANGE
@pytest.mark.parametrize(
    ("granule", "paddr"), [(1, 1 << 52), (2, 1 << 53), (512, 1 << 61), (2048, 1 << 63)]
)
def test_an_address_beyond_the_reach_of_the_granule_is_refused(
    make: OneRange, granule: int, paddr: int
) -> None:
    for start, length in ((paddr, 1), (paddr - 1, 2), (0, paddr + 1), (TOP - 1, 1)):
        with pytest.raises(RangeError) as caught:
            make(start, length, granule)
        names(caught.value, start, granule)
    assert make(paddr - 1, 1, granule).length == 1


@ONE_RANGE
@pytest.mark.parametrize(
    ("paddr", "length"),
    [(TOP - 4096, 4097), (TOP - 1, 2), (TOP - 1, TOP - 1), (2, TOP - 1), (0x1000, TOP - 0xFFF)],
)
@pytest.mark.parametrize("granule", [4096, 65536])
def test_a_range_that_wraps_is_refused(
    make: OneRange, granule: int, paddr: int, length: int
) -> None:
    with pytest.raises(RangeError) as caught:
        make(paddr, length, granule)
    names(caught.value, paddr, length)


@pytest.mark.parametrize("granule", [1, 512, 4096])
def test_a_page_number_beyond_52_bits_is_refused(granule: int) -> None:
    for pfn in (1 << 52, (1 << 52) + 1, 1 << 63, TOP - 1):
        for pfns in ([pfn], array("Q", [1, pfn]), np.array([7, 8, 9, pfn], dtype=np.uint64)):
            with pytest.raises(RangeError) as caught:
                Phyr.from_pfns(pfns, granule=granule)
            names(caught.value, pfn)


def test_a_page_number_past_the_address_space_is_refused() -> None:
    for granule in (8192, 65536):
        pfn = TOP // granule
        with pytest.raises(RangeError):
            Phyr.from_pfns([pfn], granule=granule)
        with pytest.raises(RangeError):
            Phyr.from_pfns(array("Q", [1, pfn]), granule=granule)
        assert Phyr.from_pfns([pfn - 1], granule=granule)[-1] == TOP - 1


@pytest.mark.parametrize(
    ("granule", "paddr"), [(4096, 0x1001), (4096, 0x1FFF), (512, 0x1100), (65536, 0x1000), (2, 7)]
)
def test_a_page_address_inside_a_granule_is_refused(granule: int, paddr: int) -> None:
    for paddrs in ([paddr], array("Q", [0, paddr]), np.array([0, 0, paddr], dtype=np.uint64)):
        with pytest.raises(AlignmentError) as caught:
            Phyr.from_pages(paddrs, granule=granule)
        names(caught.value, paddr, granule)


def test_a_page_address_beyond_the_reach_of_the_granule_is_refused() -> None:
    for paddrs in ([1 << 61], array("Q", [0, 1 << 61])):
        with pytest.raises(RangeError) as caught:
            Phyr.from_pages(paddrs, granule=512)
        names(caught.value, 1 << 61)


@pytest.mark.parametrize(
    ("pieces", "paddr", "position"),
    [
        ([(0x1000, 0x800), (0x3000, 0x1000)], 0x3000, 0x800),
        ([(0x1000, 0x1000), (0x3800, 0x800)], 0x3800, 0x1000),
        ([(0x1000, 0x1000), (0x5000, 0xFFF), (0x9000, 1)], 0x9000, 0x1FFF),
        ([(0x1800, 0x800), (0x2000, 0x900), (0x2800, 0x800)], 0x2800, 0x1100),
    ],
)
def test_an_interior_boundary_inside_a_granule_is_refused(
    pieces: list[tuple[int, int]], paddr: int, position: int
) -> None:
    columns = ([paddr for paddr, _ in pieces], [length for _, length in pieces])
    builder = Builder()

    def append_each() -> None:
        for piece in pieces:
            builder.append(*piece)

    attempts: list[Callable[[], object]] = [
        append_each,
        lambda: Phyr.from_chunks(pieces),
        lambda: Phyr.from_chunks(*columns),
        lambda: Phyr.from_chunks(array("Q", columns[0]), array("Q", columns[1])),
    ]
    for attempt in attempts:
        with pytest.raises(AlignmentError) as caught:
            attempt()
        names(caught.value, paddr, position, 4096)


def test_a_joint_inside_a_granule_is_refused() -> None:
    whole = Phyr.from_pfns([1, 5, 9])
    for left, right in (
        (whole[:100], whole),
        (whole, whole[1:]),
        (whole[:100], whole[101:]),
        (whole[:100], whole[99:]),
    ):
        with pytest.raises(AlignmentError) as caught:
            left + right
        names(caught.value, left.length, right[0])


def test_a_total_beyond_64_bits_is_refused() -> None:
    half = (0, 1 << 63)
    attempts: list[Callable[[], object]] = [
        lambda: Phyr.from_chunks([half, half]),
        lambda: Phyr.from_chunks([0, 0], [1 << 63, 1 << 63]),
        lambda: Phyr.from_chunks(array("Q", [0, 0]), array("Q", [1 << 63, 1 << 63])),
        lambda: Phyr.from_chunks([half]) + Phyr.from_chunks([half]),
        lambda: Phyr.from_chunks([(0, TOP - 1)]),
        lambda: Phyr.from_chunks([(1, TOP - 1)]),
        lambda: Phyr.from_chunks([half, (4096, (1 << 63) - 4096), (0, 1)]),
    ]
    for attempt in attempts:
        with pytest.raises(RangeError):
            attempt()
    builder = Builder()
    builder.append(*half)
    most = (1 << 63) - 4096
    with pytest.raises(RangeError):
        builder.append(*half)
    builder.append(0, most)
    with pytest.raises(RangeError):
        builder.append(0, 1)
    with pytest.raises(RangeError):
        builder.extend_pfns([7])
    with pytest.raises(RangeError):
        builder.extend(Phyr.from_pfns([9]))
    agree(builder.finish(), Model((half, (0, most))))


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0x3001, None),
        (0x3001, 0),
        (0, 0x3001),
        (0x2FFF, 2),
        (0x3000, 1),
        (TOP - 1, 2),
        (1, TOP - 1),
    ],
)
def test_a_view_outside_the_list_is_refused(offset: int, length: int | None) -> None:
    builder = Builder()
    builder.extend_pfns([1, 2, 7])
    attempts: list[Callable[[], object]] = [
        lambda: Phyr.from_pfns([1, 2, 7], offset=offset, length=length),
        lambda: Phyr.from_pages([0x1000, 0x2000, 0x7000], offset=offset, length=length),
        lambda: Phyr.from_chunks([(0x1000, 0x3000)], offset=offset, length=length),
        lambda: builder.finish(offset, length),
    ]
    for attempt in attempts:
        with pytest.raises(RangeError) as caught:
            attempt()
        names(caught.value, offset, 0x3000)


@pytest.mark.parametrize(
    ("offset", "length"), [(-1, None), (0, -1), (TOP, None), (0, TOP), (-TOP, 5)]
)
def test_a_view_of_no_64_bit_numbers_is_refused(offset: int, length: int | None) -> None:
    with pytest.raises(RangeError):
        Phyr.from_pfns([1, 2, 7], offset=offset, length=length)
    with pytest.raises(RangeError):
        Builder().finish(offset, length)


def test_a_view_may_end_where_the_list_ends() -> None:
    assert Phyr.from_pfns([1], offset=0x1000) == Phyr.from_pfns([1], offset=7, length=0)
    assert Phyr.from_pfns([1], offset=0xFFF, length=1)[0] == 0x1FFF


@pytest.mark.parametrize("granule", [0, 3, 4097, 1 << 17, 1 << 64, 1 << 90, -1, -4096])
def test_a_granule_is_a_power_of_two_to_64_kib(granule: int) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: Phyr.from_pfns([], granule=granule),
        lambda: Phyr.from_pages([], granule=granule),
        lambda: Phyr.from_chunks([], granule=granule),
        lambda: Builder(granule),
    ]
    for attempt in attempts:
        with pytest.raises(RangeError, match=str(granule)):
            attempt()


@pytest.mark.parametrize(
    "kind", ["", "RAM", "mmio:", "mmio:-1", "mmio:4294967296", "mmio:x", "mmio: 1", "mmio:+1", "io"]
)
def test_a_kind_is_one_of_the_known(kind: str) -> None:
    with pytest.raises(RangeError):
        Phyr.from_pfns([], kind=kind)
    with pytest.raises(RangeError):
        Builder(kind=kind)


def test_the_last_provider_can_be_named() -> None:
    assert Builder(kind="mmio:4294967295").kind == "mmio:4294967295"


# Ways to hand over one array: each refuses what is no array of page numbers.
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
    with pytest.raises(ArrayError):
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


def test_every_exception_has_the_root_and_a_built_in_base() -> None:
    bases = {
        "AlignmentError": ValueError,
        "AllocationError": ValueError,
        "ArrayError": ValueError,
        "ArrayTypeError": TypeError,
        "FaultError": OSError,
        "ClosedError": ValueError,
        "FormatError": ValueError,
        "GapError": ValueError,
        "HiddenPagesError": PermissionError,
        "MismatchError": ValueError,
        "IovaSpaceError": MemoryError,
        "LimitError": ValueError,
        "MappedError": ValueError,
        "NoMemoryError": MemoryError,
        "NotMappedError": ValueError,
        "PinError": OSError,
        "PositionError": IndexError,
        "UnmappedError": ValueError,
        "ProcessGoneError": ProcessLookupError,
        "RangeError": ValueError,
        "VfioError": OSError,
    }
    for name, base in bases.items():
        error = getattr(package, name)
        assert issubclass(error, PhyrError)
        assert issubclass(error, base)
    assert set(bases) | {"PhyrError"} == {
        name for name in package.__all__ if name.endswith("Error")
    }


@pytest.mark.parametrize("number", [-1, TOP, -TOP])
@pytest.mark.parametrize(
    "attempt",
    [
        lambda number: Builder().append(number, 1),
        Builder,
        lambda number: Phyr.from_pfns([1], offset=number),
        lambda number: Phyr.from_pfns([1], granule=number),
        lambda number: Phyr.from_pfns([1]).pages(number),
    ],
    ids=["append", "Builder", "offset", "granule", "pages"],
)
def test_a_number_outside_64_bits_is_named(attempt: Callable[[int], object], number: int) -> None:
    with pytest.raises(RangeError) as caught:
        attempt(number)
    names(caught.value, number)


def test_a_phyr_is_made_by_its_constructors_only() -> None:
    with pytest.raises(TypeError):
        Phyr()
    with pytest.raises(TypeError):
        type(Phyr.from_pfns([]).chunks)()


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
