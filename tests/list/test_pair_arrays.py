"""Arrays of pairs: two columns are read, and no row becomes an object of Python's."""

from typing import Any, NoReturn

import numpy as np
import pytest

from phyr import AlignmentError, ArrayTypeError, Chunks, Phyr

PAIRS = [(0x7000, 0x1000), (0x20_0000, 0x20_0000), (0x9000, 0x3000)]
EXPECTED = Phyr.from_chunks(PAIRS)


class Unwalked(np.ndarray[Any, Any]):
    """An array whose rows nobody takes."""

    def __iter__(self) -> NoReturn:
        raise AssertionError("a row was taken")


@pytest.mark.parametrize("dtype", [np.uint64, np.int64, np.uint32, np.int32])
def test_rows_of_two_integers_are_two_columns(dtype: type) -> None:
    rows: np.ndarray[Any, Any] = np.array(PAIRS, dtype)
    wide: np.ndarray[Any, Any] = np.array([(0, *pair, 9) for pair in PAIRS], dtype)[:, 1:3]
    for array in (rows, np.asfortranarray(rows), wide, rows[::-1][::-1]):
        assert Phyr.from_chunks(array.view(Unwalked)) == EXPECTED


def test_no_rows_are_an_empty_list() -> None:
    assert len(Phyr.from_chunks(np.empty((0, 2), np.uint64))) == 0


def test_a_row_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(AlignmentError):
        Phyr.from_chunks(np.array([*PAIRS, (0x1001, 0x1000)], np.uint64))


def test_arrays_of_other_items_are_taken_row_by_row() -> None:
    for dtype in (">u8", object):
        assert Phyr.from_chunks(np.array(PAIRS, dtype)) == EXPECTED
    with pytest.raises((ArrayTypeError, TypeError)):
        Phyr.from_chunks(np.array(PAIRS, float))
    with pytest.raises((ArrayTypeError, TypeError, ValueError)):
        Phyr.from_chunks(np.array([(1, 2, 3)], np.uint64))


class Relation:
    """A table that runs its query when it is asked for a column it may have."""

    def __init__(self, table: Chunks) -> None:
        self.table = table
        self.queries = 0

    def __getattr__(self, name: str) -> NoReturn:
        self.queries += not name.startswith("__")
        raise AttributeError(name)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


def test_a_table_is_not_asked_for_columns_it_may_not_have() -> None:
    relation = Relation(EXPECTED.chunks)
    assert Phyr.from_chunks(relation) == EXPECTED
    assert relation.queries == 0
