"""The command line: what it prints, on what width, and how it refuses."""

import errno
import io
import json
import os
import pty
import re
import runpy
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

import phyr
from phyr import __main__, cli, pagemap
from phyr.cli import demo, render, report
from phyr.pagemap import process
from support.live import linux, python, shown

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.phyr, arguments)


def vma(start: int, length: int, name: str = "") -> pagemap.Vma:
    return pagemap.Vma(start, start + length, "rw-p", 0, "00:00", 0, name)


def row(area: pagemap.Vma, chunks: list[tuple[int, int]]) -> report.Row:
    list_ = phyr.Phyr.from_chunks(chunks)
    rest = area.length - list_.length
    return report.Row.of(area, pagemap.Resident(list_, list_.length, 0, 0, 0, rest))


LONG_NAME = "/a/very/long/path/" + "directory/" * 12 + "library.so"

ROWS = [
    row(vma(0x5555_0000_0000, 5 * MIB), [(GIB, MIB), (4 * GIB, 2 * MIB), (8 * GIB, 64 * KIB)]),
    row(vma(0x7000_0000_0000, 3 * GIB, LONG_NAME), [(3 * GIB, 2 * GIB), (7 * GIB + 4096, 4096)]),
    row(vma(0x7FFF_0000_0000, 1 << 45, "[reserved]"), []),
    row(vma(0x7FFF_FFFF_0000, 8192, "/a/\x1b[31mred\udcff"), [(4096, 4096)]),
]


def shown_map(width: int | None, *, everything: bool = False, device_known: bool = True) -> str:
    """Show the rows above: on a terminal so wide, or on none; without its colours."""
    file = io.StringIO()
    terminal = width is not None
    out = Console(file=file, force_terminal=terminal, width=width, highlight=False)
    render.show_map(out, ROWS, everything=everything, device_known=device_known)
    return re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())


def test_output_that_has_no_room_is_one_line_and_exit_code_2() -> None:
    for arguments in (["demo", "--size", "64K"], ["--help"], ["map", "self", "--json"]):
        program = [sys.executable, "-m", "phyr", *arguments]
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(  # noqa: S603 - ours
                program, stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        hidden = (
            "phyr: " if arguments[0] == "map" and os.geteuid() else "phyr: cannot write: No space"
        )
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert done.stderr.startswith(hidden)


def test_what_could_not_be_written_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit) as caught:
            cli.phyr(["demo", "--size", "64K"], prog_name="phyr")
        full.write("goes nowhere")
    assert caught.value.code == 2
    assert capsys.readouterr().err == "phyr: cannot write: No space left on device\n"


def test_a_closed_standard_output_is_one_line_and_exit_code_2() -> None:
    for arguments in (["demo", "--size", "64K"], ["--version"], ["map", "self"]):
        program = [sys.executable, "-m", "phyr", *arguments]
        done = subprocess.run(  # noqa: S603 - ours
            ["sh", "-c", 'exec "$@" >&-', "sh", *program],  # noqa: S607
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        said = "phyr: cannot write: standard output is closed\n"
        assert (done.returncode, done.stderr) == (2, said)


def test_no_standard_output_is_refused_before_anything_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(SystemExit) as caught:
        cli.phyr(["demo", "--size", "64K"], prog_name="phyr")
    assert caught.value.code == 2
    assert capsys.readouterr().err == "phyr: cannot write: standard output is closed\n"


@pytest.mark.parametrize("columns", ["0", "1", "80"])
def test_the_table_is_printed_however_wide_the_terminal_says_it_is(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    render.show_map(render.console(), ROWS, everything=True, device_known=True)
    assert len(capsys.readouterr().out.splitlines()) > len(ROWS)


def test_a_pipe_that_nobody_reads_ends_the_command_without_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_pid: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(process, "Pagemap", broken)
    result = run("map", "self")
    assert (result.exit_code, result.output) == (1, "")


# phyr map


def test_a_wide_table_has_a_line_for_each_vma() -> None:
    lines = shown_map(140).splitlines()
    assert " ".join(lines[0].split()) == (
        "range size resident chunks list largest 4 KiB 64 KiB 2 MiB 1 GiB name"
    )
    assert re.fullmatch(
        r"0x555500000000\+0x500000 5 MiB 3.1 MiB 3 \d+ B 2 MiB - 35% 65% - \(anonymous\)",
        " ".join(lines[1].split()),
    )
    assert lines[2].split()[-5:-1] == ["<1%", "-", "-", ">99%"]
    assert lines[2].endswith("directory/library.so")
    assert "…" in lines[2]
    assert lines[3].endswith(r"/a/\x1b[31mred\udcff")
    assert max(map(len, lines)) <= 140


def test_a_narrow_table_has_two_lines_for_each_vma_and_cuts_names_only() -> None:
    wide, narrow = shown_map(None).splitlines(), shown_map(80).splitlines()
    assert max(map(len, narrow)) <= 80
    for number, line in enumerate(wide[:4]):
        figures = " ".join(narrow[2 * number : 2 * number + 2]).split()
        for word in line.split():
            assert word in figures or word in {LONG_NAME, "range", "name"}
    assert narrow[4].endswith("directory/library.so")


def test_what_is_piped_is_not_cut() -> None:
    text = shown_map(None)
    assert LONG_NAME in text
    assert "…" not in text


def test_what_has_nothing_resident_is_counted_and_listed_only_if_asked_for() -> None:
    brief, long = shown_map(None), shown_map(None, everything=True)
    assert "[reserved]" not in brief
    assert "1 VMA of 32 TiB, nothing resident, listed by --all" in brief
    assert "[reserved]" in long
    assert "--all" not in long


def test_the_total_compares_the_forms_of_a_list() -> None:
    lines = shown_map(100).splitlines()
    (total,) = [line for line in lines if line.startswith("total")]
    assert total.endswith("4 VMAs of 32.0 TiB, 2.0 GiB resident")
    (chunks,) = [line for line in lines if line.startswith("chunks")]
    assert chunks.endswith("6, largest 2 GiB")
    (costs,) = [line for line in lines if line.startswith("bytes")]
    assert "bio_vec 96 (" in costs
    assert "scatterlist 192 (" in costs


def test_the_total_is_wrapped_between_its_parts() -> None:
    whole = shown_map(200).splitlines()
    parts = shown_map(50).splitlines()
    at = next(number for number, line in enumerate(parts) if line.startswith("bytes"))
    assert all(len(line) <= 50 for line in parts[at:])
    assert len(parts[at:]) > 2
    assert " ".join(parts[at:]).split() == " ".join(whole[-2:]).split()


def test_states_other_than_ram_are_named_in_the_total() -> None:
    file = io.StringIO()
    resident = pagemap.Resident(phyr.Phyr.from_chunks([]), 0, 4096, 8192, 12288, 16384)
    rows = [report.Row.of(vma(4096, 40960), resident)]
    render.show_map(Console(file=file), rows, everything=False, device_known=False)
    text = file.getvalue()
    assert "0 resident, 4 KiB device memory, 8 KiB zero pages, 12 KiB swapped" in text
    assert "phyr 0, bio_vec 0, scatterlist 0" in text
    assert "so all counts as RAM" in text


@shown
def test_map_shows_this_process() -> None:
    result = run("map", "self")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "[stack]" in result.stdout
    assert "[vsyscall]" not in result.stdout
    assert "[vsyscall]" in run("map", "self", "--all").stdout or os.uname().machine != "x86_64"


@shown
def test_json_has_the_figures_of_every_vma() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "print('ready', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        # What is looked at twice must stand still.
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        result = run("map", str(process.pid), "--json")
        vmas = pagemap.vmas(process.pid)
        with pagemap.Pagemap(process.pid) as opened:
            granule = opened.granule
            device_known = opened.ram is not None
            residents = [opened.resident(each.start, each.length) for each in vmas]
        process.kill()
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert set(told) == {"pid", "granule", "device_known", "vmas", "total"}
    assert told["pid"] == process.pid
    assert (told["granule"], told["device_known"]) == (granule, device_known)
    for item, area, resident in zip(told["vmas"], vmas, residents, strict=True):
        assert {name: item[name] for name in area._fields} == area._asdict()
        assert item["size"] == area.length
        assert item["states"] == {state: getattr(resident, state) for state in report.STATES}
        assert item["chunks"] == len(resident.phyr.chunks)
        assert item["orders"] == {str(k): v for k, v in resident.phyr.orders().items()}
        assert sum(item["buckets"].values()) == resident.ram
    total = told["total"]
    assert total["states"]["ram"] == sum(resident.ram for resident in residents)
    assert total["chunks"] == sum(len(resident.phyr.chunks) for resident in residents)
    assert total["bio_vec_bytes"] == 16 * total["chunks"]
    assert total["scatterlist_bytes"] >= 32 * total["chunks"]
    assert total["list_bytes"] >= 8 * total["chunks"]


@linux
def test_a_process_that_is_not_there_takes_one_line_and_exit_code_2() -> None:
    result = run("map", str(1 << 30))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("phyr: process 1073741824 ")
    assert result.stderr.count("\n") == 1


def test_hidden_pages_take_one_line_and_exit_code_2(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(pid: int) -> None:
        raise phyr.HiddenPagesError(1, "page numbers are hidden", pid=pid)

    monkeypatch.setattr(process, "Pagemap", hidden)
    result = run("map", "self")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "phyr: page numbers are hidden\n"


def test_a_system_without_page_maps_takes_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(_pid: int) -> None:
        raise phyr.PhyrError("page maps need Linux")

    monkeypatch.setattr(process, "Pagemap", missing)
    result = run("map", "self")
    assert (result.exit_code, result.stderr) == (2, "phyr: page maps need Linux\n")


@linux
def test_without_privileges_map_explains_and_demo_takes_over() -> None:
    done = python("-m", "phyr", "map", "self", admin=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("phyr: ")
    assert "CAP_SYS_ADMIN" in done.stderr
    assert done.stderr.count("\n") == 1
    done = python("-m", "phyr", "demo", admin=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("pid", ["0", "-1", "abc", "1.5", "", "../1", "٣"])
def test_only_numbers_and_self_name_a_process(pid: str) -> None:
    result = run("map", "--", pid)
    assert result.exit_code == 2
    assert "neither a process number nor 'self'" in result.stderr


@shown
def test_on_a_terminal_no_line_is_too_long() -> None:
    for columns in (80, 140):
        text = in_terminal(columns, "map", "self")
        lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).splitlines()
        assert max(map(len, lines)) <= columns
        assert lines[0].startswith("range")


def in_terminal(columns: int, *arguments: str) -> str:
    """Run the command line on a terminal of its own, and give all that it shows."""
    import fcntl  # noqa: PLC0415 - not on every system
    import termios  # noqa: PLC0415

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "phyr", *arguments]
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        command, stdout=theirs, stderr=theirs, env=environment
    ):
        os.close(theirs)
        return b"".join(pieces(ours)).decode().replace("\r\n", "\n")


def pieces(file: int) -> Iterator[bytes]:
    """Read a terminal until nobody has its other end open any more."""
    try:
        while piece := os.read(file, 1 << 16):
            yield piece
    except OSError:
        pass
    finally:
        os.close(file)


# The progress bar


@pytest.mark.parametrize(("terminal", "patience"), [(True, -1), (True, 100), (False, -1)])
def test_a_bar_shows_on_a_terminal_once_it_takes_long(
    monkeypatch: pytest.MonkeyPatch, *, terminal: bool, patience: float
) -> None:
    monkeypatch.setattr(render, "_PATIENCE", patience)
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal)
    with closing(render.LateBar(100, console)) as bar:
        bar.reach(10, 40)
        bar.leave(40)
        bar.reach(30, 60)
    assert ("70%" in file.getvalue()) == (terminal and patience < 0)


def test_the_bar_is_for_standard_error() -> None:
    assert render.LateBar(1)._console.stderr  # noqa: SLF001 - shown on terminals only


# Figures


def test_forms_of_a_list_cost_what_the_kernel_takes() -> None:
    links = {0: 0, 1: 0, 128: 0, 129: 1, 255: 1, 256: 2, 382: 2, 383: 3}
    for count, expected in links.items():
        list_ = phyr.Phyr.from_pfns([2 * number for number in range(count)])
        cost = report.Cost.of(list_)
        assert cost.bio_vec == 16 * count
        assert cost.scatterlist == 32 * (count + expected)
        assert cost.phyr >= 8 * count


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (0, "0"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1025, "1.0 KiB"),
        (MIB - 1, "1.0 MiB"),
        (GIB - 4096, "1.0 GiB"),
        (GIB - 52 * KIB, "1023.9 MiB"),
        (3 * GIB // 2, "1.5 GiB"),
        (1 << 64, "16 EiB"),
        ((1 << 64) - 1, "16.0 EiB"),
        (1 << 71, "2048 EiB"),
    ],
)
def test_sizes_are_spelt_in_the_unit_that_fits(length: int, text: str) -> None:
    assert report.spell(length) == text


def test_blocks_are_counted_by_class() -> None:
    list_ = phyr.Phyr.from_chunks([(GIB - 4096, GIB + 4096), (3 * GIB, 2 * MIB), (9 * MIB, MIB)])
    assert report.bucket_bytes(list_) == (4096, MIB, 2 * MIB, GIB)
    assert report.bucket_bytes(phyr.Phyr.from_chunks([])) == (0, 0, 0, 0)


@pytest.mark.parametrize("granule", [1, 512, 4096, 16384, 65536])
def test_blocks_of_any_granule_have_a_class(granule: int) -> None:
    list_ = phyr.Phyr.from_chunks([(MIB, MIB + granule)], granule=granule)
    buckets = report.bucket_bytes(list_)
    assert sum(buckets) == MIB + granule
    assert buckets[1] >= MIB


# phyr demo


def test_the_demo_runs_anywhere_and_repeats() -> None:
    first = run("demo", "--seed", "7", "--size", "8 MiB")
    assert first.exit_code == 0
    assert first.stdout == run("demo", "--seed", "7", "--size", "8M").stdout
    assert first.stdout != run("demo", "--size", "8M").stdout
    for word in ("phyr[", "bio_vec", "scatterlist", "list of tuples", "a slice"):
        assert word in first.stdout


def test_the_demo_shows_the_same_address_twice() -> None:
    addresses = re.findall(r"phyr\[.*\] +(0x[0-9a-f]+)", run("demo").stdout)
    assert len(addresses) == 2
    assert addresses[0] == addresses[1]


@pytest.mark.parametrize("size", ["1", "4096", "4097", "300", "4K", "1 GiB", "64kb", "2 mib"])
def test_the_demo_takes_sizes(size: str) -> None:
    assert run("demo", "--size", size).exit_code == 0


@pytest.mark.parametrize("size", ["0", "-5", "x", "", "K", "1.5M", "17G", "1T", "٣"])
def test_the_demo_refuses_what_is_no_size(size: str) -> None:
    result = run("demo", f"--size={size}")
    assert result.exit_code == 2
    assert repr(size) in result.stderr


def test_simulated_memory_has_no_page_twice() -> None:
    chunks = sorted(demo.scatter(256 * MIB + 1, seed=3))
    assert sum(length for _, length in chunks) == 256 * MIB + 4096
    for (paddr, length), (after, _) in pairwise(chunks):
        assert paddr + length <= after
        assert paddr % 4096 == length % 4096 == 0
    assert chunks[-1][0] < demo.MEMORY


# The entrance


def test_version() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"phyr, version {phyr.__version__}\n")


def test_help_names_the_commands() -> None:
    for arguments in ((), ("-h",)):
        result = run(*arguments)
        assert "map " in result.output
        assert "demo " in result.output


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    monkeypatch.setattr(__main__, "find_spec", lambda name: None if name == missing else True)
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_without_the_extra_the_module_says_so_too() -> None:
    code = "import sys, runpy; sys.modules['click'] = None; "
    code += "import importlib.util as util; real = util.find_spec; "
    code += "util.find_spec = lambda name: None if name == 'click' else real(name); "
    code += "runpy.run_module('phyr', run_name='__main__')"
    done = python("-c", code)
    assert done.returncode == 2
    assert done.stderr == ("phyr: the command line takes more packages: pip install 'phyr[cli]'\n")


def test_the_package_runs_as_a_module(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["phyr", "--version"])
    monkeypatch.delitem(sys.modules, "phyr.__main__")
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("phyr", run_name="__main__", alter_sys=True)
    assert caught.value.code == 0
    assert phyr.__version__ in capsys.readouterr().out


def test_neither_numpy_nor_rich_is_imported_for_nothing() -> None:
    code = """
import sys
import phyr, phyr.pagemap
assert not {"numpy", "click", "rich", "ctypes"} & set(sys.modules), sys.modules
import phyr.cli
assert not {"numpy", "rich", "ctypes"} & set(sys.modules), sys.modules
"""
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")


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
