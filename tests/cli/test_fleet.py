"""``phyr map --arrow`` and ``--parquet``: rows against the page map, questions in two engines."""

import runpy
import shutil
import sys
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet

from phyr import cli
from phyr.cli import choose, fleet, saved, scan
from support.live import look, python, shown
from support.made import ORIGIN, PAGE, chunks_of, pages, process
from support.processes import running

ROOT = Path(__file__).parents[2]
BENCH = runpy.run_path(str(ROOT / "benches/bench_fleet.py"))
QUESTIONS: list[tuple[str, str]] = BENCH["questions"]()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.phyr, ["map", *map(str, arguments)])


# The rows


def test_rows_are_the_chunks() -> None:
    (batch,) = fleet.batches(process(pages(4), 0, 20, 40), ORIGIN, "/a/\udcff")
    rows = batch.to_pylist()
    # Holes end a chunk here.
    expected = [
        (vma, vfn, pages(4)[vfn])
        for vma, start, stop in ((0, 0, 20), (20, 20, 40), (40, 40, 64))
        for vfn in sorted(pages(4))
        if start <= vfn < stop
    ]
    found = [
        (row["vma_start"] // PAGE, row["uaddr"] // PAGE + at, row["paddr"] // PAGE + at)
        for row in rows
        for at in range(row["length"] // PAGE)
    ]
    assert found == expected
    assert len(rows) >= len(list(chunks_of(pages(4), 0, 20, 40)))
    first = rows[0]
    assert (first["host"], first["pid"], first["command"]) == ("a\thost", 7, "a command")
    assert first["time"] == datetime(2026, 1, 1)  # noqa: DTZ001 - UTC by its description
    assert first["cgroup"] == r"/a/\udcff"
    assert first["vma_name"].endswith(r"0\udcff")


@pytest.mark.parametrize(
    ("pfn", "count", "huge"),
    [(512, 512, 1), (511, 513, 1), (512, 511, 0), (1, 1022, 0), (1, 1023, 1), (0, 1536, 3)],
)
def test_huge_counts_aligned_blocks(pfn: int, count: int, huge: int) -> None:
    made = process({vfn: pfn + vfn for vfn in range(count)}, 0, end=2048)
    (batch,) = fleet.batches(made, ORIGIN, "")
    assert batch.column("huge").to_pylist() == [huge * (2 << 20)]


def test_many_chunks_are_several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "_ROWS", 5)
    parts = list(fleet.batches(process(pages(4), 0, 20, 40), ORIGIN, ""))
    assert len(parts) > 1
    monkeypatch.undo()
    (whole,) = fleet.batches(process(pages(4), 0, 20, 40), ORIGIN, "")
    assert pa.Table.from_batches(parts).combine_chunks().to_batches()[0] == whole
    assert list(fleet.batches(process({}, 0), ORIGIN, "")) == []


def test_the_group_is_that_of_the_unified_hierarchy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fleet, "PROC", tmp_path)
    for pid, text in ((1, "4:memory:/old\n0::/new:x\n"), (2, "4:memory:/old\n"), (3, "")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cgroup").write_text(text)
    assert [fleet.cgroup_of(pid) for pid in (1, 2, 3, 4)] == ["/new:x", "/old", "", ""]


# The command


@shown
def test_both_files_have_the_same_rows_as_the_process(tmp_path: Path) -> None:
    files = tmp_path / "a.arrow", tmp_path / "b.parquet"
    with running("print('ready', flush=True); input()") as pid:
        result = run(pid, "--arrow", files[0], "--parquet", files[1])
        assert result.exit_code == 0, result.output
        with pa.ipc.open_file(files[0]) as file:
            table = file.read_all()
        for row in table.slice(0, 50).to_pylist():
            assert look(pid, row["uaddr"] // PAGE) == ("ram", row["paddr"] // PAGE)
        command = choose.command_of(pid)
    assert parquet.read_table(files[1]) == table
    assert table.schema.equals(fleet.SCHEMA, check_metadata=True)
    assert set(table.column("pid").to_pylist()) == {pid}
    assert set(table.column("command").to_pylist()) == {command}
    assert result.stdout == f"{table.num_rows:,} chunks of 1 process\n"
    assert sorted(tmp_path.iterdir()) == sorted(files)


@shown
def test_one_file_of_this_process(tmp_path: Path) -> None:
    for option in ("--arrow", "--parquet"):
        assert run("self", option, tmp_path / "file").exit_code == 0


def test_those_left_out_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = [process(pages(4), 0, 20, 40)]
    monkeypatch.setattr(scan, "scan_all", lambda *_: (found, scan.Skipped(1, 0)))
    monkeypatch.setattr(saved.Origin, "here", lambda: ORIGIN)
    result = run("self", "--parquet", tmp_path / "file")
    assert result.exit_code == 0
    assert "1 process left out" in result.stderr


def test_a_file_that_cannot_be_written_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(scan, "scan_all", lambda *_: ([], scan.Skipped()))
    (tmp_path / "directory").mkdir()
    for path in (tmp_path / "no" / "such", tmp_path / "directory"):
        result = run("self", "--parquet", path)
        assert result.exit_code == 2
        assert result.stderr.startswith("phyr: ")
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phyr.cli.fleet", None)
    result = run("self", "--arrow", "file")
    said = "phyr: Arrow and Parquet take more packages: pip install '.[fleet]' in a checkout\n"
    assert (result.exit_code, result.stderr) == (2, said)
    assert (
        python("-c", "import sys, phyr.cli.map; assert 'pyarrow' not in sys.modules").stderr == ""
    )


# Ten questions

ROWS = 1_000_000


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("fleet") / "rows.parquet"
    BENCH["make"](file, ROWS, 7)
    return file


def plain(value: Any) -> Any:  # noqa: ANN401 - as an engine has it
    """Give numbers and days one type."""
    if isinstance(value, datetime):
        return value.date()
    return float(value) if isinstance(value, float | Decimal) else value


def answers(rows: Path) -> dict[str, list[list[Any]]]:
    with duckdb.connect() as database:
        database.execute(f"CREATE VIEW chunks AS SELECT * FROM '{rows}'")  # noqa: S608 - ours
        return {
            question: [[*map(plain, row)] for row in database.execute(sql).fetchall()]
            for question, sql in QUESTIONS
        }


def test_there_are_ten_questions_and_each_has_an_answer(rows: Path) -> None:
    found = answers(rows)
    assert len(found) == 10
    assert all(found.values())


def test_the_answers_are_right(rows: Path) -> None:
    found = list(answers(rows).values())
    table = parquet.read_table(rows).to_pydict()
    whole = list(zip(table["cgroup"], table["time"], table["length"], table["huge"], strict=True))
    newest = max(table["time"]).date()
    assert newest == date(2026, 11, 14)
    today = [row for row in whole if row[1].date() == newest]
    for group, length, percent in found[0]:
        mine = [row for row in today if row[0] == group]
        assert length == sum(row[2] for row in mine)
        assert percent == pytest.approx(100 * sum(row[3] for row in mine) / length, abs=0.051)
    sizes = {"4 KiB": 4096, "64 KiB": 65536, "2 MiB": 2 << 20}
    assert {name for name, _, _ in found[9]} == {*sizes}
    assert sum(count for _, count, _ in found[9]) == ROWS
    assert sum(length for _, _, length in found[9]) == sum(table["length"])


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    sql = pytest.importorskip("pyspark.sql", reason="needs pyspark: pip install pyspark")
    if shutil.which("java") is None:
        pytest.skip("Spark needs a JVM: apt install default-jre-headless")
    try:
        session = (
            sql.SparkSession.builder.master("local[2]")
            .config("spark.ui.enabled", "false")
            .config("spark.sql.shuffle.partitions", "4")
            .config("spark.sql.session.timeZone", "UTC")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.driver.host", "127.0.0.1")
            .getOrCreate()
        )
    except Exception as error:  # noqa: BLE001 - of the bridge to a JVM
        pytest.skip(f"Spark does not start its JVM ({error!r:.60})")
    yield session
    session.stop()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_spark_answers_as_duckdb_does(rows: Path, spark: Any) -> None:  # noqa: ANN401 - others' object
    spark.read.parquet(str(rows)).createOrReplaceTempView("chunks")
    expected = answers(rows)
    for question, sql in QUESTIONS:
        found = [[*map(plain, row)] for row in spark.sql(sql).collect()]
        assert len(found) == len(expected[question]), question
        for mine, others in zip(found, expected[question], strict=True):
            for one, other in zip(mine, others, strict=True):
                # The engines may round a half in two ways.
                same = pytest.approx(other, abs=0.11) if isinstance(one, float) else other
                assert one == same, question
