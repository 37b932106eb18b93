"""Bad addresses, lengths and views are refused, and each error names its numbers."""

from array import array
from collections.abc import Callable

import numpy as np
import pytest

import phyr as package
from phyr import AlignmentError, Builder, FormatError, Phyr, PhyrError, RangeError
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


def test_an_error_names_what_is_wrong_and_nothing_else() -> None:
    with pytest.raises(
        AlignmentError, match=r"^address 0x1001 at position 0x0 is not a multiple of"
    ):
        Phyr.from_pages([0x1001])
    builder = Builder()
    builder.append(0x1000, 0x10)
    with pytest.raises(AlignmentError, match=r"^address 0x9000 .* ends inside a granule of 4096"):
        builder.append(0x9000, 0x1000)
    with pytest.raises(FormatError, match=r'^does not start with "PHYR" but with "hell"$'):
        Phyr.from_bytes(b"hello" * 20)
    with pytest.raises(FormatError, match='with "PHYF", as a frozen list does'):
        Phyr.from_bytes(Phyr.from_pfns(range(1, 30000, 7)).freeze().to_bytes())
