"""The output of ``phyr map``: one process VMA by VMA, or several processes in one line each."""

from phyr._named import Iterator, Sequence
from phyr.cli.escape import escaped
from phyr.cli.report import Row, Total
from phyr.cli.scan import Scanned, rows_of
from phyr.cli.styled import Plain, Styled, output, print_lines, width_of
from phyr.cli.summary import areas, folio_lines, order_lines, summary, titled

TYPE_CHECKING = False  # a name that type checkers know, as of `typing`
if TYPE_CHECKING:
    from typing import Any

    from rich.console import Console

__all__ = ["show"]


def show(
    scanned: Sequence[Scanned], options: "dict[str, Any]", out: "Console | Plain | None" = None
) -> None:
    """Print tables, the total, and the other requested parts; by default to standard output."""
    out = output() if out is None else out
    width = width_of(out)
    rows = rows_of(scanned)
    below = list(_below(scanned, rows, options, width))
    sort, top = options["sort"] or "address", options["top"]
    everything = options["everything"]
    if len(scanned) > 1 and not everything:
        _processes(out, scanned, sort, top)
    elif not options["rollup"]:
        from phyr.cli.lines import Line  # noqa: PLC0415 - totals take no table
        from phyr.cli.render import show_lines  # noqa: PLC0415

        for process in scanned:
            if len(scanned) > 1:
                print_lines(out, [((f"{process.pid} {escaped(process.command)}", "bold"),)])
            show_lines(
                out,
                [Line.of(row) for row in process.rows],
                sort=sort,
                top=top,
                everything=everything,
                below=len(below) + options.get("above", 0),
            )
    print_lines(out, below)


def _below(
    scanned: Sequence[Scanned], rows: Sequence[Row], options: "dict[str, Any]", width: int
) -> Iterator[str | Styled]:
    """Return the lines below the table: the total, and the other requested parts."""
    total = Total.of(rows)
    yield from summary(total, [row.vma.length for row in rows], width)
    left = [row.vma.length for row in rows if not row.resident.ram]
    if left and not (options["everything"] or options["rollup"]):
        yield from titled("rest", [areas(left), "nothing resident", "listed by --all"], width)
    if not all(process.device_known for process in scanned):
        note = ["/proc/iomem hides where RAM is", "so all counts as RAM"]
        yield from titled("note", note, width)
    if options["orders"]:
        yield from order_lines(total.orders, scanned[0].granule if scanned else 4096)
    if total.folios is not None:
        both = [pair for process in scanned for pair in process.pmd_mapped.values()]
        pmd_mapped = sum(anon for anon, _ in both), sum(file for _, file in both)
        yield from folio_lines(total.folios, pmd_mapped)


def _processes(
    out: "Console | Plain", scanned: Sequence[Scanned], sort: str, top: int | None
) -> None:
    """Print a line for each process."""
    from phyr.cli.lines import Line, ordered  # noqa: PLC0415 - one process takes no such table
    from phyr.cli.render import columns, process_cells, process_head  # noqa: PLC0415

    lines = []
    for process in scanned:
        if process.rows:
            line = Line.joined(map(Line.of, process.rows), escaped(process.command) or "-")
            # In the order of numbers where it is that of addresses.
            lines.append(line._replace(start=0 if process.pid == "self" else process.pid))
    listed = ordered(lines, sort, top)
    cells = [(process_cells(line), line.name) for line in listed]
    print_lines(out, columns(process_head(listed), cells, width_of(out)))
