"""``phyr picture``: physical memory as a map, in a file or on the terminal."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phyr.cli.choose import range_of
from phyr.cli.common import Refusal, refusing, vma_option
from phyr.cli.extras import install

if TYPE_CHECKING:
    from phyr.cli.picture.drawing import Subject
    from phyr.cli.picture.layers import Painter

__all__ = ["picture"]

_ENDINGS = (".png", ".svg", ".html")
_CELLS = {".png": 512, ".svg": 512, ".html": 1024}
_EXAMPLES = """\b
Examples:
  phyr picture 1234 -o memory.png
  phyr picture 1234 -o memory.html          zoom, and point at cells
  phyr picture 1234 --terminal --by order
  phyr picture after.phyr --against before.phyr -o moved.svg"""


def _outputs(
    _context: click.Context, _parameter: click.Parameter, values: tuple[Path, ...]
) -> tuple[Path, ...]:
    for value in values:
        if value.suffix not in _ENDINGS:
            raise click.BadParameter(f"{str(value)!r} ends in none of {', '.join(_ENDINGS)}.")
    return values


def _span(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Any:  # noqa: ANN401 - as click has it
    if value is None:
        return None
    try:
        return range_of(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("picture", epilog=_EXAMPLES)
@click.argument("source", metavar="PID|self|FILE")
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    callback=_outputs,
    help="Where to: .png, .svg or .html; may be given several times.",
)
@click.option("--terminal", is_flag=True, help="Draw on the terminal, with half blocks.")
@click.option(
    "--by",
    type=click.Choice(["vma", "order", "node", "change"]),
    help="What colours mean.  [default: vma; with --against: change]",
)
@click.option(
    "--layout", type=click.Choice(["hilbert", "rows"]), default="hilbert", help="Folding."
)
@click.option("--against", metavar="FILE", help="An earlier look, as phyr dump saved it.")
@vma_option("As of map.")
@click.option(
    "--range", "span", metavar="0xSTART-0xEND", callback=_span, help="Physical addresses to show."
)
def picture(source: str, outputs: tuple[Path, ...], *, terminal: bool, **options: Any) -> None:  # noqa: ANN401
    """Draw physical memory as a map, and the sizes of its chunks beside it.

    Addresses run along a Hilbert curve, or in rows; a cell is a few pages. Colours tell VMAs, sizes
    of aligned blocks, NUMA nodes, or what moved since an earlier look. An .html file is one page
    that needs nothing else: it zooms, and shows what is under the pointer. Takes phyr[picture].
    """
    if options["by"] == "change" and options["against"] is None:
        raise click.UsageError("--by change needs --against FILE.")
    if not (outputs or terminal):
        raise click.UsageError("Say where to: -o FILE or --terminal.")
    try:
        import numpy  # noqa: F401, ICN001, PLC0415 - known to work only now

        if any(output.suffix != ".html" for output in outputs):
            import matplotlib  # noqa: F401, ICN001, PLC0415
    except ModuleNotFoundError:
        raise Refusal(f"pictures take more packages: {install('picture')}") from None
    with refusing():
        subject = _subject(source, options)
        painter = _painter(subject, options["by"] or ("change" if options["against"] else "vma"))
        for output in outputs:
            _write(subject, painter, output, options["layout"])
        if terminal:
            _show(subject, painter, options["layout"])


def _subject(source: str, options: dict[str, Any]) -> "Subject":
    from phyr.cli.picture.drawing import Subject  # noqa: PLC0415 - only where it is drawn
    from phyr.cli.source import is_file, read_source  # noqa: PLC0415
    from phyr.pagemap.proc import ram_ranges  # noqa: PLC0415

    against = options["against"]
    saved = read_source(source, options["wanted"])
    before = None if against is None else read_source(against, options["wanted"])
    return Subject(saved, before, None if is_file(source) else ram_ranges(), options["span"])


def _painter(subject: "Subject", by: str) -> "Painter":
    from phyr.cli.nodes import Nodes  # noqa: PLC0415
    from phyr.cli.picture import layers  # noqa: PLC0415

    if by == "change":
        return layers.by_change()
    if by == "order":
        return layers.by_order()
    if by == "node":
        return layers.by_node(Nodes.of_system())
    return layers.by_vma(subject.saved.process.rows)


def _write(subject: "Subject", painter: "Painter", output: Path, layout: str) -> None:
    from phyr.cli.picture.drawing import drawn  # noqa: PLC0415

    frame = subject.frame(_CELLS[output.suffix], layout)
    if output.suffix == ".html":
        from phyr.cli.picture import layers  # noqa: PLC0415
        from phyr.cli.picture.page import write_page  # noqa: PLC0415

        more = (layers.by_vma(subject.saved.process.rows), layers.by_order())
        others = [one for one in more if one.title != painter.title]
        write_page(subject, [painter, *others], frame, output)
    else:
        from phyr.cli.picture.plot import write  # noqa: PLC0415

        write(drawn(subject, painter, frame), output)


def _show(subject: "Subject", painter: "Painter", layout: str) -> None:
    from phyr.cli.picture.drawing import drawn  # noqa: PLC0415
    from phyr.cli.picture.terminal import lines, side_for  # noqa: PLC0415
    from phyr.cli.styled import console, print_lines  # noqa: PLC0415

    out = console()
    side = side_for(out.width, out.height)
    print_lines(out, lines(drawn(subject, painter, subject.frame(side, layout))))
