"""``phyr demo``: what a list is, on simulated memory."""

import click

from phyr.cli.common import take_size

__all__ = ["demo"]


_EXAMPLES = """\b
Examples:
  phyr demo
  phyr demo --seed 7 --size 1GiB"""


@click.command("demo", epilog=_EXAMPLES)
@click.option("--seed", default=1, show_default=True, help="Other memory for another number.")
@click.option("--size", default="64MiB", show_default=True, callback=take_size, help="Bytes.")
def demo(seed: int, size: int) -> None:
    """Show a list of a simulated, scattered buffer; needs no privileges."""
    from phyr.cli.demo import story  # noqa: PLC0415 - only now it is known to be asked for

    for heading, lines in story(size, seed):
        click.secho(heading, bold=True)
        for line in lines:
            click.echo(f"  {line}")
        click.echo()
