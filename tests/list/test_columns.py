"""Columns and tables that NumPy, Arrow and data frames take, and give back."""

import gc
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from hypothesis import given

from phyr import ArrayError, ArrayTypeError, FrozenPhyr, Phyr, RangeError
from phyr._phyr import Column, Table
from support.agree import built
from support.model import Model
from support.strategies import any_models

np = pytest.importorskip("numpy", reason="NumPy is not installed")
pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pd = pytest.importorskip("pandas", reason="pandas is not installed")
pl = pytest.importorskip("polars", reason="polars is not installed")
duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")

Foreign: TypeAlias = Any
"""An object of one of those packages."""

HIGH = Phyr.from_chunks([(0xFFFF_FFFF_FFF0_0000, 0x10_0000), (0x7000, 0x2000)])
"""Above 2^63, where a signed number would be negative and a float would round."""
LONG = Phyr.from_pfns(np.random.default_rng(7).permutation(1 << 20)[: 1 << 18])
LISTS: dict[str, Phyr | FrozenPhyr] = {
    "empty": Phyr.from_chunks([]),
    "high": HIGH,
    "slice": HIGH[0x1234:0x10_1000],
    "long": LONG,
    "frozen": LONG[:0x80_0000].freeze(),
    "slice of frozen": LONG.freeze()[0x1234:0x40_1000],
}


def address(array: Foreign) -> int:
    """Where a NumPy array lies."""
    return int(array.__array_interface__["data"][0])


def pairs(phyr: Phyr | FrozenPhyr) -> list[tuple[int, int]]:
    return [(paddr, length) for paddr, length in phyr.chunks]


def positions(phyr: Phyr | FrozenPhyr) -> list[int]:
    return [phyr.chunks.position(number) for number in range(len(phyr.chunks))]


class Only:
    """An object that has some of another's methods, and nothing else."""

    def __init__(self, other: object, *names: str) -> None:
        for name in names:
            setattr(self, name, getattr(other, name))


COLUMNS: dict[str, Callable[[Column], Foreign]] = {
    "numpy": np.asarray,
    "numpy, __array__": lambda column: column.__array__(),
    "numpy, DLPack": np.from_dlpack,
    "pyarrow": lambda column: pa.array(column).to_numpy(),
    "pyarrow, schema": lambda column: pa.array(column, pa.uint64()).to_numpy(),
    "polars": lambda column: pl.Series(column).to_numpy(),
    "polars, Arrow": lambda column: pl.from_arrow(pa.array(column)).to_numpy(),
}


@pytest.mark.parametrize("phyr", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize("take", COLUMNS.values(), ids=COLUMNS)
def test_a_column_is_uint64_wherever_it_goes(
    take: Callable[[Column], Foreign], phyr: Phyr | FrozenPhyr
) -> None:
    column = phyr.chunks.paddrs
    array = take(column)
    assert array.dtype == np.uint64
    assert array.tolist() == list(column)


@pytest.mark.parametrize("name", ["numpy", "numpy, __array__", "numpy, DLPack", "pyarrow"])
def test_a_column_is_not_copied(name: str) -> None:
    column = LONG.chunks.paddrs
    array = COLUMNS[name](column)
    assert address(array) == address(np.asarray(memoryview(column)))
    assert not array.flags.writeable
    kept = array[-1]
    del column
    gc.collect()
    assert array[-1] == kept == LONG.chunks[-1].paddr


def test_polars_does_not_copy_a_column() -> None:
    column = LONG.chunks.paddrs
    series = pl.Series(Only(column, "__arrow_c_array__", "__arrow_c_schema__"))
    assert series.dtype == pl.UInt64
    assert series.to_numpy(allow_copy=False).tolist() == list(column)
    assert address(series.to_numpy(allow_copy=False)) == address(np.asarray(column))


def test_a_column_becomes_what_is_asked_for() -> None:
    column = HIGH.chunks.lengths
    assert np.asarray(column, dtype=np.float64).dtype == np.float64
    assert column.__array__(np.uint32).tolist() == [0x10_0000, 0x2000]
    copy = column.__array__(copy=True)
    copy[0] = 1
    assert column[0] == 0x10_0000
    with pytest.raises(ValueError, match="copy"):
        column.__array__(np.float64, copy=False)
    assert address(column.__array__(copy=False)) == address(np.asarray(column))


def test_a_capsule_of_dlpack_is_as_it_was_asked_for() -> None:
    column = HIGH.chunks.paddrs
    assert column.__dlpack_device__() == (1, 0)
    for version, name in {
        None: "dltensor",
        (0, 8): "dltensor",
        (1, 0): "dltensor_versioned",
        (2, 1): "dltensor_versioned",
    }.items():
        assert f'"{name}"' in repr(column.__dlpack__(max_version=version))
    copy = np.from_dlpack(column, copy=True)
    copy[0] = 1
    assert column[0] == HIGH.chunks[0].paddr
    for wrong in [
        {"stream": 1},
        {"dl_device": (2, 0)},
        {"copy": False},
        {"copy": False, "max_version": (0, 8)},
    ]:
        with pytest.raises(BufferError):
            column.__dlpack__(**wrong)  # type: ignore[arg-type]


def test_a_consumer_of_old_dlpack_gets_a_copy() -> None:
    column = HIGH.chunks.paddrs

    class Old:
        def __dlpack_device__(self) -> tuple[int, int]:
            return (1, 0)

        def __dlpack__(self, **_: object) -> object:
            return column.__dlpack__()

    array = np.from_dlpack(Old())
    assert array.tolist() == list(column)
    assert address(array) != address(np.asarray(column))
    assert Phyr.from_pages(Old(), granule=4096) == Phyr.from_pages(column)


RECORDS = np.dtype([("paddr", np.uint64), ("length", np.uint64)])
FULL = np.dtype([*RECORDS.descr, ("position", np.uint64)])


@pytest.mark.parametrize("phyr", LISTS.values(), ids=LISTS)
def test_chunks_are_records_of_numpy(phyr: Phyr | FrozenPhyr) -> None:
    array = np.asarray(phyr.chunks)
    assert array.dtype == RECORDS
    assert array.tolist() == pairs(phyr)
    full = np.asarray(phyr.chunks.table(position=True))
    assert full.dtype == FULL
    assert full[["paddr", "length"]].tolist() == pairs(phyr)
    assert full["position"].tolist() == positions(phyr)
    numbers = np.asarray(phyr.chunks, dtype=np.uint64)
    assert numbers.shape == (len(phyr.chunks), 2)
    assert numbers.tolist() == [list(pair) for pair in pairs(phyr)]


def test_records_are_new_and_become_what_is_asked_for() -> None:
    array = np.array(HIGH.chunks)
    array["paddr"] = 0
    assert HIGH.chunks[0].paddr == 0xFFFF_FFFF_FFF0_0000
    as_floats = np.asarray(HIGH.chunks, dtype=[("at", "f8"), ("bytes", "u4")])
    assert as_floats["bytes"].tolist() == [0x10_0000, 0x2000]
    with pytest.raises(ArrayError, match="copy=False"):
        np.asarray(HIGH.chunks, copy=False)


@pytest.mark.parametrize("phyr", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize("has_position", [False, True], ids=["pairs", "positions"])
def test_chunks_are_a_table_of_arrow(phyr: Phyr | FrozenPhyr, has_position: bool) -> None:  # noqa: FBT001
    table = phyr.chunks.table(position=has_position, rows=1000)
    expected = {"paddr": list(phyr.chunks.paddrs), "length": list(phyr.chunks.lengths)}
    if has_position:
        expected["position"] = positions(phyr)
    streamed = pa.table(table)
    assert streamed.to_pydict() == expected
    assert [len(batch) for batch in streamed.to_batches()][:-1] == [1000] * (len(table) // 1000)
    batch = pa.record_batch(table)
    batch.validate(full=True)
    assert batch.to_pydict() == expected
    assert {field.type for field in batch.schema} == {pa.uint64()}
    assert pa.schema(table) == batch.schema
    assert pl.DataFrame(table).to_dict(as_series=False) == expected
    assert set(pl.DataFrame(table).schema.values()) == {pl.UInt64}


def test_chunks_are_what_their_table_is() -> None:
    assert pa.table(HIGH.chunks).to_pylist() == pa.table(HIGH.chunks.table()).to_pylist()
    assert pa.array(HIGH.chunks).to_pylist() == pa.array(HIGH.chunks.table()).to_pylist()
    assert pa.schema(HIGH.chunks) == pa.schema(HIGH.chunks.table())
    assert pl.DataFrame(HIGH.chunks.table()).rows() == pairs(HIGH)
    assert pd.DataFrame(np.asarray(HIGH.chunks)).to_records(index=False).tolist() == pairs(HIGH)
    assert repr(HIGH.chunks.table()) == "Table(2 rows of paddr, length)"
    assert len(HIGH.chunks.table(position=True)) == 2


def test_duckdb_reads_a_table_where_it_is() -> None:
    chunks = LONG.chunks.table(position=True)  # noqa: F841 - a query names it
    with duckdb.connect() as db:
        found = db.sql("select count(*), sum(length), max(position), any_value(paddr) from chunks")
        [(count, length, last, _)] = found.fetchall()
        assert (count, length) == (len(LONG.chunks), len(LONG))
        assert last == LONG.chunks.position(len(LONG.chunks) - 1)
        types = db.sql("select typeof(paddr), typeof(position) from chunks limit 1").fetchall()
        assert types == [("UBIGINT", "UBIGINT")]


def test_batches_without_rows_are_refused() -> None:
    with pytest.raises(RangeError, match="0 rows"):
        HIGH.chunks.table(rows=0)
    assert isinstance(HIGH.chunks.table(rows=1 << 40), Table)


def test_columns_and_streams_may_be_released_on_any_thread() -> None:
    arrays = [pa.array(LONG.chunks.paddrs), pa.RecordBatchReader.from_stream(LONG.chunks)]

    def work() -> None:
        while arrays:
            held = arrays.pop()
            if isinstance(held, pa.RecordBatchReader):
                held.read_next_batch()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# Back into lists.

TABLES: dict[str, Callable[[Phyr | FrozenPhyr], Foreign]] = {
    "itself": lambda phyr: phyr.chunks,
    "table with positions": lambda phyr: phyr.chunks.table(position=True, rows=100),
    "records": lambda phyr: np.asarray(phyr.chunks),
    "records, apart": lambda phyr: np.repeat(np.asarray(phyr.chunks), 2)[::2],
    "records, backwards": lambda phyr: np.asarray(phyr.chunks)[::-1].copy()[::-1],
    "records, unaligned": lambda phyr: np.asarray(phyr.chunks).astype(
        np.dtype(
            {
                "names": ["paddr", "length"],
                "formats": ["u8", "u8"],
                "offsets": [1, 9],
                "itemsize": 17,
            }
        )
    ),
    "pyarrow table": lambda phyr: pa.table(phyr.chunks),
    "pyarrow batch, sliced": lambda phyr: pa.concat_arrays(
        [pa.array(HIGH.chunks), pa.array(phyr.chunks)]
    )[2:],
    "pyarrow struct": lambda phyr: pa.array(phyr.chunks),
    "polars": lambda phyr: pl.DataFrame(phyr.chunks.table()),
    "pandas": lambda phyr: pd.DataFrame(np.asarray(phyr.chunks)),
    "duckdb": lambda phyr: duckdb.arrow(pa.table(phyr.chunks)),
}


@pytest.mark.parametrize("phyr", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_a_table_makes_the_list_it_came_from(
    make: Callable[[Phyr | FrozenPhyr], Foreign], phyr: Phyr | FrozenPhyr
) -> None:
    assert Phyr.from_chunks(make(phyr)) == phyr


@given(any_models())
def test_any_list_survives_the_way_through_arrow_and_numpy(model: Model) -> None:
    phyr = built(model)
    for chunks in (phyr.chunks, phyr.freeze().chunks):
        for taken in (pa.record_batch(chunks), pa.table(chunks), np.asarray(chunks)):
            assert Phyr.from_chunks(taken, granule=phyr.granule, kind=phyr.kind) == phyr


PFNS = np.random.default_rng(3).permutation(100_000)
NUMBERS: dict[str, Callable[[], Foreign]] = {
    "pyarrow": lambda: pa.array(PFNS),
    "pyarrow, 32 bits": lambda: pa.array(PFNS.astype(np.uint32)),
    "pyarrow, sliced": lambda: pa.concat_arrays([pa.array([7, None, 9]), pa.array(PFNS)])[3:],
    "pyarrow, chunked": lambda: pa.chunked_array([PFNS[:7], PFNS[7:7], PFNS[7:]]),
    "pyarrow, one column": lambda: pa.table({"pfn": PFNS}),
    "polars": lambda: pl.Series(PFNS),
    "polars, several": lambda: pl.concat([pl.Series(PFNS[:9]), pl.Series(PFNS[9:])], rechunk=False),
    "pandas": lambda: pd.Series(PFNS),
    "pandas, of Arrow": lambda: pd.Series(PFNS, dtype="uint64[pyarrow]"),
    "DLPack": lambda: Only(PFNS, "__dlpack__", "__dlpack_device__"),
    "__array__": lambda: Only(pd.Series(PFNS), "__array__"),
    "duckdb": lambda: duckdb.arrow(pa.table({"pfn": PFNS})),
}


@pytest.mark.parametrize("make", NUMBERS.values(), ids=NUMBERS)
def test_columns_of_others_make_the_list_that_numpy_makes(make: Callable[[], Foreign]) -> None:
    expected = Phyr.from_pfns(PFNS)
    assert Phyr.from_pfns(make()) == expected


def test_two_streams_of_other_batches_keep_step() -> None:
    paddrs, lengths = np.asarray(LONG.chunks.paddrs), np.asarray(LONG.chunks.lengths)
    chunked = pa.chunked_array([paddrs[:5], paddrs[5:70_000], paddrs[70_000:]])
    assert Phyr.from_chunks(chunked, pl.Series(lengths)) == LONG
    with pytest.raises(ArrayError, match="one array ends after"):
        Phyr.from_chunks(chunked, lengths[:-1])


def test_pandas_without_pyarrow_is_taken_by_its_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> object:
        message = "pyarrow is required"
        raise ImportError(message)

    for cls in (pd.Series, pd.DataFrame):
        monkeypatch.setattr(cls, "__arrow_c_stream__", missing, raising=False)
    assert Phyr.from_pfns(pd.Series(PFNS)) == Phyr.from_pfns(PFNS)
    assert Phyr.from_chunks(pd.DataFrame(np.asarray(LONG.chunks))) == LONG


WRONG: dict[str, tuple[Callable[[], Foreign], str]] = {
    "float": (lambda: pa.array([1.0]), "of float64 does not hold integers"),
    "bool": (lambda: pa.array([True]), "of booleans"),
    "text": (lambda: pa.array(["x"]), "does not hold integers"),
    "dictionary": (lambda: pa.array(["x"]).dictionary_encode(), "dictionary"),
    "two columns": (lambda: pa.table({"a": [1], "b": [2]}), r"2 columns \(.a., .b.\) is not one"),
    "structs": (lambda: pa.table({"a": [{"b": 1}]}), "does not hold integers"),
    "DLPack of floats": (
        lambda: Only(np.zeros(3), "__dlpack__", "__dlpack_device__"),
        "64 bits and 1 lanes",
    ),
    "DLPack of two dimensions": (
        lambda: Only(np.zeros((3, 3), int), "__dlpack__", "__dlpack_device__"),
        "2 dimensions",
    ),
    "DLPack apart": (
        lambda: Only(np.zeros(6, int)[::2], "__dlpack__", "__dlpack_device__"),
        "items 2 apart",
    ),
}


@pytest.mark.parametrize(("make", "why"), WRONG.values(), ids=WRONG)
def test_what_holds_no_integers_is_refused_by_name(make: Callable[[], Foreign], why: str) -> None:
    with pytest.raises(ArrayTypeError, match=why):
        Phyr.from_pfns(make())


def test_nulls_and_negative_numbers_are_refused_by_number() -> None:
    for make in (pa.array, pl.Series):
        with pytest.raises(ArrayError, match="item 2 of the array is null") as null:
            Phyr.from_pfns(make([1, 2, None, 4]))
        assert null.value.index == 2
        with pytest.raises(ArrayError, match="item 1 of the array is -0x5") as negative:
            Phyr.from_pfns(make([1, -5]))
        assert negative.value.value == -5
    chunked = pa.chunked_array([[1, 2], [3, -4]])
    with pytest.raises(ArrayError, match="item 3 of the array is -0x4"):
        Phyr.from_pfns(chunked)
    chunked = pa.chunked_array([[1, 2], [3, None]])
    with pytest.raises(ArrayError, match="item 3 of the array is null"):
        Phyr.from_pfns(chunked)
    rows = pa.StructArray.from_arrays(
        [pa.array([1, 2]), pa.array([1, 2])], ["paddr", "length"], mask=pa.array([False, True])
    )
    with pytest.raises(ArrayError, match="item 1 of the array is null"):
        Phyr.from_chunks(rows)


def test_a_table_without_the_columns_is_refused_by_name() -> None:
    with pytest.raises(ArrayTypeError, match='no column "length"'):
        Phyr.from_chunks(pa.table({"paddr": [1], "bytes": [2]}))
    with pytest.raises(ArrayTypeError, match="one column is not a table"):
        Phyr.from_chunks(pa.array([1]))
    with pytest.raises(ArrayTypeError, match=r"7 columns .*, \.\.\."):
        Phyr.from_chunks(pa.table({name: [1] for name in "abcdefg"}))


def test_a_failing_stream_says_why() -> None:
    def batches() -> Foreign:
        yield pa.record_batch({"pfn": [1, 2]})
        message = "the disk is gone"
        raise OSError(message)

    reader = pa.RecordBatchReader.from_batches(pa.schema({"pfn": pa.int64()}), batches())
    with pytest.raises(ArrayError, match="the disk is gone"):
        Phyr.from_pfns(reader)
