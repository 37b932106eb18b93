"""The command line: what it prints, on what width, and how it refuses."""

import os
import re
import runpy
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import phyr
from phyr import __main__, cli, desc
from phyr.cli import commands, demo, report
from support.live import python

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.phyr, arguments)


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


def test_a_pipe_that_nobody_reads_at_the_end_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        # It stays in the buffer.
        monkeypatch.setattr(click.Group, "main", lambda *_, **__: pipe.write("x"))
        with pytest.raises(SystemExit) as caught:
            cli.phyr([])
    assert caught.value.code == 1
    assert capsys.readouterr().err == ""


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


# Figures


def test_forms_of_a_list_cost_what_the_kernel_takes() -> None:
    links = {0: 0, 1: 0, 128: 0, 129: 1, 255: 1, 256: 2, 382: 2, 383: 3}
    for count, expected in links.items():
        list_ = phyr.Phyr.from_pfns([2 * number for number in range(count)])
        cost = report.Cost.of(list_)
        assert cost.bio_vec == 16 * count
        assert cost.scatterlist == 32 * (count + expected)
        assert cost.phyr >= 8 * count


@pytest.mark.parametrize("granule", [1, 512, 4096, 65536])
def test_forms_of_a_long_chunk_cost_what_is_written_for_it(granule: int) -> None:
    list_ = phyr.Phyr.from_chunks([(1 << 40, 64 * GIB)], granule=granule)
    cost = report.Cost.of(list_)
    assert (cost.bio_vec, cost.scatterlist) == (17 * 16, 17 * 32)
    for bytes_, table in [(cost.bio_vec, desc.bio_vecs), (cost.scatterlist, desc.scatterlist)]:
        assert bytes_ == len(table(list_, vmemmap=1 << 63).tobytes())


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


def test_the_list_of_commands_is_that_of_the_commands() -> None:
    group = cli.phyr
    context = click.Context(group)
    assert list(commands.COMMANDS) == group.list_commands(context)
    for name, (_, _, text) in commands.COMMANDS.items():
        command = group.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.get_short_help_str(200) == text
    assert run("no-such-command").exit_code == 2


def test_help_shows_examples() -> None:
    for name in commands.COMMANDS:
        result = run(name, "--help")
        assert result.exit_code == 0
        assert f"phyr {name} " in result.stdout


def test_a_shell_can_complete_commands_and_options() -> None:
    program = [sys.executable, "-m", "phyr"]
    words = {"_PHYR_COMPLETE": "bash_complete", "COMP_WORDS": "phyr ma", "COMP_CWORD": "1"}
    done = subprocess.run(  # noqa: S603 - ours
        program, env={**os.environ, **words}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "plain,map\n"


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
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_without_the_extra_the_module_says_so_too() -> None:
    code = "import sys, runpy; sys.modules['click'] = None; "
    code += "runpy.run_module('phyr', run_name='__main__')"
    done = python("-c", code)
    assert done.returncode == 2
    said = "phyr: the command line takes more packages: pip install '.[cli]' in a checkout\n"
    assert done.stderr == said


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
import phyr.cli, phyr.cli.map
assert not {"numpy", "rich", "ctypes", "json"} & set(sys.modules), sys.modules
"""
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")
