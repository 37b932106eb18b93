"""How long do the ten questions of docs/fleet.md take in DuckDB, on files of up to 10^8 rows?

``python benches/bench_fleet.py [--rows N] [--memory SIZE] [--smoke]`` prints tables in Markdown.
The rows are made by seed: forty hosts with three kernels, eight services, a look a day for two
weeks. DuckDB may use so much memory (default 6GB), and writes what does not fit to a file that is
deleted.
"""

import argparse
import re
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet

from phyr.cli.fleet import SCHEMA

ROOT = Path(__file__).parents[1]
HOSTS, DAYS = 40, 14
SERVICES = ("api", "cache", "database", "index", "mail", "queue", "search", "web")
KERNELS = ("Linux 6.1", "Linux 6.12", "Linux 6.18")
NAMES = ("", "[heap]", "[stack]", "/usr/lib/libc.so.6", "/var/lib/database/data")
LOOKS = HOSTS * DAYS * len(SERVICES)
BATCH = 1 << 20

Column = npt.NDArray[np.int64]


def questions() -> list[tuple[str, str]]:
    """Give the questions of the document, and their SQL."""
    text = (ROOT / "docs/fleet.md").read_text()
    return re.findall(r"\n([^\n]+\?)\n\n```sql\n(.*?)```", text, re.DOTALL)


def picked(words: list[str] | tuple[str, ...], numbers: Column) -> Any:  # noqa: ANN401 - of Arrow
    """Give a word for each number."""
    return pa.array(words, pa.string()).take(pa.array(numbers))


def batch(first: int, count: int, rows: int, seed: int) -> pa.RecordBatch:
    """Make rows from number `first` on."""
    random = np.random.default_rng((seed, first))
    number = np.arange(first, first + count)
    look = number * LOOKS // rows
    service, rest = look % len(SERVICES), look // len(SERVICES)
    host, day = rest % HOSTS, rest // HOSTS
    # Huge pages are rarer in some services, on old kernels, and as time goes by.
    likely = 0.3 - 0.03 * service + 0.02 * (host % 3) - 0.01 * day
    order = np.minimum(random.geometric(0.5, count) - 1, 8)
    order = np.where(random.random(count) < likely, 9 + random.integers(0, 3, count), order)
    length = np.int64(4096) << order
    # Few enough places that processes share some.
    paddr = random.integers(0, 1 << 22, count) * length
    uaddr = 0x7000_0000_0000 + (number % 1000) * (1 << 24)
    moments = np.datetime64("2026-11-01T04:00:00", "us") + day.astype("timedelta64[D]")
    hosts = [f"host{at:02}" for at in range(HOSTS)]
    area = random.integers(0, len(NAMES), count)
    columns = [
        picked(hosts, host),
        picked([f"boot-of-{name}" for name in hosts], host),
        picked(KERNELS, host % 3),
        pa.array(moments, pa.timestamp("us")),
        pa.array(1000 + 10 * service + number % 3),
        picked(SERVICES, service),
        picked([f"/system.slice/{name}.service" for name in SERVICES], service),
        pa.array(uaddr),
        pa.array(uaddr + (1 << 24)),
        pa.array(["rw-p"] * count),
        picked(NAMES, area),
        pa.array(uaddr),
        pa.array(paddr),
        pa.array(length),
        pa.array(np.where(order >= 9, length, 0)),  # noqa: PLR2004 - 2 MiB
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def batches(rows: int, seed: int) -> Iterator[pa.RecordBatch]:
    """Make so many rows, the same for the same seed."""
    for first in range(0, rows, BATCH):
        yield batch(first, min(BATCH, rows - first), rows, seed)


def make(path: Path, rows: int, seed: int) -> None:
    """Write so many rows to a file."""
    with parquet.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for each in batches(rows, seed):
            writer.write_batch(each)


def main() -> None:
    """Ask, and print the times."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10**8)
    parser.add_argument("--memory", default="6GB")
    parser.add_argument("--smoke", action="store_true")
    chosen = parser.parse_args()
    most = 10**4 if chosen.smoke else chosen.rows
    rows = min(most, 10**6)
    with TemporaryDirectory() as directory:
        file = Path(directory, "rows.parquet")
        while rows <= most:
            make(file, rows, seed=1)
            print(f"| {rows:,} rows, {file.stat().st_size >> 20:,} MiB | s |\n| --- | --- |")
            with duckdb.connect() as database:
                # Groups that do not fit in memory go there.
                database.execute(f"SET temp_directory = '{directory}'")
                database.execute(f"SET memory_limit = '{chosen.memory}'")
                database.execute(f"CREATE VIEW chunks AS SELECT * FROM '{file}'")  # noqa: S608 - ours
                for question, sql in questions():
                    start = time.perf_counter()
                    database.execute(sql).fetchall()
                    print(f"| {question} | {time.perf_counter() - start:.2f} |", flush=True)
            print()
            rows *= 10


if __name__ == "__main__":
    main()
