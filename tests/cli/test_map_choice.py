"""``phyr map``: of which processes and areas."""

import os
import subprocess
from pathlib import Path

import pytest

import phyr
from phyr.cli import choose
from support.live import end, linux, shown
from support.processes import running
from support.shown_map import run, vma


def test_processes_of_a_cgroup_and_of_those_inside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(choose, "_CGROUPS", tmp_path)
    (tmp_path / "slice/inner").mkdir(parents=True)
    (tmp_path / "slice/empty").mkdir()
    (tmp_path / "slice/cgroup.procs").write_text("12\n0\n7\n")
    (tmp_path / "slice/inner/cgroup.procs").write_text("7\n9\n")
    for spelt in ("slice", "/slice", str(tmp_path / "slice")):
        assert choose.choose([], [spelt], []) == ([7, 9, 12], [])
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
    assert choose.choose([3, "self", 3], [], []) == ([3, "self"], [3, "self"])


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
        ("0x1-2", []),
        ("0x1000+0x2000", [0, 1]),
        ("0x1fff+0x1", [0]),
        ("0x2000+0X2001", [1, 2, 3]),
        ("4096", []),
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


@pytest.mark.parametrize("text", ["0x2000-0x1000", "0x1000+0", f"0x2+{2**64 - 1}"])
def test_a_range_of_no_bytes_is_refused(text: str) -> None:
    result = run("self", "--vma", text)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is empty, ends before it starts or passes 2^64" in result.stderr


@pytest.mark.parametrize("text", ["0x", "0xg-0x1", "0x1000-", "0x1_0", "0x1+-0x1x", "0X 1"])
def test_what_starts_as_an_address_and_is_none_is_refused(text: str) -> None:
    result = run("self", "--vma", text)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is neither an address such as 0x1000, nor a range" in result.stderr


def ranges(*arguments: str) -> list[str]:
    """Return the ranges in the first column."""
    lines = run(*arguments, "--all").stdout.splitlines()
    return [line.split()[0] for line in lines if line.startswith("0x")]


@shown
def test_the_range_that_is_printed_is_taken_back() -> None:
    with running("print('ready', flush=True); input()") as pid:
        (span,) = ranges(str(pid), "--vma", "heap")
        assert ranges(str(pid), "--vma", span) == [span]


@shown
@pytest.mark.parametrize("more", [(), ("--json",), ("--rollup",)])
def test_it_is_said_if_no_vma_fits(more: tuple[str, ...]) -> None:
    result = run("self", "--vma", "no such name", *more)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "phyr: no VMA fits --vma\n"


@shown
def test_of_named_and_found_processes_only_the_named_must_be_readable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    me, gone = os.getpid(), 1 << 30
    monkeypatch.setattr(choose, "running", lambda: [me, gone])
    assert choose.choose([me], [], ["*"]) == ([me, gone], [me])
    result = run(str(me), "--name", "*", "--rollup")
    assert (result.exit_code, result.stderr.count("1 process left out")) == (0, 1)
    assert run(str(gone), "--name", "*", "--rollup").exit_code == 2
