"""``phyr bench``: lists beside simpler ones, on this machine."""

from typing import TYPE_CHECKING, Any

import click

from phyr.cli.common import refusing

if TYPE_CHECKING:
    from phyr.cli.contenders import Row

__all__ = ["bench"]

_EXAMPLES = """\b
Examples:
  phyr bench
  phyr bench --pages 1000000 --rounds 9"""


@click.command("bench", epilog=_EXAMPLES)
@click.option(
    "--pages",
    type=click.IntRange(1000, 10_000_000),
    default=100_000,
    show_default=True,
    help="Pages of the list.",
)
@click.option(
    "--rounds", type=click.IntRange(1, 1000), default=5, show_default=True, help="Turns of each."
)
@click.option("--seed", default=1, show_default=True, help="Other memory for another number.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, times in ns.")
def bench(pages: int, rounds: int, seed: int, *, as_json: bool) -> None:
    """Time lists on this machine beside simpler ones.

    Builds a list of scattered pages (runs of 8 on average), visits its chunks, finds single bytes,
    maps it for a device behind a bus offset, and reads this process's own page map. Does the same
    with a list of tuples, and with NumPy where it is installed. Shows the fastest turn of each.
    """
    from phyr.cli.contenders import rows  # noqa: PLC0415 - only where it is timed

    with refusing():
        found = rows(pages, rounds, seed)
    if as_json:
        import json  # noqa: PLC0415

        report: Any = {"version": 1, "pages": pages, "rows": [row._asdict() for row in found]}
        click.echo(json.dumps(report, indent=2))
        return
    click.echo(f"{'':40}{'phyr':>10}{'tuples':>16}{'numpy':>16}")
    for row in found:
        click.echo(_line(row))


def _line(row: "Row") -> str:
    cells = "".join(
        f"{'-':>16}" if time is None else f"{time:>9,.1f} {row.ratio(time):>6}"
        for time in (row.tuples, row.numpy)
    )
    return f"{row.what:40}{row.phyr:>10,.1f}{cells}".rstrip()
