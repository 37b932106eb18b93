"""The tables of the command line: columns that fit the terminal, and numbers never cut."""

from phyr._named import Iterator, Sequence
from phyr.cli.lines import Line, fitted, grouped, ordered
from phyr.cli.report import BUCKETS, shares, spell
from phyr.cli.styled import Plain, Styled, print_lines, width_of
from phyr.cli.summary import GAP, last_none, node_name
from phyr.pagemap.page_flags import Folios

TYPE_CHECKING = False  # a name that type checkers know, as of `typing`
if TYPE_CHECKING:
    from typing import TypeAlias

    from rich.console import Console

__all__ = [
    "columns",
    "folio_cells",
    "process_cells",
    "process_head",
    "show_lines",
]

_NARROWEST_NAME = 16
_SHADES = "░▒▓█"
_SHADES_HEAD = "░4K ▒64K ▓2M █1G"
_WIDE = 150  # columns of a terminal that has room for a bar of each VMA
_FIGURES = (
    "range",
    "size",
    "resident",
    "chunks",
    "list",
    "largest",
    *(name for name, _ in BUCKETS),
)
_FOLIOS = ("range", "size", "resident", "huge", "mTHP", "part", "hugetlb", "anon", "file")
_HUGE = 2 << 20


def show_lines(  # noqa: PLR0913 - the options of a command
    out: "Console | Plain",
    lines: Sequence[Line],
    *,
    sort: str = "address",
    top: int | None = None,
    everything: bool = False,
    below: int = 0,
) -> None:
    """Print the table of VMAs.

    Args:
        out: Where to; a terminal shows no more lines than it has, unless `everything` is asked for.
        lines: One for each VMA, in the order of addresses.
        sort: A key of `phyr.cli.lines.SORTS`.
        top: How many lines, all by default.
        everything: List VMAs with nothing resident, too, and join none.
        below: Lines of the screen that something else takes.
    """
    listed = [line for line in lines if everything or line.ram]
    fits = out.is_terminal and not everything
    if fits:
        listed = grouped(listed)
    listed = ordered(listed, sort, top)
    width = width_of(out)
    bars = out.is_terminal and out.width >= _WIDE
    if fits and top is None:
        # On a narrow terminal a line takes two.
        tall = 1 if _room(*_table(listed, bars=bars), width) >= _NARROWEST_NAME else 2
        listed, rest = fitted(listed, max((out.height - below - 1) // tall - 1, 2))
        listed += [rest] if rest else []
    print_lines(out, columns(*_table(listed, bars=bars), width))


_Rows: "TypeAlias" = list[tuple[Sequence[str], str]]


def _table(lines: Sequence[Line], *, bars: bool) -> tuple[Sequence[str], _Rows]:
    """Give the titles and the rows of a table, with a bar in each if asked for."""
    figures = _folio_figures if any(line.folios for line in lines) else _figures
    nodes = sorted({node for line in lines for node in line.nodes or {}}, key=last_none)
    head = (*figures(None), *(node_name(node) for node in nodes), *([_SHADES_HEAD] if bars else []))

    def cells(line: Line) -> tuple[str, ...]:
        of_nodes = (spell((line.nodes or {}).get(node, 0)) for node in nodes)
        return (*figures(line), *of_nodes, *([shaded(line.buckets)] if bars else []))

    return head, [(cells(line), _name(line)) for line in lines]


def shaded(buckets: Sequence[int]) -> str:
    """Draw the shares of memory in blocks of each class, from the smallest on.

    A class that has any memory has a part of the bar.

    Examples:
        >>> shaded((4096, 0, 4096, 0)), shaded((1, 0, 1 << 30, 0)), shaded((0, 0, 0, 0)).strip()
        ('░░░░░░░░▓▓▓▓▓▓▓▓', '░▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓', '')
    """
    width, whole = len(_SHADES_HEAD), sum(buckets)
    if not whole:
        return " " * width
    parts = [max(part * width // whole, 1) if part else 0 for part in buckets]
    parts[max(range(len(buckets)), key=lambda number: buckets[number])] += width - sum(parts)
    return "".join(shade * part for shade, part in zip(_SHADES, parts, strict=True))


def _name(line: Line) -> str:
    return line.name if line.vmas == 1 or line.name[:1] == "(" else f"{line.name} ({line.vmas})"


def _figures(line: Line | None) -> tuple[str, ...]:
    if line is None:
        return _FIGURES
    return (
        f"{line.start:#x}+{line.end - line.start:#x}",
        spell(line.size),
        spell(line.ram),
        f"{line.chunks:,}",
        spell(line.list_bytes),
        spell(line.largest),
        *shares(line.buckets),
    )


def _folio_figures(line: Line | None) -> tuple[str, ...]:
    if line is None:
        return _FOLIOS
    return (
        f"{line.start:#x}+{line.end - line.start:#x}",
        spell(line.size),
        spell(line.ram),
        *folio_cells(line.folios or Folios()),
    )


def process_head(lines: Sequence[Line]) -> tuple[str, ...]:
    """Give the titles of the table of processes."""
    figures = _folio_figures if any(line.folios for line in lines) else _figures
    return ("pid", *figures(None)[1:])


def process_cells(line: Line) -> tuple[str, ...]:
    """Spell the figures of a process, whose number is in `start`."""
    figures = _figures if line.folios is None else _folio_figures
    return (str(line.start or "self"), *figures(line)[1:])


def folio_cells(folios: Folios) -> list[str]:
    """Spell the bytes in whole huge pages, smaller whole ones, parts, hugetlb, and single pages."""
    thp = [folio for folio in folios.large if folio.origin == "thp" and folio.shape != "part"]
    figures = (
        sum(folio.length for folio in thp if folio.size >= _HUGE),
        sum(folio.length for folio in thp if folio.size < _HUGE),
        folios.large_bytes(origin="thp", shape="part"),
        folios.large_bytes(origin="hugetlb"),
        folios.anon + folios.ksm,
        folios.file,
    )
    return [spell(figure) if figure else "-" for figure in figures]


def columns(
    head: Sequence[str], rows: Sequence[tuple[Sequence[str], str]], width: int
) -> Iterator[Styled]:
    """Lay rows out: one line each where that fits in `width`, else two, with the name in the first.

    Args:
        head: Titles of all columns but the last, which is the name.
        rows: Cells and name of each.
        width: Columns of the terminal.
    """
    widths = _widths(head, rows)
    room = _room(head, rows, width)
    for number, (line, name) in enumerate([(head, "name"), *rows]):
        style = "" if number else "bold"
        first = (f"{line[0]:{widths[0]}}", style or "cyan")
        figures = [
            (f"{GAP}{text:>{wide}}", "dim" if text in ("-", "0") else style)
            for text, wide in zip(line[1:], widths[1:], strict=True)
        ]
        if room >= _NARROWEST_NAME:
            yield (first, *figures, (GAP + _cut(name, room), style))
        else:
            yield (first, (GAP + _cut(name, width - widths[0] - len(GAP)), style))
            yield tuple(figures)


def _widths(head: Sequence[str], rows: Sequence[tuple[Sequence[str], str]]) -> list[int]:
    cells = [head, *(cells for cells, _ in rows)]
    return [max(len(line[number]) for line in cells) for number in range(len(head))]


def _room(head: Sequence[str], rows: Sequence[tuple[Sequence[str], str]], width: int) -> int:
    """Give the columns left for a name beside the figures."""
    widths = _widths(head, rows)
    return width - sum(widths) - len(GAP) * len(widths)


def _cut(name: str, room: int) -> str:
    """Shorten a name at the front, because the end of a path tells more."""
    return name if len(name) <= room else f"…{name[1 - room :]}"
