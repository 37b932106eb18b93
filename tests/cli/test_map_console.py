"""``phyr map``: the progress bar, colours and what a terminal cannot spell."""

import io
import sys

import pytest
from rich.console import Console

from phyr.cli import bar, styled
from support.live import python, shown
from support.shown_map import run
from support.terminal import in_terminal, plain


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


@pytest.mark.parametrize(("terminal", "patience"), [(True, -1), (True, 100), (False, -1)])
def test_a_bar_shows_on_a_terminal_once_it_takes_long(
    monkeypatch: pytest.MonkeyPatch, *, terminal: bool, patience: float
) -> None:
    monkeypatch.setattr(bar, "_PATIENCE", patience)
    file = io.StringIO()
    with bar.LateBar(100, Console(file=file, force_terminal=terminal)) as made:
        made.reach(10, 40)
        made.leave(40)
        made.reach(30, 60)
    assert ("70%" in file.getvalue()) == (terminal and patience < 0)


def test_the_bar_is_for_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bar, "_PATIENCE", -1)
    with bar.LateBar(1) as made:
        made.reach(1, 1)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        made.reach(1, 1)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("forced", [False, True])
def test_the_console_spells_what_the_terminal_cannot(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, forced: bool
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1" * forced)
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    styled.print_lines(styled.output(), [(("é", ""),)])
    sys.stdout.flush()
    assert raw.getvalue() == b"\\xe9\n"
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    styled.print_lines(styled.output(), ["é"])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("columns", ["0", "1", "80"])
def test_a_width_of_nothing_is_the_usual_one(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert styled.console().width == (int(columns) or 80)
