"""``phyr map PID`` without click and rich: the same output, and everything unusual left alone."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import phyr.cli
from phyr import __main__, cli
from phyr.cli import quick
from phyr.cli.map import map_processes
from phyr.errors import ProcessGoneError
from support.live import python, shown
from support.processes import running
from support.terminal import in_terminal, plain

HOLD = """
import sys
area = bytearray(1 << 24)
print("ready", flush=True)
sys.stdin.read()
"""


@shown
@pytest.mark.parametrize(
    "options", [(), ("--rollup",), ("--rollup", "--folios"), ("--orders", "--all"), ("--folios",)]
)
def test_it_prints_what_click_prints(
    monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("TTY_COMPATIBLE", raising=False)
    with running(HOLD) as pid:
        arguments = [str(pid), *options]
        alone = python("-m", "phyr", "map", *arguments)
        assert (alone.returncode, alone.stderr) == (0, "")
        assert alone.stdout.startswith("\ntotal" if "--rollup" in options else "range")
        # Both look from one process, with which pages of files are shared; some may move meanwhile.
        for _ in range(10):
            quickly = (quick.mapped(arguments) or b"").decode()
            ordinary = CliRunner().invoke(cli.phyr, ["map", *arguments])
            if quickly == ordinary.stdout:
                break
        assert (ordinary.exit_code, quickly) == (0, ordinary.stdout)


@shown
def test_neither_click_nor_rich_is_imported() -> None:
    code = "import sys; sys.argv = ['phyr', 'map', 'self', '--rollup', '--folios']; "
    code += "import phyr.__main__ as m; m.main(); "
    code += "assert not {'click', 'rich', 'numpy', 'json', 'phyr.desc'} & set(sys.modules)"
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert "total " in done.stdout


@shown
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="named tuples are those of `typing` there")
def test_what_takes_long_to_import_is_not_imported() -> None:
    names = "array bisect collections contextlib functools importlib operator struct typing"
    names += " phyr._records phyr.cli.lines phyr.cli.render"
    code = "import sys; sys.argv = ['phyr', 'map', 'self', '--rollup']; before = {*sys.modules}; "
    code += "import phyr.__main__ as m; m.main(); found = {*sys.modules} - before; "
    code += f"assert not found & {{*{names!r}.split()}}, found"
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")


@shown
def test_a_terminal_has_it_too() -> None:
    text = in_terminal(100, "map", "self", "--rollup")
    assert "\x1b[1mtotal" in text
    assert plain(text).startswith("\ntotal ")


def test_the_options_are_those_of_click() -> None:
    with click.Context(map_processes) as context:
        map_processes.parse_args(context, ["7", "self", "--rollup", "--folios"])
    found = quick.options_of(["7", "--rollup", "self", "--folios"])
    assert found is not None
    by_click = dict(context.params)
    for options in (found, by_click):
        options.pop("wanted")
    assert found == by_click


@pytest.mark.parametrize(
    "arguments",
    [
        ["map", "--rollup"],
        ["map", "1", "--json"],
        ["map", "1", "--vma", "heap"],
        ["map", "0"],
        ["map", "--help"],
        ["dump", "1"],
        ["map", str(1 << 40)],
    ],
)
def test_the_rest_goes_the_ordinary_way(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["phyr", *arguments])
    assert not __main__._has_mapped()  # noqa: SLF001
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("completing", [False, True])
def test_without_an_output_and_for_completion_it_does_nothing(
    monkeypatch: pytest.MonkeyPatch, *, completing: bool
) -> None:
    monkeypatch.setattr(sys, "argv", ["phyr", "map", "self"])
    if completing:
        monkeypatch.setenv("_PHYR_COMPLETE", "bash_complete")
    else:
        monkeypatch.setattr(sys, "stdout", None)
    assert not __main__._has_mapped()  # noqa: SLF001


def test_errors_are_told_the_ordinary_way() -> None:
    done = python("-m", "phyr", "map", str(1 << 22 | 12345), "--rollup")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("phyr: process ")
    assert done.stderr.count("\n") == 1


@shown
@pytest.mark.parametrize("options", [["--rollup"], ["--rollup", "--vma", "stack"]])
def test_no_room_and_a_closed_pipe_are_as_by_any_command(options: list[str]) -> None:
    program = [sys.executable, "-m", "phyr", "map", "self", *options]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, check=False)  # noqa: S603 - ours
    assert (done.returncode, done.stderr) == (2, b"phyr: cannot write: No space left on device\n")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(program, stdout=writer, stderr=subprocess.PIPE, check=False)  # noqa: S603 - ours
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


class Reads:
    """Stands in for the reading of processes."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.failure = failure

    def __call__(self, _options: dict[str, Any]) -> tuple[list[Any], None, None]:
        """Read nothing, or fail."""
        if self.failure is not None:
            raise self.failure
        return [], None, None


class Fails:
    """Stands in for a write to a disk that is full."""

    def __call__(self, _fd: int, _data: bytes) -> int:
        """Fail."""
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_in_one_process(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("TTY_COMPATIBLE", raising=False)
    monkeypatch.setattr(quick, "read_asked", Reads())
    monkeypatch.setattr(sys, "argv", ["phyr", "map", "self", "--rollup"])
    __main__.main()
    whole = capfd.readouterr().out
    assert whole.startswith("\ntotal   0 VMAs of 0, 0 resident\n")
    with monkeypatch.context() as patch:
        write = os.write
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
        __main__.main()
    assert capfd.readouterr().out == whole
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", Fails())
        assert not __main__._has_mapped()  # noqa: SLF001
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert quick.mapped(["self", "--rollup"]) == b""
    assert "total" in capfd.readouterr().out
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "rich.console", None)
        assert quick.mapped(["self", "--rollup"]) is None
    monkeypatch.setattr(quick, "read_asked", Reads(ProcessGoneError(3, "gone")))
    assert quick.mapped(["self"]) is None
    monkeypatch.setattr(quick, "read_asked", Reads(KeyboardInterrupt()))
    with pytest.raises(SystemExit) as caught:
        quick.mapped(["self"])
    assert caught.value.code == 1
    assert capfd.readouterr() == ("", "\nAborted!\n")


def test_the_package_names_its_command_only() -> None:
    assert cli.phyr is phyr.cli.commands.phyr
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = cli.nothing  # type: ignore[attr-defined]
