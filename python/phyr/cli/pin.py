"""``phyr pin --selftest``: shows what mlock does not hold, and what a pin holds."""

from typing import Any

import click

from phyr.cli.common import refusing, take_size

__all__ = ["pin"]

_EXAMPLES = """\b
Examples:
  phyr pin --selftest
  phyr pin --selftest --size 64M --compact"""


@click.command("pin", epilog=_EXAMPLES)
@click.option("--selftest", is_flag=True, required=True, help="Try it: the one thing to do here.")
@click.option("--size", default="4MiB", show_default=True, callback=take_size, help="Bytes.")
@click.option("--compact", is_flag=True, help="Compact the machine's memory, too; takes a while.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def pin(*, selftest: bool, size: int, compact: bool, as_json: bool) -> None:  # noqa: ARG001
    """Show on this machine what mlock does not hold, and what a pin holds.

    Memory in single pages is left alone, locked, or pinned; then the kernel is asked to make huge
    pages of it, which moves it. The pages that lie elsewhere afterwards are counted. Takes root.
    """
    from phyr.cli.selftest import try_all  # noqa: PLC0415 - only where it is tried

    with refusing():
        found = try_all(size, compact=compact)
    if as_json:
        import json  # noqa: PLC0415

        report: Any = {"version": 1, "tries": [one._asdict() for one in found]}
        click.echo(json.dumps(report, indent=2))
        return
    click.echo(f"{'memory is':12}{'the kernel is asked to':24}{'pages':>10}{'moved':>10}")
    for one in found:
        moved = "-" if one.moved is None else f"{one.moved:,}"
        click.echo(f"{one.held:12}{one.asked:24}{one.pages:>10,}{moved:>10}  {one.answer}".rstrip())
