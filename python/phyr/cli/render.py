"""What ``phyr map`` shows: columns that fit the terminal, and numbers that are never cut."""

import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from phyr.cli.report import BUCKETS, Row, Total, blocks, shares, spell
from phyr.pagemap.proc import Vma

__all__ = ["LateBar", "console", "show_map"]

_PATIENCE = 0.5  # seconds before a progress bar shows
_HEAD = (
    "range",
    "size",
    "resident",
    "chunks",
    "list",
    "largest",
    *(name for name, _ in BUCKETS),
)
_GAP = "  "
_NARROWEST_NAME = 16
_USUAL_WIDTH = 80


def console() -> Console:
    """Make the console for standard output; a name it cannot spell is escaped, not an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    console = Console(highlight=False)
    if console.width < 1:
        # A COLUMNS of 0 says that the width is not known; rich would print nothing.
        console.width = _USUAL_WIDTH
    return console


class LateBar:
    """A progress bar on standard error: for a terminal, and only once it takes long."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        """Start waiting; `total` is in bytes."""
        self._total = total
        self._console = console or Console(stderr=True)
        self._before = 0
        self._since = monotonic()
        self._bar: Progress | None = None

    def leave(self, length: int) -> None:
        """Count a VMA of so many bytes as done."""
        self._before += length

    def reach(self, done: int, _length: int) -> None:
        """Show how far it is in the present VMA."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._before + done)
        elif self._console.is_terminal and monotonic() - self._since > _PATIENCE:
            columns = TextColumn("reading"), BarColumn(), TaskProgressColumn()
            self._bar = Progress(
                *columns, console=self._console, transient=True, redirect_stdout=False
            )
            self._bar.add_task("reading", total=self._total, completed=self._before + done)
            self._bar.start()

    def close(self) -> None:
        """Take it away."""
        if self._bar is not None:
            self._bar.stop()


def show_map(out: Console, rows: Sequence[Row], *, everything: bool, device_known: bool) -> None:
    """Print the table of VMAs and the total.

    Args:
        out: Where to.
        rows: One for each VMA.
        everything: List VMAs with nothing resident, too.
        device_known: False if device memory could not be told from RAM.
    """
    listed = [row for row in rows if everything or row.resident.ram]
    width = out.width if out.is_terminal else sys.maxsize
    _print(out, _table(listed, width))
    _print(out, _summary(Total.of(rows), [row.vma.length for row in rows], width))
    if left := [row.vma.length for row in rows if not (everything or row.resident.ram)]:
        _print(out, _titled("rest", [_areas(left), "nothing resident", "listed by --all"], width))
    if not device_known:
        _print(
            out, _titled("note", ["/proc/iomem hides where RAM is", "so all counts as RAM"], width)
        )


def _print(out: Console, lines: Iterable[str | Text]) -> None:
    for line in lines:
        out.print(line, soft_wrap=True, markup=False)


def _table(rows: Sequence[Row], width: int) -> Iterator[Text]:
    """Lay rows out: one line each where it fits in `width`, else two, the range and name first."""
    cells = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[number]) for line in cells) for number in range(len(_HEAD))]
    names = ["name", *(_name(row.vma) for row in rows)]
    room = width - sum(widths) - len(_GAP) * len(widths)
    for number, (line, name) in enumerate(zip(cells, names, strict=True)):
        style = "" if number else "bold"
        first = Text(f"{line[0]:{widths[0]}}", style or "cyan")
        figures = Text(style=style)
        for text, wide in zip(line[1:], widths[1:], strict=True):
            figures.append(f"{_GAP}{text:>{wide}}", "dim" if text in ("-", "0") else "")
        if room >= _NARROWEST_NAME:
            yield first + figures + Text(_GAP + _cut(name, room), style)
        else:
            yield first + Text(_GAP + _cut(name, width - widths[0] - len(_GAP)), style)
            yield figures


def _cells(row: Row) -> tuple[str, ...]:
    return (
        f"{row.vma.start:#x}+{row.vma.length:#x}",
        spell(row.vma.length),
        spell(row.resident.ram),
        f"{row.chunks:,}",
        spell(row.cost.phyr),
        spell(row.largest),
        *shares(row.buckets),
    )


def _name(vma: Vma) -> str:
    """Give the VMA's name, fit for a terminal: a file's name may hold anything."""
    name = vma.name or "(anonymous)"
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in name
    )


def _cut(name: str, room: int) -> str:
    """Shorten a name from the front, since the end of a path tells more."""
    return name if len(name) <= room else f"…{name[1 - room :]}"


def _summary(total: Total, vmas: Sequence[int], width: int) -> Iterator[Text]:
    states = [
        f"{spell(total.states[state])} {words}"
        for state, words in (
            ("ram", "resident"),
            ("device", "device memory"),
            ("zero", "zero pages"),
            ("swap", "swapped"),
        )
        if state == "ram" or total.states[state]
    ]
    yield Text()
    yield from _titled("total", [_areas(vmas), *states], width)
    yield from _titled("chunks", [f"{total.chunks:,}", f"largest {spell(total.largest)}"], width)
    yield from _titled("blocks", blocks(total.buckets), width)
    yield from _titled("bytes", total.cost.spelt(total.chunks), width)


def _areas(lengths: Sequence[int]) -> str:
    """Spell how many VMAs these are, and their bytes."""
    return f"{len(lengths):,} VMA{'' if len(lengths) == 1 else 's'} of {spell(sum(lengths))}"


def _titled(title: str, parts: Sequence[str], width: int) -> Iterator[Text]:
    """Lay parts out beside a title, as many in a line as fit."""
    line = ""
    for part, comma in zip(parts, [*"," * (len(parts) - 1), ""], strict=True):
        if line and len(line) + len(part) + 10 > width:
            yield Text.assemble((f"{title:8}", "bold"), line)
            title = line = ""
        line += f"{' ' if line else ''}{part}{comma}"
    yield Text.assemble((f"{title:8}", "bold"), line)
