"""Tables that are not of `paddr` and `length` are refused, and numbers that do not fit."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from phyr import ArrayTypeError, Phyr, RangeError

CHUNKS = [(0x7000, 0x1000), (0x1_4000_0000, 0x20_0000)]
PHYR = Phyr.from_chunks(CHUNKS)


@pytest.mark.parametrize("names", [("length", "address"), ("bytes", "start"), ("paddr", "size")])
def test_records_of_other_names_are_refused(names: tuple[str, str]) -> None:
    records = np.zeros(2, [(name, "u8") for name in names])
    with pytest.raises(ArrayTypeError, match=r"has no .paddr. and .length."):
        Phyr.from_chunks(records)


def test_records_are_taken_by_name_in_any_order() -> None:
    records = np.zeros(2, [("length", "u8"), ("node", "u1"), ("paddr", "u8")])
    records["paddr"], records["length"] = zip(*CHUNKS, strict=True)
    assert Phyr.from_chunks(records) == PHYR


@pytest.mark.parametrize("table", [{"paddr": [4096], "length": [4096]}, "", "ab"])
def test_keys_and_letters_are_no_chunks(table: Any) -> None:  # noqa: ANN401
    with pytest.raises(ArrayTypeError, match="not an iterable of pairs"):
        Phyr.from_chunks(table)


def test_a_series_of_structs_is_a_table() -> None:
    polars = pytest.importorskip("polars")
    assert Phyr.from_chunks(polars.from_arrow(PHYR.chunks.table())) == PHYR


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Decimal(4096), "decimals"),
        (0.5, "float64"),
        (None, "nulls"),
        ("x", "strings"),
        (True, "booleans"),
    ],
)
def test_a_column_of_no_integers_is_named_with_the_cure(value: object, name: str) -> None:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"paddr": [4096], "length": [value]})
    wanted = f'column "length" of {name} does not hold integers: cast it to uint64'
    with pytest.raises(ArrayTypeError, match=wanted):
        Phyr.from_chunks(table)
    with pytest.raises(ArrayTypeError, match=f"a column of {name} does not hold integers"):
        Phyr.from_pages(arrow.chunked_array([[value]]))


MAKERS: list[Callable[[], Any]] = [
    lambda: PHYR.chunks,
    PHYR.chunks.table,
]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("dtype", ["u4", "i4", "u1", "f2", "?"])
def test_an_address_is_not_cut(make: Callable[[], Any], dtype: str) -> None:
    with pytest.raises(RangeError, match="not every number fits in "), np.errstate(all="ignore"):
        np.asarray(make(), dtype=dtype)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("dtype", ["u8", "i8", ">u8", "f8", "O"])
def test_numbers_that_fit_are_converted(make: Callable[[], Any], dtype: str) -> None:
    column = np.asarray(make(), dtype=dtype)
    assert column.dtype == np.dtype(dtype)
    assert [int(paddr) for paddr in column[:, 0]] == [paddr for paddr, _ in CHUNKS]


def test_records_are_not_cut_either() -> None:
    with pytest.raises(RangeError, match="not every number fits in "):
        np.asarray(PHYR.chunks, dtype=[("paddr", "u4"), ("length", "u8")])
