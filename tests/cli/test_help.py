"""The stored text of ``phyr --help``: the same as the one that is made, and quickly there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from phyr import __main__, cli
from support.live import python
from support.terminal import in_terminal, plain

FILE = Path(__main__.__file__).parent / "cli/help.txt"


def made(width: int = 80) -> str:
    return CliRunner().invoke(cli.phyr, ["--help"], prog_name="phyr", terminal_width=width).stdout


def test_the_stored_help_is_the_newest() -> None:
    assert FILE.read_text() == made(), "write it anew: scripts/texts"


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_it_is_shown_without_an_import(option: str) -> None:
    code = f"import sys; sys.argv = ['phyr', {option!r}]; import phyr.__main__ as m; m.main()"
    code += "; assert not {'click', 'rich'} & set(sys.modules)"
    done = python("-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, made(), "")


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--help"], {"COLUMNS": "60"}),
        (["--help"], {"COLUMNS": "x"}),
        (["--help"], {"_PHYR_COMPLETE": "x"}),
        (["--version"], {}),
        (["map", "--help"], {}),
    ],
)
def test_other_questions_go_the_ordinary_way(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], environment: dict[str, str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["phyr", *arguments])
    assert not __main__._has_shown_help()  # noqa: SLF001


def test_it_is_written_to_standard_output(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "argv", ["phyr", "--help"])
    __main__.main()
    assert capfd.readouterr().out == made()
    monkeypatch.setattr(os, "isatty", lambda _: True)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((70, 20)))
    assert not __main__._has_shown_help()  # noqa: SLF001
    monkeypatch.setattr(__main__, "_HELP", "/no/such/file")
    monkeypatch.setattr(os, "isatty", lambda _: False)
    assert not __main__._has_shown_help()  # noqa: SLF001


def test_a_narrow_terminal_has_lines_that_fit() -> None:
    narrow = plain(in_terminal(60, "--help"))
    # Marked line ends stay where they are.
    prose = narrow.partition("Exit codes")[0].splitlines()
    assert max(map(len, prose)) <= 60
    wide = plain(in_terminal(100, "--help"))
    assert wide == made()


def test_no_room_is_said_as_by_any_command() -> None:
    with Path("/dev/full").open("w") as full:
        program = [sys.executable, "-m", "phyr", "--help"]
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, check=False)  # noqa: S603 - ours
    assert (done.returncode, done.stderr) == (2, b"phyr: cannot write: No space left on device\n")
