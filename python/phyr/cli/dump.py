"""``phyr dump``, ``phyr show`` and ``phyr diff``: processes kept in files, and compared."""

from pathlib import Path
from typing import Any

import click

from phyr.cli.choose import every, take_pids
from phyr.cli.common import refusing, warn
from phyr.cli.escape import escaped
from phyr.pagemap.proc import Pid

__all__ = ["diff", "dump", "show"]


_DUMP = """\b
Examples:
  phyr dump 1234 -o before.phyr"""


@click.command("dump", epilog=_DUMP)
@click.argument("pid", metavar="PID|self")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where to.",
)
def dump(pid: str, output: Path) -> None:
    """Save the physical memory of a process in a file.

    The file holds each VMA with the list of its pages, host, start of the kernel, and time. Only
    its owner can read it, since physical addresses are for root to see.
    """
    from phyr.cli.report import spell  # noqa: PLC0415
    from phyr.cli.saved import Origin, Saved, save  # noqa: PLC0415
    from phyr.cli.scan import Looks, scan  # noqa: PLC0415

    with refusing():
        saved = Saved(Origin.here(), scan(take_pid(pid), Looks(every, stretches=True)))
        size = save(output, saved)
    resident = sum(row.resident.ram for row in saved.process.rows)
    click.echo(f"{spell(resident)} resident in {len(saved.process.rows):,} VMAs: {spell(size)}")


def take_pid(text: str) -> Pid:
    """Read one process number, or ``self``."""
    try:
        (pid,) = take_pids([text])
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return pid


_SHOW = """\b
Examples:
  phyr show before.phyr
  phyr show before.phyr --orders --rollup
  phyr show before.phyr --json --chunks"""


@click.command("show", epilog=_SHOW)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--rollup", is_flag=True, help="Show totals only.")
@click.option("--orders", is_flag=True, help="Show a histogram of aligned blocks.")
@click.option("--chunks", is_flag=True, help="With --json: each chunk.")
@click.option("--all", "everything", is_flag=True, help="List every VMA, joined with none.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as phyr map does.")
def show(file: Path, **options: Any) -> None:  # noqa: ANN401 - as click has it
    """Show a saved process; needs no rights but to read the file."""
    if options["chunks"] and not options["as_json"]:
        raise click.UsageError("--chunks needs --json.")
    from phyr.cli.saved import load  # noqa: PLC0415

    with refusing():
        origin, process = load(file)
    if options["as_json"]:
        import json  # noqa: PLC0415

        from phyr.cli.machine import as_json  # noqa: PLC0415
        from phyr.cli.scan import Skipped  # noqa: PLC0415

        told = as_json([process], Skipped(), rollup=options["rollup"], chunks=options["chunks"])
        click.echo(json.dumps({**told, "origin": origin._asdict()}, indent=2))
        return
    from phyr.cli.show import show as shown  # noqa: PLC0415

    words = (f"{process.pid} {process.command}", origin.host, origin.kernel, origin.time)
    click.echo(", ".join(map(escaped, words)))
    shown([process], {**options, "sort": None, "top": None})


_DIFF = """\b
Examples:
  phyr diff before.phyr after.phyr
  phyr diff --against before.phyr 1234    a file, and the process now"""


@click.command("diff", epilog=_DIFF)
@click.argument("sources", metavar="[FILE] FILE|PID", nargs=-1, required=True)
@click.option("--against", metavar="FILE", help="The look before, if only the later one is named.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, sizes in bytes.")
def diff(sources: tuple[str, ...], against: str | None, *, as_json: bool) -> None:
    """Compare two looks at a process.

    For each VMA: bytes that lie where they lay, that moved to other physical pages, that appeared
    and that vanished; bytes in chunks that were merged, and of chunks that were split; and its
    chunks before and after.
    """
    looks = sources if against is None else (against, *sources)
    if len(looks) != 2:  # noqa: PLR2004 - before and after
        raise click.UsageError("Name two looks: FILE FILE, FILE PID, or --against FILE PID.")
    from phyr.cli.compare import compare  # noqa: PLC0415
    from phyr.cli.source import read_source  # noqa: PLC0415

    with refusing():
        first, second = map(read_source, looks)
        changes = compare(first.process, second.process)
    if first.origin.boot_id != second.origin.boot_id:
        warn("the two are of different machines, or starts of the kernel: all addresses differ")
    if as_json:
        import json  # noqa: PLC0415

        report = {
            "version": 1,
            "before": first.origin._asdict(),
            "after": second.origin._asdict(),
            "vmas": [change._asdict() for change in changes],
        }
        click.echo(json.dumps(report, indent=2))
    else:
        _print_changes(changes)


def _print_changes(changes: Any) -> None:  # noqa: ANN401
    from phyr.cli.report import spell  # noqa: PLC0415

    heads = ("same", "moved", "appeared", "vanished", "merged", "split")
    click.echo(f"{'start':>14}{''.join(f'{head:>11}' for head in heads)}{'chunks':>19}  name")
    total = [0] * 8
    for change in changes:
        figures = change[2:]
        total = [before + more for before, more in zip(total, figures, strict=True)]
        if any(figures[1:6]) or figures[6] != figures[7]:
            click.echo(f"{change.start:#14x}{_cells(figures, spell)}  {change.name}")
    click.echo(f"{'total':>14}{_cells(total, spell)}  {len(changes):,} VMAs")


def _cells(figures: Any, spell: Any) -> str:  # noqa: ANN401
    sizes = "".join(f"{spell(size):>11}" for size in figures[:6])
    return f"{sizes}{f'{figures[6]:,} > {figures[7]:,}':>19}"
