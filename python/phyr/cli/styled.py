"""Lines with styles, and where they go: to a terminal by rich, elsewhere as plain text."""

import io
import os
import sys

TYPE_CHECKING = False  # a name that type checkers know, as of `typing`
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    from rich.console import Console
    from rich.text import Text

__all__ = ["Plain", "Styled", "console", "output", "print_lines", "width_of"]

Styled: "TypeAlias" = tuple[tuple[str, str], ...]
"""The parts of a line: text, and ``bold``, ``cyan``, ``dim`` or nothing."""

_USUAL_WIDTH = 80
_FORCED = ("FORCE_COLOR", "TTY_COMPATIBLE")


class Plain:
    """Standard output that is no terminal, or a text that is kept."""

    is_terminal = False
    width = sys.maxsize
    height = sys.maxsize

    def __init__(self, file: io.StringIO | None = None) -> None:
        """Write to `file`, by default standard output."""
        self._file = file

    def write(self, line: object) -> None:
        """Write a line without its styles."""
        text = "".join(part for part, _ in line) if isinstance(line, tuple) else str(line)
        print(text, file=self._file)


def console() -> "Console":
    """Make rich's console for standard output. Characters that it cannot show are escaped."""
    from rich.console import Console  # noqa: PLC0415 - takes longer than many a map

    _escape()
    console = Console(highlight=False)
    if console.width < 1:
        # COLUMNS=0 means that the width is unknown; rich would print nothing.
        console.width = _USUAL_WIDTH
    return console


def output() -> "Console | Plain":
    """Give rich's console where there is a terminal, or one is asked for, else plain output."""
    if sys.stdout.isatty() or any(os.environ.get(name) for name in _FORCED):
        return console()
    _escape()
    return Plain()


def _escape() -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def print_lines(out: "Console | Plain", lines: "Iterable[str | Styled | Text]") -> None:
    """Print lines as they are."""
    if isinstance(out, Plain):
        for line in lines:
            out.write(line)
        return
    from rich.text import Text  # noqa: PLC0415

    for line in lines:
        shown = Text.assemble(*line) if isinstance(line, tuple) else line
        out.print(shown, soft_wrap=True, markup=False)


def width_of(out: "Console | Plain") -> int:
    """Give the columns there are; any number where it is no terminal."""
    return out.width if out.is_terminal else sys.maxsize
