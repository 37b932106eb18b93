"""The man page: made of the help of all commands, and the one that the wheel has is the newest."""

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from phyr import cli
from phyr.cli import commands

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "python/data/data/share/man/man1/phyr.1"


def made() -> str:
    result = CliRunner().invoke(cli.phyr, ["--man"])
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_the_page_in_the_wheel_is_the_newest() -> None:
    assert PAGE.read_text() == made(), "write it anew: scripts/texts"


def test_it_has_each_option_of_each_command() -> None:
    plain = made().replace(r"\-", "-").replace(r"\e", "\\")
    for name in commands.COMMANDS:
        assert f"\n.SS {name}\n" in plain
        context = click.Context(cli.phyr)
        command = cli.phyr.get_command(context, name)
        assert command is not None
        part = plain.partition(f"\n.SS {name}\n")[2].partition("\n.SS ")[0]
        for parameter in command.params:
            for option in parameter.opts:
                assert not option.startswith("-") or option in part, (name, option)
        examples = re.findall(r"^  (phyr .*)", command.epilog or "", re.MULTILINE)
        assert examples
        assert all(example in part for example in examples)


def test_no_line_is_taken_for_a_request() -> None:
    known = {"TH", "SH", "SS", "PP", "TP", "nf", "fi"}
    for line in made().splitlines():
        if line.startswith((".", "'")):
            assert line[1:3] in known, line


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff: apt install groff")
def test_groff_sets_it_without_a_warning() -> None:
    program = ["groff", "-man", "-Tutf8", "-ww", "-K", "utf-8"]
    done = subprocess.run(program, input=made(), capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert done.stderr == ""
    assert "picture" in done.stdout
