"""Files for many hosts' data: a row a chunk, as Arrow or Parquet; described in docs/fleet.md.

Needs the extra ``phyr[fleet]``.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pyarrow.compute as pc  # type: ignore[import-untyped, unused-ignore]
from pyarrow import parquet  # type: ignore[import-untyped, unused-ignore]

from phyr._phyr import Phyr
from phyr.cli.report import Row
from phyr.cli.saved import Origin
from phyr.cli.scan import Scanned
from phyr.cli.whole import whole_file
from phyr.pagemap import proc
from phyr.pagemap.proc import Pid

__all__ = ["SCHEMA", "batches", "cgroup_of", "write"]

PROC = Path(proc.PROC)

_HUGE_LG2 = 21
_ROWS = 1 << 20  # rows of a batch, at most

SCHEMA = pa.schema(
    [
        ("host", pa.string()),
        ("boot_id", pa.string()),
        ("kernel", pa.string()),
        ("time", pa.timestamp("us")),
        ("pid", pa.int64()),
        ("command", pa.string()),
        ("cgroup", pa.string()),
        ("vma_start", pa.int64()),
        ("vma_end", pa.int64()),
        ("vma_perms", pa.string()),
        ("vma_name", pa.string()),
        ("uaddr", pa.int64()),
        ("paddr", pa.int64()),
        ("length", pa.int64()),
        ("huge", pa.int64()),
    ],
    {"phyr": "fleet 1"},
)
"""Columns; signed, since Spark knows no other numbers. ``huge``: bytes in aligned 2 MiB blocks."""


def cgroup_of(pid: Pid) -> str:
    """Give a process's control group, from its root; empty if it has ended, or has none."""
    try:
        text = (PROC / str(pid) / "cgroup").read_text(errors="backslashreplace")
    except OSError:
        return ""
    lines = text.splitlines()
    # The unified hierarchy; before it, any.
    for line in [line for line in lines if line.startswith("0::")] + lines:
        return line.split(":", 2)[2]
    return ""


def _clean(text: str) -> str:
    """Give text that UTF-8 can hold: names of files may not be."""
    return text.encode("utf-8", "backslashreplace").decode()


def _numbers(uaddr: int, phyr: Phyr) -> tuple[Any, Any, Any, Any]:
    """Give columns of a stretch: virtual and physical address, length, bytes in huge blocks."""
    chunks = phyr.chunks
    paddr, length = (
        pc.cast(pa.array(column), pa.int64()) for column in (chunks.paddrs, chunks.lengths)
    )
    start = pc.add(pc.subtract(pc.cumulative_sum(length), length), uaddr)
    last = pc.shift_right(pc.add(paddr, length), _HUGE_LG2)
    first = pc.shift_right(pc.add(paddr, (1 << _HUGE_LG2) - 1), _HUGE_LG2)
    huge = pc.shift_left(pc.max_element_wise(pc.subtract(last, first), 0), _HUGE_LG2)
    return start, paddr, length, huge


def batches(process: Scanned, origin: Origin, cgroup: str) -> Iterator[pa.RecordBatch]:
    """Give the rows of a process; its own rows have their stretches."""
    time = datetime.fromisoformat(origin.time).replace(tzinfo=None)
    pid = int(PROC.joinpath("self").readlink().name) if process.pid == "self" else process.pid
    here = (origin.host, origin.boot_id, origin.kernel, time, pid, process.command, cgroup)
    waiting: list[tuple[Row, Any]] = []
    count = 0
    for row in process.rows:
        for uaddr, phyr in row.stretches:
            waiting.append((row, _numbers(uaddr, phyr)))
            count += len(phyr.chunks)
            if count >= _ROWS:
                yield _batch(here, waiting)
                waiting, count = [], 0
    if waiting:
        yield _batch(here, waiting)


def _batch(here: Sequence[Any], parts: list[tuple[Row, Any]]) -> pa.RecordBatch:
    counts = [len(numbers[0]) for _, numbers in parts]
    constant = [
        pa.repeat(
            pa.scalar(_clean(value) if isinstance(value, str) else value, SCHEMA.field(n).type),
            sum(counts),
        )
        for n, value in enumerate(here)
    ]
    # The number of the part that each row belongs to.
    index = pa.concat_arrays(
        [pa.repeat(pa.scalar(number), count) for number, count in enumerate(counts)]
    )
    vmas = [row.vma for row, _ in parts]
    of_vma = [
        pa.array([vma.start for vma in vmas], pa.int64()).take(index),
        pa.array([vma.end for vma in vmas], pa.int64()).take(index),
        pa.array([vma.perms for vma in vmas]).take(index),
        pa.array([_clean(vma.name) for vma in vmas]).take(index),
    ]
    numbers = [pa.concat_arrays(columns) for columns in zip(*(n for _, n in parts), strict=True)]
    return pa.RecordBatch.from_arrays([*constant, *of_vma, *numbers], schema=SCHEMA)


def write(processes: Sequence[Scanned], arrow: Path | None, parquet_: Path | None) -> int:
    """Write files, all of each or nothing; give the number of rows.

    Args:
        processes: With their stretches.
        arrow: An Arrow file, or None.
        parquet_: A Parquet file, or None.
    """
    origin = Origin.here()
    count = 0
    with ExitStack() as stack:
        # The files first: they take their places after both forms have been ended.
        files = [
            stack.enter_context(whole_file(path)) if path else None for path in (arrow, parquet_)
        ]
        writers = []
        if files[0] is not None:
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            made = pa.ipc.new_file(files[0], SCHEMA, options=options)
            writers.append(stack.enter_context(made).write_batch)
        if files[1] is not None:
            made = parquet.ParquetWriter(files[1], SCHEMA, compression="zstd")
            writers.append(stack.enter_context(made).write_batch)
        for process in processes:
            for batch in batches(process, origin, cgroup_of(process.pid)):
                count += batch.num_rows
                for put in writers:
                    put(batch)
    return count
