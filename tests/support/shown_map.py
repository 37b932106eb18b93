"""Rows, folios and processes for `phyr map` to show, and its output as plain text."""

import io
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

import phyr
from phyr import cli, pagemap
from phyr.cli import report, scan, show
from phyr.pagemap import Folio, Folios
from support.terminal import plain

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.phyr, ["map", *arguments])


def vma(start: int, length: int, name: str = "", inode: int = 0) -> pagemap.Vma:
    return pagemap.Vma(start, start + length, "rw-p", 0, "00:00", inode, name)


def row(area: pagemap.Vma, chunks: list[tuple[int, int]], **more: object) -> report.Row:
    list_ = phyr.Phyr.from_chunks(chunks)
    rest = area.length - list_.length
    resident = pagemap.Resident(list_, list_.length, 0, 0, 0, rest)
    return report.Row.of(area, resident, **more)  # type: ignore[arg-type]


LONG_NAME = "/a/very/long/path/" + "directory/" * 12 + "library.so"

ROWS = [
    row(vma(0x5555_0000_0000, 5 * MIB), [(GIB, MIB), (4 * GIB, 2 * MIB), (8 * GIB, 64 * KIB)]),
    row(vma(0x7000_0000_0000, 3 * GIB, LONG_NAME), [(3 * GIB, 2 * GIB), (7 * GIB + 4096, 4096)]),
    row(vma(0x7FFF_0000_0000, 1 << 45, "[reserved]"), []),
    row(vma(0x7FFF_FFFF_0000, 8192, "/a/\x1b[31mred\udcff"), [(4096, 4096)]),
]

FOLIOS = Folios(
    (
        Folio("hugetlb", "file", "aligned", 2 * MIB, 2 * MIB),
        Folio("thp", "anon", "aligned", 2 * MIB, 4 * MIB),
        Folio("thp", "anon", "part", 0, 64 * KIB),
        Folio("thp", "anon", "unaligned", 64 * KIB, 128 * KIB),
    ),
    anon=8192,
    file=4096,
    ksm=4096,
    shared=8192,
    blocks=((64 * KIB, 128 * KIB, 0),),
)

OPTIONS: dict[str, Any] = {
    "rollup": False,
    "orders": False,
    "sort": None,
    "top": None,
    "everything": False,
}


def process(
    rows: list[report.Row], pid: int | str = 7, *, device_known: bool = True
) -> scan.Scanned:
    return scan.Scanned(pid, "a\tcommand", 4096, device_known, rows, {})  # type: ignore[arg-type]


def shown_map(
    monkeypatch: pytest.MonkeyPatch,
    width: int | None,
    *processes: scan.Scanned,
    height: int = 60,
    **options: object,
) -> str:
    """Show processes, by default one with `ROWS`, on a terminal so wide or on none; no colours."""
    file = io.StringIO()
    out = Console(
        file=file,
        force_terminal=width is not None,
        width=width,
        height=height,
        highlight=False,
    )
    monkeypatch.setattr(show, "output", lambda: out)
    show.show(processes or (process(ROWS),), {**OPTIONS, **options})
    return plain(file.getvalue())
