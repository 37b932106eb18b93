"""The cost of columns and tables on their way to NumPy, Arrow and data frames, and back.

``python benches/bench_columns.py [PAGES [ROUNDS]]`` prints tables in Markdown, as bench_python.py
does: contenders take turns, each cell is the median, in brackets the lowest and the highest, and
the ratio to the first row, the way by NumPy's arrays. Needs pyarrow, polars, duckdb and pandas.
"""

import sys
from collections.abc import Callable
from functools import partial

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from bench_python import Row, Turn, pfns_of, race, show, timed

from phyr import Phyr


def out(name: str, nr_pages: int, rounds: int) -> dict[str, Row]:
    """Nanoseconds a chunk to make a table of a list."""
    phyr = Phyr.from_pfns(pfns_of(name, nr_pages))
    chunks, frozen = phyr.chunks, phyr.freeze().chunks
    count = len(chunks)

    def arrays() -> dict[str, object]:
        return {"paddr": np.asarray(chunks.paddrs), "length": np.asarray(chunks.lengths)}

    works: dict[str, Callable[[], object]] = {
        "two arrays of NumPy": arrays,
        "np.asarray, records": lambda: np.asarray(chunks),
        "np.asarray, of a frozen list": lambda: np.asarray(frozen),
        "pa.table by NumPy": lambda: pa.table(arrays()),
        "pa.table(chunks)": lambda: pa.table(chunks),
        "pa.record_batch(chunks)": lambda: pa.record_batch(chunks),
        "pa.record_batch, of a frozen list": lambda: pa.record_batch(frozen),
        "pl.DataFrame by NumPy": lambda: pl.DataFrame(arrays()),
        "pl.DataFrame(chunks.table())": lambda: pl.DataFrame(chunks.table()),
        "pd.DataFrame by NumPy": lambda: pd.DataFrame(arrays()),
        "pa.array(chunks.paddrs)": lambda: pa.array(chunks.paddrs),
    }
    assert pl.DataFrame(chunks.table()).equals(pl.DataFrame(arrays()))
    return race({name: timed(work, count) for name, work in works.items()}, rounds)


def back(name: str, nr_pages: int, rounds: int) -> dict[str, Row]:
    """Nanoseconds a chunk to make a list of a table."""
    phyr = Phyr.from_pfns(pfns_of(name, nr_pages))
    chunks, count = phyr.chunks, len(phyr.chunks)
    paddrs, lengths = np.asarray(chunks.paddrs), np.asarray(chunks.lengths)
    tables = {
        "records of NumPy": np.asarray(chunks),
        "pyarrow.Table": pa.table(chunks),
        "polars.DataFrame": pl.DataFrame(chunks.table()),
        "pandas.DataFrame": pd.DataFrame({"paddr": paddrs, "length": lengths}),
        "phyr.chunks": chunks,
    }
    contenders: dict[str, Turn] = {
        "two arrays of NumPy": timed(lambda: Phyr.from_chunks(paddrs, lengths), count)
    }
    for kind, table in tables.items():
        assert Phyr.from_chunks(table) == phyr
        contenders[kind] = timed(partial(Phyr.from_chunks, table), count)
    relation = duckdb.arrow(tables["pyarrow.Table"])
    contenders["relation of DuckDB"] = timed(lambda: Phyr.from_chunks(relation), count)
    return race(contenders, rounds)


def numbers(name: str, nr_pages: int, rounds: int) -> dict[str, Row]:
    """Nanoseconds a page to make a list of a column of page numbers."""
    pfns = pfns_of(name, nr_pages)
    columns = {
        "array of NumPy": pfns,
        "pyarrow.Array": pa.array(pfns),
        "polars.Series": pl.Series(pfns),
        "pandas.Series": pd.Series(pfns),
    }
    return race(
        {
            kind: timed(partial(Phyr.from_pfns, column), nr_pages)
            for kind, column in columns.items()
        },
        rounds,
    )


def short(nr_chunks: int, rounds: int) -> dict[str, Row]:
    """Nanoseconds of what is asked of a short list."""
    times = 2000
    phyr = Phyr.from_pfns(range(1, 2 * nr_chunks, 2))
    chunks = phyr.chunks

    def repeated(work: Callable[[], object]) -> Turn:
        def all_of_them() -> None:
            for _ in range(times):
                work()

        return timed(all_of_them, times)

    return race(
        {
            "an empty call": repeated(lambda: None),
            "chunks.paddrs": repeated(lambda: chunks.paddrs),
            "stats()": repeated(phyr.stats),
            "next(iter(chunks))": repeated(lambda: next(iter(chunks))),
            "np.asarray(chunks.paddrs)": repeated(lambda: np.asarray(chunks.paddrs)),
            "pa.array(chunks.paddrs)": repeated(lambda: pa.array(chunks.paddrs)),
        },
        rounds,
    )


def loops(name: str, nr_pages: int, rounds: int) -> dict[str, Row]:
    """Nanoseconds a chunk of each way to loop over chunks in Python."""
    chunks = Phyr.from_pfns(pfns_of(name, nr_pages)).chunks

    def by_zip() -> None:
        for _paddr, _length in zip(chunks.paddrs, chunks.lengths, strict=True):
            pass

    def by_lists() -> None:
        paddrs, lengths = memoryview(chunks.paddrs), memoryview(chunks.lengths)
        for _paddr, _length in zip(paddrs.tolist(), lengths.tolist(), strict=True):
            pass

    def by_chunk() -> None:
        for _paddr, _length in chunks:
            pass

    works = {
        "zip(paddrs, lengths)": by_zip,
        "zip of two lists": by_lists,
        "for paddr, length in chunks": by_chunk,
        "list(chunks)": lambda: list(chunks),
    }
    return race({kind: timed(work, len(chunks)) for kind, work in works.items()}, rounds)


def main() -> None:
    """Print the tables; with ``--smoke``, of lists too short to mean anything."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--smoke"]
    smoke = len(arguments) < len(sys.argv) - 1
    nr_pages = int(arguments[0]) if arguments else 1 << (12 if smoke else 20)
    rounds = int(arguments[1]) if len(arguments) > 1 else 1 if smoke else 11
    names = ["rand4k", "geo8", "folio"]
    for title, work in {
        "To a table, ns a chunk": out,
        "From a table, ns a chunk": back,
        "From a column of page numbers, ns a page": numbers,
        "A loop in Python, ns a chunk": loops,
    }.items():
        show(title, {name: work(name, nr_pages, rounds) for name in names})
    show("A short list, ns", {f"{count} chunks": short(count, rounds) for count in (1, 8, 64)})


if __name__ == "__main__":
    main()
