"""The command line. Takes the extra ``phyr[cli]``.

A command, and what it shows and reads with, is imported when it is asked for, so that
``phyr --help`` is quick.
"""

import os
import sys
from importlib import import_module
from typing import Any

import click

from phyr._phyr import __version__

__all__ = ["COMMANDS", "phyr"]

COMMANDS = {
    "map": ("phyr.cli.map", "map_processes", "Show the physical memory of processes."),
    "plan": (
        "phyr.cli.plan",
        "plan",
        "Count the cost of giving memory to a device.",
    ),
    "dump": ("phyr.cli.dump", "dump", "Save the physical memory of a process in a file."),
    "show": (
        "phyr.cli.dump",
        "show",
        "Show a saved process; needs no rights but to read the file.",
    ),
    "diff": ("phyr.cli.dump", "diff", "Compare two looks at a process."),
    "picture": (
        "phyr.cli.picture.command",
        "picture",
        "Draw physical memory as a map, and the sizes of its chunks beside it.",
    ),
    "whose": (
        "phyr.cli.whose",
        "whose",
        "Show which process holds a physical address, in which VMA, and where in it.",
    ),
    "pin": (
        "phyr.cli.pin",
        "pin",
        "Show on this machine what mlock does not hold, and what a pin holds.",
    ),
    "bench": (
        "phyr.cli.bench",
        "bench",
        "Time lists on this machine beside simpler ones.",
    ),
    "demo": (
        "phyr.cli.demonstrate",
        "demo",
        "Show a list of a simulated, scattered buffer; needs no privileges.",
    ),
}
"""Module, function and first sentence of each command."""


class _Group(click.Group):
    """Commands that are imported late, and whose output may have no room."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """Give their names."""
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """Import one."""
        if name not in COMMANDS:
            return None
        module, function, _ = COMMANDS[name]
        command = getattr(import_module(module), function)
        assert isinstance(command, click.Command)  # noqa: S101 - for the type
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """List them, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as click has it
        """Run a command. click handles a pipe that nobody reads."""
        if sys.stdout is None:
            # Otherwise nothing would be printed, without an error.
            click.echo("phyr: cannot write: standard output is closed", err=True)
            sys.exit(2)
        try:
            try:
                return super().main(*args, **kwargs)
            finally:
                # At the end of Python it would be too late to say what went wrong.
                sys.stdout.flush()
        except OSError as error:
            is_closed = isinstance(error, BrokenPipeError)
            if not is_closed:
                click.echo(f"phyr: cannot write: {error.strerror}", err=True)
            # Text that is left in the buffer must not be written again at exit.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
            sys.exit(1 if is_closed else 2)


_EPILOG = """\b
Exit codes: 0 done, 1 stopped by a signal or a closed pipe, 2 refused.
Examples: `phyr COMMAND --help`. Completion: `eval "$(_PHYR_COMPLETE=bash_source phyr)"`."""


def _man(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - as click has it
    if value:
        from phyr.cli.man import man_page  # noqa: PLC0415 - only where it is asked for

        click.echo(man_page(phyr), nl=False)
        context.exit()


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EPILOG)
@click.version_option(__version__, prog_name="phyr")
@click.option(
    "--man",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_man,
    help="Print the man page: `phyr --man | man -l -`.",
)
def phyr() -> None:
    """Show physical memory as lists of its chunks, in eight bytes a chunk."""
