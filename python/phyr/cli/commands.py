"""The command line: ``phyr map`` and ``phyr demo``.

Takes the extra ``phyr[cli]``. What shows and reads is imported by the command that needs it, so
that ``phyr --version`` is quick.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import IO, TYPE_CHECKING, Any

import click

from phyr._phyr import __version__
from phyr.errors import PhyrError

if TYPE_CHECKING:
    from phyr.pagemap.proc import Pid

__all__ = ["phyr"]

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30}


class _Refusal(click.ClickException):
    """One line on standard error, and exit code 2."""

    exit_code = 2

    def show(self, file: IO[str] | None = None) -> None:
        """Print it."""
        click.echo(f"phyr: {self.format_message()}", file=file, err=True)


@contextmanager
def _refusing() -> Iterator[None]:
    """Say in one line what phyr, or the system, refuses."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (PhyrError, OSError) as error:
        raise _Refusal(getattr(error, "strerror", None) or str(error)) from error


class _Group(click.Group):
    """Commands whose output may have no room: one line about it, and exit code 2."""

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as click has it
        """Run a command; a pipe that nobody reads is click's business."""
        if sys.stdout is None:
            # Nothing would be printed, and nobody told.
            click.echo("phyr: cannot write: standard output is closed", err=True)
            sys.exit(2)
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            click.echo(f"phyr: cannot write: {error.strerror}", err=True)
            # What is left in the buffer is not to be tried again at the end.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
            sys.exit(2)


_DIGITS = 20


def _take_pid(_context: click.Context, _parameter: click.Parameter, value: str) -> "Pid":
    """Take a process number, or ``self``."""
    if value == "self":
        return "self"
    # No number that the system could mean has more digits, and Python refuses to read some.
    if value.isascii() and value.isdigit() and len(value) <= _DIGITS and int(value):
        return int(value)
    raise click.BadParameter(f"{value!r} is neither a process number nor 'self'.")


def _take_size(_context: click.Context, _parameter: click.Parameter, value: str) -> int:
    """Take bytes, with or without a unit: ``5000``, ``64K``, ``64 KiB``."""
    from phyr.cli.demo import LONGEST  # noqa: PLC0415 - only where a size is asked for

    digits = value.upper().removesuffix("B").removesuffix("I").rstrip()
    number, unit = (digits[:-1].rstrip(), digits[-1:]) if digits[-1:] in "KMG" else (digits, "")
    if not (number.isascii() and number.isdigit() and len(number) <= _DIGITS):
        raise click.BadParameter(f"{value!r} is no size such as 5000, 64K or '2 MiB'.")
    size = int(number) << _UNITS[unit]
    if not 0 < size <= LONGEST:
        raise click.BadParameter(f"{value!r} is not from 1 byte to {LONGEST >> 30} GiB.")
    return size


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="phyr")
def phyr() -> None:
    """Show physical memory as lists of its chunks, in eight bytes a chunk."""


@phyr.command("map")
@click.argument("pid", metavar="PID|self", callback=_take_pid)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, sizes in bytes.")
@click.option("--all", "everything", is_flag=True, help="List VMAs with nothing resident, too.")
def map_process(pid: "Pid", *, as_json: bool, everything: bool) -> None:
    """Show the physical memory of a process, VMA by VMA.

    Reading page numbers takes CAP_SYS_ADMIN. For each VMA: its range and size, what is resident in
    RAM, the chunks that makes, the bytes of their list, the largest chunk, and how much of the
    memory lies in aligned blocks from 4 KiB, 64 KiB, 2 MiB and 1 GiB upwards.
    """
    from phyr.cli import render, report  # noqa: PLC0415 - only this command needs rich
    from phyr.pagemap.process import Pagemap  # noqa: PLC0415

    with _refusing(), Pagemap(pid) as pagemap:
        vmas = pagemap.vmas()
        rows = []
        with closing(render.LateBar(sum(vma.length for vma in vmas))) as bar:
            for vma in vmas:
                resident = pagemap.resident(vma.start, vma.length, progress=bar.reach)
                rows.append(report.Row.of(vma, resident))
                bar.leave(vma.length)
        device_known = pagemap.ram is not None
    if as_json:
        found = report.as_json(pid, pagemap.granule, rows, device_known=device_known)
        click.echo(json.dumps(found, indent=2))
    else:
        render.show_map(render.console(), rows, everything=everything, device_known=device_known)


@phyr.command("demo")
@click.option("--seed", default=1, show_default=True, help="Other memory for another number.")
@click.option("--size", default="64MiB", show_default=True, callback=_take_size, help="Bytes.")
def demo(seed: int, size: int) -> None:
    """Show a list of a simulated, scattered buffer; needs no privileges."""
    from phyr.cli.demo import story  # noqa: PLC0415 - only this command needs it

    for heading, lines in story(size, seed):
        click.secho(heading, bold=True)
        for line in lines:
            click.echo(f"  {line}")
        click.echo()
