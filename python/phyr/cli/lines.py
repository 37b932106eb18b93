"""The lines of the table: VMAs as they are, or joined until they fit a screen."""

from phyr._named import Callable, Iterable, NamedTuple, Sequence
from phyr.cli.escape import escaped
from phyr.cli.report import BUCKETS, Row
from phyr.pagemap.page_flags import Folios

TYPE_CHECKING = False  # a name that type checkers know, as of `typing`
if TYPE_CHECKING:
    from typing import Self

__all__ = ["SORTS", "Line", "fitted", "grouped", "ordered"]


class Line(NamedTuple):
    """One VMA or several, in one line."""

    start: int
    end: int
    size: int
    ram: int
    swap: int
    chunks: int
    list_bytes: int
    largest: int
    buckets: tuple[int, ...]
    name: str
    vmas: int = 1
    """How many are in it."""
    folios: Folios | None = None
    nodes: dict[int | None, int] | None = None

    @classmethod
    def of(cls, row: Row) -> "Self":
        """Make the line of one VMA."""
        return cls(
            row.vma.start,
            row.vma.end,
            row.vma.length,
            row.resident.ram,
            row.resident.swap,
            row.chunks,
            row.cost.phyr,
            row.largest,
            row.buckets,
            escaped(row.vma.name or "(anonymous)"),
            1,
            row.folios,
            row.nodes,
        )

    @classmethod
    def joined(cls, lines: "Iterable[Self]", name: str | None = None) -> "Self":
        """Make one line of several, at least one; by default with the first one's name."""
        lines = list(lines)
        nodes: dict[int | None, int] = {}
        for line in lines:
            for node, length in (line.nodes or {}).items():
                nodes[node] = nodes.get(node, 0) + length
        folios = [line.folios for line in lines if line.folios is not None]
        return cls(
            min(line.start for line in lines),
            max(line.end for line in lines),
            sum(line.size for line in lines),
            sum(line.ram for line in lines),
            sum(line.swap for line in lines),
            sum(line.chunks for line in lines),
            sum(line.list_bytes for line in lines),
            max(line.largest for line in lines),
            tuple(sum(line.buckets[number] for line in lines) for number in range(len(BUCKETS))),
            lines[0].name if name is None else name,
            sum(line.vmas for line in lines),
            Folios.total(folios) if folios else None,
            nodes if any(line.nodes is not None for line in lines) else None,
        )


SORTS: dict[str, Callable[[Line], tuple[int | str, ...]]] = {
    "address": lambda line: (line.start,),
    "size": lambda line: (-line.size, line.start),
    "resident": lambda line: (-line.ram, line.start),
    "swapped": lambda line: (-line.swap, line.start),
    "chunks": lambda line: (-line.chunks, line.start),
    "largest": lambda line: (-line.largest, line.start),
    "small": lambda line: (-line.buckets[0], line.start),
    "name": lambda line: (line.name, line.start),
}
"""Orders of lines; ``small`` puts what has most memory in blocks below 64 KiB first."""


def ordered(lines: Iterable[Line], sort: str, top: int | None) -> list[Line]:
    """Sort, and keep the first ones."""
    return sorted(lines, key=SORTS[sort])[:top]


def grouped(lines: Sequence[Line]) -> list[Line]:
    """Join neighbours of one name; those without a file stay apart."""
    groups: list[list[Line]] = []
    for line in lines:
        if groups and groups[-1][0].name == line.name and not line.name.startswith(("(", "[")):
            groups[-1].append(line)
        else:
            groups.append([line])
    return [Line.joined(group) for group in groups]


def fitted(lines: Sequence[Line], room: int) -> tuple[list[Line], Line | None]:
    """Keep as many lines as there is room for, the most resident ones; join the rest in one.

    Args:
        lines: In the order to be shown.
        room: Lines, at least one.

    Returns:
        What is shown, in the same order, and the rest, if there is any.
    """
    if len(lines) <= room:
        return list(lines), None
    most = sorted(range(len(lines)), key=lambda number: -lines[number].ram)
    kept, rest = sorted(most[: room - 1]), most[room - 1 :]
    name = f"({len(rest)} smaller ones)"
    return [lines[number] for number in kept], Line.joined([lines[n] for n in rest], name)
