"""A live page map in polars and DuckDB: what they answer is what the list says."""

import doctest
import mmap
from pathlib import Path

import pytest

from phyr import HiddenPagesError, Phyr, pagemap

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pl = pytest.importorskip("polars", reason="polars is not installed")
duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")

SIZE = 8 << 20


@pytest.fixture
def phyr() -> Phyr:
    buffer = mmap.mmap(-1, SIZE)
    buffer[:] = b"x" * SIZE
    try:
        return pagemap.of(buffer)
    except HiddenPagesError:
        pytest.skip("page numbers are hidden from this user")


def test_three_questions_of_a_page_map(phyr: Phyr) -> None:
    page_map = phyr.chunks.table(position=True, rows=64)
    frame = pl.DataFrame(page_map)
    chunks = list(phyr.chunks)
    limit = sorted(phyr.chunks.paddrs)[len(chunks) // 2]

    large = sum(length for _, length in chunks if length > 4096)
    assert frame.filter(pl.col("length") > 4096)["length"].sum() == large
    assert duckdb.sql("select sum(length) from page_map where length > 4096").fetchall() == [
        (large or None,)
    ]

    beyond = [
        phyr.chunks.position(number) for number, (paddr, _) in enumerate(chunks) if paddr >= limit
    ]
    assert frame.filter(pl.col("paddr") >= limit)["position"].to_list() == beyond
    query = "select position from page_map where paddr >= $1 order by position"
    assert duckdb.execute(query, [limit]).fetchall() == [(position,) for position in beyond]

    paddr = phyr[SIZE // 3]
    inside = (pl.col("paddr") <= paddr) & (pl.col("paddr") + (pl.col("length") - 1) >= paddr)
    assert frame.filter(inside).select(pl.col("position") + (paddr - pl.col("paddr"))).item() == (
        SIZE // 3
    )
    query = """
        select position + ($1 - paddr) from page_map
        where $1 between paddr and paddr + (length - 1)
    """
    assert duckdb.execute(query, [paddr]).fetchall() == [(SIZE // 3,)]


def test_what_a_query_leaves_is_a_list(phyr: Phyr) -> None:
    page_map = phyr.chunks.table()
    assert Phyr.from_chunks(pl.DataFrame(page_map)) == phyr
    assert Phyr.from_chunks(pa.table(page_map)) == phyr
    ordered = Phyr.from_chunks(duckdb.sql("from page_map order by paddr"))
    assert len(ordered) == len(phyr)
    assert sorted(phyr.pages(4096)) == list(ordered.pages(4096))


def test_the_examples_of_the_page_run() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    page = Path(__file__).parents[2] / "docs" / "with" / "dataframes.md"
    outcome = doctest.testfile(str(page), module_relative=False)
    assert outcome.attempted > 5
    assert outcome.failed == 0
