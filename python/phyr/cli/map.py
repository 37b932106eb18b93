"""``phyr map``: the physical memory of processes, VMA by VMA."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phyr.cli.choose import take_pids
from phyr.cli.common import Refusal, read_by, refusing, size_of, vma_option, warn
from phyr.cli.escape import escaped
from phyr.cli.extras import install

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phyr.cli.nodes import Nodes
    from phyr.cli.scan import Scanned

__all__ = ["map_processes"]

_SORTS = ("address", "size", "resident", "swapped", "chunks", "largest", "small", "name")
_PAGE_MAX = 1 << 30


def _sizes(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> Any:  # noqa: ANN401
    sizes = []
    for value in values:
        size = size_of(value)
        if not size or size & (size - 1) or size > _PAGE_MAX:
            raise click.BadParameter(f"{value!r} is no power of two up to 1 GiB, such as 64K.")
        sizes.append(size)
    return sizes


_EXAMPLES = """\b
Examples:
  phyr map 1234                        one screen of what a process has
  phyr map 1234 --rollup --folios      did it get its huge pages
  phyr map --name 'postgres*' --rollup --sort small
  phyr map --cgroup system.slice/redis.service --json
  phyr map self --vma heap --chunks    each chunk of the heap
  phyr map 1234 --watch 2              live; q quits"""


@click.command("map", epilog=_EXAMPLES)
@click.argument("pids", nargs=-1, metavar="[PID|self]...", callback=read_by(take_pids))
@click.option("--cgroup", "cgroups", multiple=True, metavar="PATH", help="Processes of a cgroup.")
@click.option("--name", "names", multiple=True, metavar="PATTERN", help="Processes by command.")
@click.option("--rollup", is_flag=True, help="Show totals only.")
@click.option("--orders", is_flag=True, help="Show a histogram of aligned blocks.")
@click.option(
    "--folios", is_flag=True, help="Look at page flags: THP, mTHP, hugetlb, whole or not."
)
@click.option(
    "--cont",
    "cont",
    multiple=True,
    metavar="SIZE",
    callback=_sizes,
    help="With --folios: memory in aligned blocks of SIZE, each inside one large page.",
)
@click.option("--chunks", is_flag=True, help="List each chunk.")
@click.option("--numa", is_flag=True, help="Show NUMA nodes.")
@vma_option("anon, file, heap, stack, 0xSTART-0xEND, 0xBASE+0xLENGTH, or a pattern of names.")
@click.option("--sort", type=click.Choice(_SORTS), help="Order of lines.  [default: address]")
@click.option("--top", type=click.IntRange(1), metavar="N", help="Show the first N lines only.")
@click.option("--all", "everything", is_flag=True, help="List every VMA, joined with none.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, sizes in bytes.")
@click.option(
    "--watch",
    type=click.FloatRange(0.1, 86400),
    metavar="SECONDS",
    help="Show it again and again; keys sort and quit.",
)
@click.option(
    "--arrow", type=click.Path(path_type=Path), metavar="FILE", help="Write chunks as Arrow."
)
@click.option(
    "--parquet", type=click.Path(path_type=Path), metavar="FILE", help="Write chunks as Parquet."
)
def map_processes(**options: Any) -> None:  # noqa: ANN401 - as click has it
    """Show the physical memory of processes.

    For each VMA: its range and size, what is resident in RAM, the chunks that makes, the bytes of
    their list, the largest chunk, and how much lies in aligned blocks from 4 KiB, 64 KiB, 2 MiB and
    1 GiB upwards. On a terminal, neighbours of one file are joined, and small ones summed up, until
    it fits; --all shows everything. Reading page numbers takes CAP_SYS_ADMIN; without it the exit
    code is 2.
    """
    if not (options["pids"] or options["cgroups"] or options["names"]):
        raise click.UsageError("Name a process: a PID, self, --cgroup or --name.")
    if options["cont"] and not options["folios"]:
        raise click.UsageError("--cont needs --folios.")
    files = [os.path.realpath(path) for path in (options["arrow"], options["parquet"]) if path]
    if len(files) > len(set(files)):
        raise click.UsageError("--arrow and --parquet name one file.")
    if files and options["as_json"]:
        raise click.UsageError("--json does not go with --arrow or --parquet.")
    if options["watch"] is not None:
        if options["as_json"] or not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise Refusal("--watch is for a terminal")
        from phyr.cli.scan import read_asked  # noqa: PLC0415
        from phyr.cli.watch import watch  # noqa: PLC0415

        with refusing():
            watch(lambda: read_asked(options)[0], options["watch"], options)
    elif options["arrow"] or options["parquet"]:
        _write(options)
    else:
        _print(options)


def _write(options: dict[str, Any]) -> None:
    """Read, and write files."""
    try:
        from phyr.cli.fleet import write  # noqa: PLC0415 - takes more packages
    except ModuleNotFoundError:
        raise Refusal(f"Arrow and Parquet take more packages: {install('fleet')}") from None
    from phyr.cli.scan import read_asked  # noqa: PLC0415

    with refusing():
        scanned, skipped, _ = read_asked(options)
        rows = write(scanned, options["arrow"], options["parquet"])
    click.echo(f"{rows:,} chunks of {len(scanned):,} process{'es' * (len(scanned) != 1)}")
    if any(skipped):
        warn(skipped.spelt())


def _print(options: dict[str, Any]) -> None:
    """Read, and print once."""
    from phyr.cli.scan import read_asked  # noqa: PLC0415 - only where memory is read

    with refusing():
        scanned, skipped, looks = read_asked(options)
    if options["as_json"]:
        import json  # noqa: PLC0415

        from phyr.cli.machine import as_json  # noqa: PLC0415

        report = as_json(scanned, skipped, rollup=options["rollup"], chunks=options["chunks"])
        click.echo(json.dumps(report, indent=2))
    elif options["chunks"]:
        for line in _chunk_lines(scanned, looks.nodes):
            click.echo(line)
    else:
        from phyr.cli.show import show  # noqa: PLC0415

        show(scanned, options)
    if any(skipped):
        warn(skipped.spelt())


def _chunk_lines(scanned: "list[Scanned]", nodes: "Nodes | None") -> "Iterator[str]":
    """Spell each chunk: where it is in virtual and in physical memory."""
    for process in scanned:
        yield f"{'uaddr':>14}  {'paddr':>14}  {'bytes':>12}  {'node  ' if nodes else ''}name"
        for row in process.rows:
            name = escaped(row.vma.name or "(anonymous)")
            for uaddr, phyr in row.stretches:
                at = uaddr
                for paddr, length in phyr.chunks:
                    place = f"{_node(nodes.of(paddr)):>4}  " if nodes else ""
                    yield f"{at:#14x}  {paddr:#14x}  {length:>12,}  {place}{name}"
                    at += length


def _node(node: int | None) -> str:
    return "-" if node is None else str(node)
