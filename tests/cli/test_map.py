"""``phyr map``: what it shows, of which processes, on what width, and how it refuses."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

import phyr
from pagemap.test_folios import process as running
from phyr import cli, pagemap
from phyr.cli import bar, choose, common, lines, machine, nodes, render, report, scan, show
from phyr.pagemap import Folio, Folios
from support.live import end, linux, python, shown
from support.terminal import in_terminal, plain

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
    """Show the rows above: on a terminal so wide, or on none; without its colours."""
    file = io.StringIO()
    out = Console(
        file=file,
        force_terminal=width is not None,
        width=width,
        height=height,
        highlight=False,
    )
    monkeypatch.setattr(show, "console", lambda: out)
    show.show(processes or (process(ROWS),), {**OPTIONS, **options})
    return plain(file.getvalue())


# The table


def test_a_wide_table_has_a_line_for_each_vma(monkeypatch: pytest.MonkeyPatch) -> None:
    found = shown_map(monkeypatch, 140).splitlines()
    assert " ".join(found[0].split()) == (
        "range size resident chunks list largest 4 KiB 64 KiB 2 MiB 1 GiB name"
    )
    assert re.fullmatch(
        r"0x555500000000\+0x500000 5 MiB 3.1 MiB 3 \d+ B 2 MiB - 35% 65% - \(anonymous\)",
        " ".join(found[1].split()),
    )
    assert found[2].split()[-5:-1] == ["<1%", "-", "-", ">99%"]
    assert found[2].endswith("directory/library.so")
    assert "…" in found[2]
    assert found[3].endswith(r"/a/\x1b[31mred\udcff")
    assert max(map(len, found)) <= 140


def test_a_narrow_table_has_two_lines_for_each_vma_and_cuts_names_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wide = shown_map(monkeypatch, None).splitlines()
    narrow = shown_map(monkeypatch, 80).splitlines()
    assert max(map(len, narrow)) <= 80
    for number, line in enumerate(wide[:4]):
        figures = " ".join(narrow[2 * number : 2 * number + 2]).split()
        for word in line.split():
            assert word in figures or word in {LONG_NAME, "range", "name"}
    assert narrow[4].endswith("directory/library.so")


def test_what_is_piped_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown_map(monkeypatch, None)
    assert LONG_NAME in text
    assert "…" not in text


def test_what_has_nothing_resident_is_counted_and_listed_only_if_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brief = shown_map(monkeypatch, None)
    long = shown_map(monkeypatch, None, everything=True)
    assert "[reserved]" not in brief
    assert "1 VMA of 32 TiB, nothing resident, listed by --all" in brief
    assert "[reserved]" in long
    assert "--all" not in long


def test_the_total_compares_the_forms_of_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    found = shown_map(monkeypatch, 100).splitlines()
    (total,) = [line for line in found if line.startswith("total")]
    assert total.endswith("4 VMAs of 32.0 TiB, 2.0 GiB resident")
    (chunks,) = [line for line in found if line.startswith("chunks")]
    assert chunks.endswith("6, largest 2 GiB")
    (costs,) = [line for line in found if line.startswith("bytes")]
    assert "bio_vec 96 (" in costs
    assert "scatterlist 192 (" in costs


def test_the_total_is_wrapped_between_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shown_map(monkeypatch, 200).splitlines()
    parts = shown_map(monkeypatch, 50).splitlines()
    at = next(number for number, line in enumerate(parts) if line.startswith("bytes"))
    assert all(len(line) <= 50 for line in parts[at:])
    assert len(parts[at:]) > 2
    assert " ".join(parts[at:]).split() == " ".join(whole[-2:]).split()


def test_states_other_than_ram_are_named_in_the_total(monkeypatch: pytest.MonkeyPatch) -> None:
    resident = pagemap.Resident(phyr.Phyr.from_chunks([]), 0, 4096, 8192, 12288, 16384)
    rows = [report.Row.of(vma(4096, 40960), resident)]
    text = shown_map(monkeypatch, None, process(rows, device_known=False))
    assert "0 resident, 4 KiB device memory, 8 KiB zero pages, 12 KiB swapped" in text
    assert "phyr 0, bio_vec 0, scatterlist 0" in text
    assert "so all counts as RAM" in text


def test_a_rollup_has_totals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown_map(monkeypatch, None, rollup=True)
    assert text.startswith("\ntotal")
    assert "listed by" not in text


def test_a_screen_joins_neighbours_of_one_file_and_sums_up_the_smallest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [
        row(vma(number << 20, 2 * number * 4096, f"/lib/{number // 2}"), [(GIB, number * 4096)])
        for number in range(1, 100)
    ]
    found = shown_map(monkeypatch, 140, process(rows), height=30).splitlines()
    assert len(found) == 30 - 1
    assert any(line.endswith("/lib/49 (2)") for line in found)
    (rest,) = [line for line in found if "smaller ones)" in line]
    assert found.index(rest) == len([line for line in found if "/lib/" in line]) + 1
    everything = shown_map(monkeypatch, 140, process(rows), height=30, everything=True)
    assert everything.count("/lib/") == 99
    assert "smaller ones" not in everything


def test_anonymous_neighbours_stay_apart() -> None:
    named = [lines.Line.of(row(vma(at << 20, MIB, "[heap]"), [])) for at in (1, 2)]
    assert lines.grouped(named) == named


def test_lines_are_sorted_and_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown_map(monkeypatch, None, sort="chunks", top=2)
    table = text.partition("\n\n")[0].splitlines()
    assert len(table) == 3
    assert table[1].endswith("(anonymous)")
    assert [key in lines.SORTS for key in ("small", "name", "swapped")] == [True] * 3
    made = [lines.Line.of(each) for each in ROWS]
    for sort in lines.SORTS:
        keys = [lines.SORTS[sort](line) for line in lines.ordered(made, sort, None)]
        assert keys == sorted(keys)


def test_a_line_of_several_adds_them_up() -> None:
    first, second = (lines.Line.of(ROWS[number]) for number in (0, 1))
    both = lines.Line.joined([first, second])
    assert both.ram == first.ram + second.ram
    assert (both.start, both.end) == (first.start, second.end)
    assert both.largest == 2 * GIB
    assert both.folios is None
    assert both.nodes is None


def test_several_processes_have_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    both = process(ROWS[:1]), process(ROWS[1:], "self"), process([], 9)
    found = shown_map(monkeypatch, None, *both).splitlines()
    assert found[0].split()[:3] == ["pid", "size", "resident"]
    assert [line.split()[0] for line in found[1:3]] == ["self", "7"]
    assert found[1].endswith(r"a\tcommand")
    everything = shown_map(monkeypatch, None, *both, everything=True).splitlines()
    assert everything[0] == r"7 a\tcommand"
    assert any("[reserved]" in line for line in everything)


def test_no_process_at_all_is_a_total_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(show, "console", lambda: Console(file=file))
    show.show([], {**OPTIONS, "orders": True})
    assert "0 VMAs of 0, 0 resident" in file.getvalue()


def test_a_histogram_has_a_line_for_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown_map(monkeypatch, None, orders=True)
    table = [line.split() for line in text.partition("share\n")[2].splitlines()]
    assert [line[:2] for line in table] == [
        ["4", "KiB"], ["64", "KiB"], ["1", "MiB"], ["2", "MiB"], ["1", "GiB"],
    ]  # fmt: skip
    assert [line[2] for line in table] == ["2", "1", "1", "1", "2"]
    assert table[-1][-1].startswith("█" * 29)


@pytest.mark.parametrize("columns", ["0", "1", "80"])
def test_the_table_is_printed_however_wide_the_terminal_says_it_is(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    show.show([process(ROWS)], {**OPTIONS, "everything": True})
    assert len(capsys.readouterr().out.splitlines()) > len(ROWS)


# Folios and nodes


def test_folios_have_columns_and_a_total(monkeypatch: pytest.MonkeyPatch) -> None:
    one = row(vma(GIB, 8 * MIB), [(GIB, 7 * MIB)], folios=FOLIOS)
    made = process([one])._replace(pmd_mapped={GIB: (4 * MIB, 0)})
    text = shown_map(monkeypatch, None, made)
    table, _, below = text.partition("\n\n")
    assert table.splitlines()[0].split() == [
        "range", "size", "resident", "huge", "mTHP", "part", "hugetlb", "anon", "file", "name",
    ]  # fmt: skip
    figures = " ".join(table.splitlines()[1].split())
    assert "7 MiB 4 MiB 128 KiB 64 KiB 2 MiB 12 KiB 4 KiB" in figures
    for line in (
        "4 MiB 64% ",
        "2 MiB whole",
        "64 KiB whole, not aligned",
        "part of a larger one",
        "hugetlb 2 MiB whole",
        "merged by KSM",
        "4 MiB of these are mapped as whole huge pages",
        "blocks of 64 KiB, aligned, inside one large page: anon 128 KiB, file 0",
    ):
        assert line in " ".join(below.split())


def test_processes_have_columns_of_folios_too(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(vma(GIB, 8 * MIB), [(GIB, 7 * MIB)], folios=FOLIOS)]
    found = shown_map(monkeypatch, None, process(rows), process(rows, 8)).splitlines()
    assert found[0].split()[:5] == ["pid", "size", "resident", "huge", "mTHP"]
    assert "4 MiB" in found[1]
    assert "8 MiB" in " ".join(found)


def test_nodes_have_columns_and_a_total(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        row(vma(GIB, MIB), [(GIB, MIB)], nodes={1: MIB - 4096, None: 4096}),
        row(vma(2 * GIB, MIB), [(GIB, MIB)], nodes={0: MIB}),
    ]
    text = shown_map(monkeypatch, None, process(rows))
    assert text.splitlines()[0].split()[-7:-1] == ["node", "0", "node", "1", "no", "node"]
    assert "1 MiB on node 0, 1020 KiB on node 1, 4 KiB on no node" in text
    joined = lines.Line.joined(map(lines.Line.of, rows))
    assert joined.nodes == {1: MIB - 4096, None: 4096, 0: MIB}
    none = [row(vma(GIB, MIB), [], nodes={})]
    assert "nodes   none" in shown_map(monkeypatch, None, process(none))


def test_nodes_are_read_from_the_system(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/block_size_bytes").write_text("8000000\n")
    for node, blocks in ((0, (0, 1)), (1, (3,))):
        for block in blocks:
            (tmp_path / f"node/node{node}/memory{block}").mkdir(parents=True)
    found = nodes.Nodes.of_system(tmp_path)
    block = 0x800_0000
    assert [found.of(at * block) for at in range(5)] == [0, 0, None, 1, None]
    list_ = phyr.Phyr.from_chunks([(block // 2, 4 * block)])
    assert found.split(list_) == {0: 3 * block // 2, None: 3 * block // 2, 1: block}
    assert found.split(phyr.Phyr.from_pfns([])) == {}
    assert nodes.Nodes([(block, 2 * block, 0)]).of(0) is None
    with pytest.raises(phyr.PhyrError, match="does not tell its NUMA nodes"):
        nodes.Nodes.of_system(tmp_path / "node")


# Which processes


def test_processes_of_a_cgroup_and_of_those_inside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(choose, "_CGROUPS", tmp_path)
    (tmp_path / "slice/inner").mkdir(parents=True)
    (tmp_path / "slice/empty").mkdir()
    (tmp_path / "slice/cgroup.procs").write_text("12\n0\n7\n")
    (tmp_path / "slice/inner/cgroup.procs").write_text("7\n9\n")
    for spelt in ("slice", "/slice", str(tmp_path / "slice")):
        assert choose.choose([], [spelt], []) == ([7, 9, 12], True)
    with pytest.raises(phyr.PhyrError, match="other is no control group"):
        choose.choose([], ["other"], [])
    (tmp_path / "cgroup.procs").write_text("")
    (tmp_path / "slice/cgroup.procs").write_text("")
    (tmp_path / "slice/inner/cgroup.procs").write_text("")
    with pytest.raises(phyr.PhyrError, match="no process is in slice"):
        choose.choose([], ["slice"], [])


@linux
def test_processes_by_name() -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        while choose.command_of(process.pid) != "sleep":
            pass  # not yet replaced by it
        chosen = choose.choose([], [], ["sle[e]p", "nothing-else"])
        end(process)
    assert process.pid in chosen.pids
    assert os.getpid() not in choose.choose([], [], ["*"]).pids
    assert choose.command_of(1 << 30) == ""
    result = run("--name", "no such command")
    assert (result.exit_code, result.stderr) == (2, "phyr: no process has that name\n")


def test_a_process_named_twice_is_looked_at_once() -> None:
    assert choose.choose([3, "self", 3], [], []) == ([3, "self"], False)


@pytest.mark.parametrize("pid", ["0", "-1", "abc", "1.5", "", "../1", "٣", "9" * 5000])
def test_only_numbers_and_self_name_a_process(pid: str) -> None:
    result = run("--", pid)
    assert result.exit_code == 2
    assert "neither a process number nor 'self'" in result.stderr


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("anon", [0]),
        ("file", [1]),
        ("heap", [2]),
        ("stack", [3]),
        ("*.so", [1]),
        ("0x1000-0x3000", [0, 1]),
        ("0x4FFF", [3]),
        ("0x", []),
        ("0xg-0x1", []),
        ("0x1-2", []),
        ("\\[heap*", []),
    ],
)
def test_vmas_are_chosen_by_kind_range_and_name(text: str, fits: list[int]) -> None:
    areas = [
        vma(0x1000, 0x1000),
        vma(0x2000, 0x1000, "/lib/a.so", 5),
        vma(0x3000, 0x1000, "[heap]", 1),
        vma(0x4000, 0x1000, "[stack]", 1),
        vma(0x9000, 0x1000, "[vvar]"),
    ]
    wanted = choose.vma_filter([text])
    assert [number for number, area in enumerate(areas) if wanted(area)] == (
        [0] if text == "anon" else [1, 2, 3] if text == "file" else fits
    )


def test_filters_add_to_each_other() -> None:
    wanted = choose.vma_filter(["heap", "stack"])
    assert [wanted(vma(0, 1, name)) for name in ("[heap]", "[stack]", "")] == [True, True, False]
    assert choose.vma_filter([])(vma(0, 1))
    result = run("self", "--vma", "0x2000-0x1000")
    assert result.exit_code == 2
    assert "ends before it starts" in result.stderr


# Running it


@shown
def test_map_shows_this_process() -> None:
    result = run("self")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "[stack]" in result.stdout
    assert "[vsyscall]" not in result.stdout
    assert "[vsyscall]" in run("self", "--all").stdout or os.uname().machine != "x86_64"


@contextmanager
def still() -> Iterator[int]:
    """Run a process that stands still: what is looked at twice must."""
    with subprocess.Popen(
        [sys.executable, "-c", "print('ready', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as made:
        assert made.stdout is not None
        made.stdout.readline()
        made.send_signal(signal.SIGSTOP)
        os.waitpid(made.pid, os.WUNTRACED)
        try:
            yield made.pid
        finally:
            end(made)


@shown
def test_json_has_the_figures_of_every_vma() -> None:
    with still() as pid:
        result = run(str(pid), "--json", "--folios", "--cont", "64K", "--numa", "--chunks")
        vmas = pagemap.vmas(pid)
        with pagemap.Pagemap(pid) as opened:
            granule = opened.granule
            device_known = opened.ram is not None
            residents = [opened.resident(each.start, each.length) for each in vmas]
            folios = [
                opened.folios(each.start, each.length, block_sizes=[64 * KIB]) for each in vmas
            ]
        rollup = json.loads(run(str(pid), "--json", "--rollup").stdout)
    assert result.exit_code == 0
    whole = json.loads(result.stdout)
    assert set(whole) == {"version", "processes", "skipped"}
    assert (whole["version"], whole["skipped"]) == (1, {"gone": 0, "hidden": 0})
    (told,) = whole["processes"]
    assert set(told) == {"pid", "command", "granule", "device_known", "vmas", "total"}
    assert (told["pid"], told["command"]) == (pid, Path(sys.executable).name[:15])
    assert (told["granule"], told["device_known"]) == (granule, device_known)
    for item, area, resident, found in zip(told["vmas"], vmas, residents, folios, strict=True):
        assert {name: item[name] for name in area._fields} == area._asdict()
        assert item["size"] == area.length
        assert item["states"] == {state: getattr(resident, state) for state in report.STATES}
        assert item["chunks"] == len(resident.phyr.chunks)
        assert item["orders"] == {str(k): v for k, v in resident.phyr.orders().items()}
        assert sum(item["buckets"].values()) == resident.ram
        assert sum(item["nodes"].values()) == resident.ram
        assert item["folios"]["anon"] == found.anon
        assert [tuple(large.values()) for large in item["folios"]["large"]] == list(found.large)
        assert sum(length for _, _, length in item["chunk_list"]) == resident.ram
        assert all(area.start <= uaddr < area.end for uaddr, _, _ in item["chunk_list"])
    total = told["total"]
    assert total["states"]["ram"] == sum(resident.ram for resident in residents)
    assert total["chunks"] == sum(len(resident.phyr.chunks) for resident in residents)
    assert total["bio_vec_bytes"] == 16 * total["chunks"]
    assert total["scatterlist_bytes"] >= 32 * total["chunks"]
    assert total["list_bytes"] >= 8 * total["chunks"]
    assert total["folios"]["blocks"][0]["size"] == 64 * KIB
    assert set(rollup["processes"][0]) == {"pid", "command", "granule", "device_known", "total"}


def test_json_names_memory_of_no_node() -> None:
    one = process([row(vma(GIB, MIB), [(GIB, MIB)], nodes={None: MIB})])
    told: Any = machine.as_json([one], scan.Skipped(), rollup=True, chunks=False)
    assert told["processes"][0]["total"]["nodes"] == {"unknown": MIB}


@shown
def test_chunks_are_listed_one_by_one() -> None:
    with still() as pid:
        text = run(str(pid), "--vma", "heap", "--chunks", "--numa").stdout
        (heap,) = [each for each in pagemap.vmas(pid) if each.name == "[heap]"]
        expected = [
            (uaddr + phyr_.chunks.position(number), *chunk)
            for uaddr, phyr_ in pagemap.present(pid, heap.start, heap.length)
            for number, chunk in enumerate(phyr_.chunks)
        ]
        plainly = run(str(pid), "--vma", "heap", "--chunks").stdout
    head, *found = text.splitlines()
    assert head.split() == ["uaddr", "paddr", "bytes", "node", "name"]
    told = [line.replace(",", "").split() for line in found]
    assert [(int(u, 16), int(p, 16), int(length)) for u, p, length, *_ in told] == expected
    assert {tuple(rest) for _, _, _, *rest in told} <= {("0", "[heap]"), ("1", "[heap]")}
    assert plainly.splitlines()[1].split()[3:] == ["[heap]"]


@shown
def test_hidden_processes_and_those_without_memory_are_left_out_with_a_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = pagemap.Pagemap

    def some(pid: int) -> pagemap.Pagemap:
        if pid == 3:
            raise phyr.HiddenPagesError(1, "hidden", pid=pid)
        return real(pid)

    monkeypatch.setattr(scan, "Pagemap", some)
    monkeypatch.setattr(
        choose, "choose", lambda *_: choose.Chosen([3, 2, os.getpid()], by_name=True)
    )
    result = run("--name", "x", "--rollup", "--folios")
    assert result.exit_code == 0
    assert result.stderr == (
        "phyr: 2 processes left out: 1 has no memory or ended, 1 may not be looked into\n"
    )
    monkeypatch.setattr(choose, "choose", lambda *_: choose.Chosen([3], by_name=True))
    assert run("--name", "x").stderr == "phyr: hidden\n"


@linux
def test_a_process_that_is_not_there_takes_one_line_and_exit_code_2() -> None:
    result = run(str(1 << 30))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "phyr: process 1073741824 is not there, or has ended\n"


@linux
def test_a_kernel_thread_a_zombie_and_a_replaced_process_are_told_apart() -> None:
    if Path("/proc/2/comm").read_text() == "kthreadd\n":
        result = run("2")
        assert result.exit_code == 2
        assert "process 2 (kthreadd) is a kernel thread" in result.stderr
    with subprocess.Popen(["/bin/true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        result = run(str(process.pid))
    assert f"process {process.pid} (true) is a zombie" in result.stderr
    me = phyr.ProcessGoneError(3, "gone", pid=os.getpid())
    with pytest.raises(common.Refusal, match="was replaced"), common.refusing():
        raise me


@linux
def test_a_process_that_ends_while_it_is_read_takes_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        real = pagemap.Pagemap.vmas

        def vmas(self: pagemap.Pagemap) -> list[pagemap.Vma]:
            found = real(self)
            end(process)
            return found

        monkeypatch.setattr(pagemap.Pagemap, "vmas", vmas)
        result = run(str(process.pid))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"phyr: process {process.pid} is not there, or has ended\n"


@pytest.mark.parametrize(
    "error",
    [
        phyr.HiddenPagesError(1, "page numbers are hidden", pid=1),
        phyr.PhyrError("page numbers are hidden"),
    ],
)
def test_what_is_refused_takes_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(_pid: int) -> None:
        raise error

    monkeypatch.setattr(scan, "Pagemap", refuse)
    result = run("self")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "phyr: page numbers are hidden\n"


def test_a_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(common.Refusal) as caught, common.refusing():
        Path("/no/such\x1bfile").read_text()
    assert caught.value.message == r"/no/such\x1bfile: No such file or directory"


def test_a_pipe_that_nobody_reads_ends_the_command_without_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_pid: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(scan, "Pagemap", broken)
    result = run("self")
    assert (result.exit_code, result.output) == (1, "")


@linux
def test_without_privileges_map_explains_and_demo_takes_over() -> None:
    for more in ((), ("--rollup", "--folios"), ("--json",)):
        done = python("-m", "phyr", "map", "self", *more, admin=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("phyr: ")
        assert "CAP_SYS_ADMIN" in done.stderr
        assert done.stderr.count("\n") == 1
    done = python("-m", "phyr", "demo", admin=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "Name a process"),
        (("self", "--cont", "64K"), "--cont needs --folios"),
        (("self", "--cont", "3K", "--folios"), "no power of two"),
        (("self", "--cont", "2G", "--folios"), "no power of two"),
        (("self", "--cont", "x", "--folios"), "no power of two"),
        (("self", "--cont", "4K", "--folios"), "power of two of at least 2 pages"),
        (("self", "--sort", "colour"), "colour"),
        (("self", "--top", "0"), "0"),
        (("self", "--watch", "1"), "is for a terminal"),
        (("self", "--watch", "0"), "0"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...], why: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert why in result.stderr


@shown
def test_on_a_terminal_it_fits() -> None:
    for columns, height in ((80, 40), (140, 30)):
        found = plain(in_terminal(columns, "map", "self", lines=height)).splitlines()
        assert max(map(len, found)) <= columns
        assert len(found) < height
        assert found[0].startswith("range")


@shown
def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[" in in_terminal(80, "map", "self")
    assert "\x1b[" not in run("self").stdout
    monkeypatch.setenv("NO_COLOR", "1")
    done = python("-m", "phyr", "map", "self")
    assert "\x1b[" not in done.stdout


@linux
def test_an_address_space_as_of_sanitizers_and_many_vmas_are_read() -> None:
    code = """
import mmap, sys
kept = [mmap.mmap(-1, 1 << 44, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, prot=0)]
many = mmap.mmap(-1, 8192 * 10000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
import ctypes
base = ctypes.addressof(ctypes.c_char.from_buffer(many))
libc = ctypes.CDLL(None)
for number in range(10000):
    libc.mprotect(ctypes.c_void_p(base + number * 8192), 4096, 1)
print("ready", flush=True); input()
"""
    with running(code) as pid:
        result = run(str(pid), "--rollup")
    if result.exit_code == 0:
        (count,) = re.findall(r"total +([\d,]+) VMAs of 16", result.stdout)
        assert int(count.replace(",", "")) > 20000
    else:
        assert "CAP_SYS_ADMIN" in result.stderr


# The progress bar


@pytest.mark.parametrize(("terminal", "patience"), [(True, -1), (True, 100), (False, -1)])
def test_a_bar_shows_on_a_terminal_once_it_takes_long(
    monkeypatch: pytest.MonkeyPatch, *, terminal: bool, patience: float
) -> None:
    monkeypatch.setattr(bar, "_PATIENCE", patience)
    file = io.StringIO()
    with closing(bar.LateBar(100, Console(file=file, force_terminal=terminal))) as made:
        made.reach(10, 40)
        made.leave(40)
        made.reach(30, 60)
    assert ("70%" in file.getvalue()) == (terminal and patience < 0)


def test_the_bar_is_for_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bar, "_PATIENCE", -1)
    with closing(bar.LateBar(1)) as made:
        made.reach(1, 1)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        made.reach(1, 1)
    assert capsys.readouterr().out == ""


def test_the_console_spells_what_the_terminal_cannot(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    render.console().print("é", end="")
    sys.stdout.flush()
    assert raw.getvalue() == b"\\xe9"
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    render.console().print("é", end="")
    assert capsys.readouterr().out == ""
