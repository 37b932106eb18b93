"""Instructions that operations take: they repeat where times do not.

Each figure is a difference of two runs, so what a program does before and after does not count.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.callgrind import PLAIN_COPIES, built

NR_PAGES = 1 << 16
FEW_PAGES = 1 << 14


def instructions(
    operation: str, workload: str, nr_pages: int, turns: int, folder: Path
) -> tuple[int, int]:
    """Run `turns` turns: instructions of the whole run, and the parts that a turn has."""
    counts = folder / f"{operation}.{workload}.{turns}"
    program = [built("instructions"), operation, workload, str(nr_pages), str(turns)]
    run = subprocess.run(  # noqa: S603 - the command is ours
        ["valgrind", "--tool=callgrind", f"--callgrind-out-file={counts}", *program],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
        # The same addresses and the same environment in every run.
        env={"PATH": os.environ["PATH"]} | PLAIN_COPIES,
    )
    totals = re.search(r"^totals: (\d+)$", counts.read_text(), re.MULTILINE)
    assert totals is not None, run.stderr
    return int(totals[1]), int(run.stdout)


def each(operation: str, workload: str, folder: Path, nr_pages: int = NR_PAGES) -> float:
    """Instructions for each part of an operation: a page built, an entry visited, a seek."""
    few, many = 1, 4
    before, parts = instructions(operation, workload, nr_pages, few, folder)
    after, _ = instructions(operation, workload, nr_pages, many, folder)
    return (after - before) / (many - few) / parts


pytestmark = [
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind counts instructions"),
    pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo builds what is counted"),
]


@pytest.mark.parametrize(
    ("operation", "workload", "limit"),
    [
        # The target of docs/performance.md.
        ("fold", "rand4k", 10),
        # The count, and a quarter more: whoever passes one of these made something slower.
        ("fold", "geo8", 7),
        # Blocks of one size in a node; of all sizes. The loop takes 13 and 14; the rest is for the
        # step to the next leaf, some 75 instructions where sizes differ, and the ends of the list.
        ("for", "rand4k", 13.6),
        ("for", "geo8", 14.6),
        ("for", "folio", 14.6),
        ("fold_frozen", "rand4k", 11),
        ("fold_frozen", "geo8", 20),
        ("for_frozen", "rand4k", 38.5),
        ("for_frozen", "geo8", 46),
        ("build_pages", "rand4k", 16.5),
        ("build_pages", "geo8", 14),
        ("build_pages", "contig", 6),
        ("build_pfns", "rand4k", 16.5),
        # A node of single pages says where a byte is; of another, up to a quarter is summed.
        ("seek", "rand4k", 375),
        ("seek", "geo8", 1060),
        ("equal", "rand4k", 2),
        ("hash", "rand4k", 4.5),
        ("extend", "rand4k", 10.5),
        ("extend", "geo8", 15),
        ("to_bytes", "rand4k", 6.5),
        ("from_bytes", "rand4k", 14.5),
        ("from_bytes", "geo8", 27),
        ("from_chunks", "rand4k", 42),
        ("from_chunks", "geo8", 54),
        ("from_prp", "rand4k", 36.5),
        ("from_prp", "geo8", 33.5),
        ("from_sgl", "rand4k", 45),
        ("from_sgl", "geo8", 57),
        ("orders", "rand4k", 9.5),
        ("orders", "geo8", 80),
        ("stats", "geo8", 7.5),
        ("read_pages", "rand4k", 4.5),
        ("read_pages", "geo8", 21),
        # As many positions as pages.
        ("translate", "rand4k", 101),
        ("translate", "geo8", 150),
        ("translate_sorted", "rand4k", 27.5),
        ("translate_sorted", "geo8", 26),
        ("plan", "rand4k", 10),
        ("window", "rand4k", 0.5),
        ("map_plan", "rand4k", 15.5),
        ("map_columns", "rand4k", 11.5),
        # And mapping before.
        ("unmap", "rand4k", 22),
        # A run of 256 pages in a table that other pages keep: each of its pages.
        ("map_256", "rand4k", 6),
        ("map_unmap_256", "rand4k", 18.5),
        # One page, in such a table and in a table that comes and goes.
        ("map_unmap_1", "rand4k", 3500),
        ("map_unmap_new", "rand4k", 5700),
    ],
)
def test_an_operation_takes_few_instructions(
    operation: str, workload: str, limit: float, tmp_path: Path
) -> None:
    count = each(operation, workload, tmp_path)
    print(f"{operation} of {workload}: {count:.2f} instructions")  # noqa: T201 - a figure to report
    assert 0 < count <= limit


@pytest.mark.parametrize(
    ("format_", "workload", "limit"),
    [
        # The count, and a quarter more, as for the operations above. Times are no worse than
        # these ratios: see docs/performance.md.
        ("sg", "rand4k", 0.65),
        ("bvec", "rand4k", 0.31),
        ("phys_vec", "rand4k", 1.0),
        ("sgl", "rand4k", 0.52),
        ("prp", "folio", 1.2),
        ("mtt", "folio", 1.7),
    ],
)
def test_descriptors_take_about_as_many_instructions_as_a_plain_loop(
    format_: str, workload: str, limit: float, tmp_path: Path
) -> None:
    ours, plain = (
        each(f"{how}_{format_}", workload, tmp_path, FEW_PAGES) for how in ("fill", "plain")
    )
    print(f"{format_} of {workload}: {ours:.2f} and {plain:.2f} instructions")  # noqa: T201 - as above
    assert 0 < ours <= limit * plain


@pytest.mark.parametrize(
    "operation",
    [
        "build_pages",
        "build_pfns",
        "equal",
        "extend",
        "fold",
        "for",
        "from_bytes",
        "from_chunks",
        "hash",
        "join",
        "map_plan",
        "orders",
        "plan",
        "read_pages",
        "stats",
        "to_bytes",
        "translate",
        "translate_sorted",
    ],
)
def test_no_operation_is_worse_than_linear(operation: str, tmp_path: Path) -> None:
    # Positions are sorted a block at a time: short blocks cost more each.
    start = 1 << 14 if operation.startswith("translate") else 1 << 12
    few, many = (each(operation, "geo8", tmp_path, nr) for nr in (start, 4 * start))
    print(f"{operation}: {few:.2f} and {many:.2f} instructions")  # noqa: T201 - as above
    # Sorting takes a step more for each doubling.
    assert many <= 1.25 * few


@pytest.mark.parametrize("operation", ["map_256", "map_unmap_256", "map_unmap_1", "map_unmap_new"])
def test_a_short_map_does_not_grow_with_its_domain(operation: str, tmp_path: Path) -> None:
    few, many = (each(operation, "rand4k", tmp_path, nr) for nr in (1 << 10, 1 << 16))
    print(f"{operation}: {few:.2f} and {many:.2f} instructions")  # noqa: T201 - as above
    # A search among the tables takes a step more for each doubling.
    assert many <= 1.05 * few


def test_a_list_of_one_record_takes_few_instructions(tmp_path: Path) -> None:
    count = each("fill_sg", "contig", tmp_path, FEW_PAGES)
    print(f"one record: {count:.0f} instructions")  # noqa: T201 - as above
    assert 0 < count <= 530


def test_making_tables_walks_no_list(tmp_path: Path) -> None:
    # Seven tables, six of them under limits that cut: searches, a few thousand instructions. One
    # walk would be eight for each of the pages.
    short, long = (each("tables", "rand4k", tmp_path, nr) for nr in (1 << 12, 1 << 18))
    print(f"seven tables: {short:.0f} and {long:.0f} instructions")  # noqa: T201 - as above
    assert 0 < short <= 25_000
    assert long <= 2 * short
