"""``phyr map``, run: its output in every form, and how it refuses."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import phyr
from phyr import pagemap
from phyr.cli import choose, common, machine, report, scan
from support.live import end, linux, python, shown
from support.processes import running
from support.shown_map import GIB, KIB, MIB, process, row, run, vma


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
    monkeypatch.setattr(scan, "choose", lambda *_: choose.Chosen([3, 2, os.getpid()], []))
    result = run("--name", "x", "--rollup", "--folios")
    assert result.exit_code == 0
    assert result.stderr == (
        "phyr: 2 processes left out: 1 has no memory or ended, 1 may not be looked into\n"
    )
    monkeypatch.setattr(scan, "choose", lambda *_: choose.Chosen([3], []))
    assert run("--name", "x").stderr == "phyr: hidden\n"
    monkeypatch.setattr(scan, "choose", lambda *_: choose.Chosen([2], []))
    result = run("--name", "x", "--rollup")
    assert (result.exit_code, result.stderr) == (
        0,
        "phyr: 1 process left out: 1 has no memory or ended\n",
    )
    for named in (3, 2):
        monkeypatch.setattr(
            scan, "choose", lambda *_, n=named: choose.Chosen([os.getpid(), n], [n])
        )
        assert run("--name", "x").exit_code == 2
    monkeypatch.setattr(scan, "choose", lambda *_: choose.Chosen([3, os.getpid()], [os.getpid()]))
    assert run("--name", "x", "--rollup").exit_code == 0


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
