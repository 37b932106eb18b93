"""``phyr map --watch``: one screen, keys, what changed, and its end."""

import io
import os
import pty
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import phyr
from phyr import cli
from phyr.cli import scan, watch
from support.live import linux, shown
from support.processes import running
from support.shown_map import GIB, MIB, OPTIONS, process, row, vma
from support.terminal import in_terminal, plain


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Make a terminal of standard input; give the end to type at."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as typed:
        monkeypatch.setattr(sys, "stdin", typed)
        yield ours
    os.close(ours)


def rows(*sizes: int) -> list[scan.Scanned]:
    made = [
        row(vma(number * GIB, GIB, "/a/file"), [(number * GIB, size)])
        for number, size in enumerate(sizes, 1)
    ]
    return [process(made)]


@linux
def test_it_shows_sorts_by_keys_and_quits(keys: int, capsys: pytest.CaptureFixture[str]) -> None:
    looks = iter([rows(MIB), rows(4 * MIB, MIB)])
    os.write(keys, b"x")
    done: list[str] = []

    def read() -> list[scan.Scanned]:
        look = next(looks)
        if done:
            os.write(keys, b"cq")
        done.append("look")
        return look

    watch.watch(read, 60, OPTIONS)
    text = plain(capsys.readouterr().out)
    assert len(done) == 2
    assert "changes show from the second look on" in text
    assert "[a address] s size" in text
    assert "[c chunks]" in text
    assert "resident +4 MiB, chunks +1, in 2 MiB blocks +4 MiB" in text
    assert OPTIONS["sort"] is None


@linux
@pytest.mark.usefixtures("keys")
def test_the_end_of_the_process_ends_it_with_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    looks = iter([rows(MIB)])

    def read() -> list[scan.Scanned]:
        look = next(looks, None)
        if look is None:
            raise phyr.ProcessGoneError(3, "gone", pid=7)
        return look

    watch.watch(read, 0, OPTIONS)
    assert capsys.readouterr().out.endswith("phyr: it has ended\n")
    with pytest.raises(phyr.ProcessGoneError):
        watch.watch(read, 0, OPTIONS)


def test_what_changed_is_spelt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "vmstat"
    monkeypatch.setattr(watch, "_VMSTAT", file)
    assert watch.Moment.of(rows(MIB)).events == {}
    file.write_text("nr_free_pages 5\nthp_collapse_alloc 7\nthp_split_page 1\n")
    first = watch.Moment.of(rows(MIB))
    file.write_text("thp_collapse_alloc 1009\nthp_split_page 1\n")
    second = watch.Moment.of(rows(MIB))
    change, machine = second.since(first)
    assert change.endswith("s: nothing changed")
    assert machine == "this machine: 1,002 huge pages made by khugepaged"
    assert list(first.since(first))[1] == "this machine: no huge page made or split"


@shown
def test_on_a_terminal_it_leaves_the_screen_as_it_was() -> None:
    with running("print('ready', flush=True); input()") as pid:
        text = in_terminal(100, "map", str(pid), "--watch", "60", "--folios", keys=b"rq")
    assert "\x1b[?1049h\x1b[?25l" in text
    assert text.endswith("\x1b[?25h\x1b[?1049l")
    assert "[r resident]" in text
    screen = plain(text.rpartition("\x1b[H\x1b[2J")[2]).splitlines()
    assert len(screen) < 40
    assert "huge" in plain(text)


@shown
def test_ctrl_c_ends_it() -> None:
    with running("print('ready', flush=True); input()") as pid:
        text = in_terminal(100, "map", str(pid), "--watch", "60", interrupt_at="q quit")
    assert "Traceback" not in text
    assert "\x1b[?25h\x1b[?1049l" in text


@linux
def test_a_process_that_is_not_there_is_said() -> None:
    text = plain(in_terminal(100, "map", str(1 << 30), "--watch", "1"))
    assert "phyr: process 1073741824 is not there, or has ended" in text


@linux
@pytest.mark.usefixtures("keys")
def test_the_command_watches_what_it_was_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    seen: list[object] = []

    def looks(read: object, seconds: float, options: dict[str, object]) -> None:
        seen.extend([seconds, options["pids"], callable(read) and read()])

    monkeypatch.setattr(watch, "watch", looks)
    monkeypatch.setattr(scan, "scan_all", lambda *_: ("processes", "skipped"))
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", terminal)
    cli.phyr(["map", "self", "--watch", "2"], standalone_mode=False)
    assert seen == [2.0, ["self"], "processes"]
