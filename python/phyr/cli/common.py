"""The parts that all commands share: refusals, reading of sizes, writing of names."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TypeVar

import click

from phyr.cli.choose import vma_filter
from phyr.cli.escape import escaped
from phyr.errors import PhyrError, ProcessGoneError

__all__ = ["Refusal", "read_by", "refusing", "size_of", "take_size", "vma_option", "warn"]

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_DIGITS = 20
_Read = TypeVar("_Read")
_Command = TypeVar("_Command", bound=Callable[..., object])


class Refusal(click.ClickException):
    """One line on standard error, and exit code 2."""

    exit_code = 2

    def show(self, file: IO[str] | None = None) -> None:
        """Print it."""
        click.echo(f"phyr: {self.format_message()}", file=file, err=True)


@contextmanager
def refusing() -> Iterator[None]:
    """Say in one line what phyr, or the system, refuses."""
    try:
        yield
    except BrokenPipeError:
        raise
    except ProcessGoneError as error:
        raise Refusal(_why_gone(error)) from error
    except (PhyrError, OSError) as error:
        raise Refusal(_text(error)) from error


def _text(error: Exception) -> str:
    """Spell an error in one line, with the file that it is about."""
    text, file = getattr(error, "strerror", None), getattr(error, "filename", None)
    if text is None:
        # An error of phyr itself names the file.
        return str(error)
    return f"{escaped(os.fsdecode(file))}: {text}" if isinstance(file, str | bytes) else text


def _why_gone(error: ProcessGoneError) -> str:
    """Tell a kernel thread and a zombie from a process that is not there."""
    from phyr.pagemap.proc import Pid, read_stat  # noqa: PLC0415 - there if it raised the error

    pid: Pid = getattr(error, "pid", "self")
    try:
        stat = read_stat(pid)
    except OSError:
        return f"process {pid} is not there, or has ended"
    about = f"process {pid} ({escaped(stat.name)})"
    if stat.is_zombie:
        return f"{about} is a zombie: it has ended and has no memory"
    if stat.is_kernel_thread:
        return f"{about} is a kernel thread: it has no memory of its own"
    return f"{about} ended, or was replaced by another program, meanwhile"


def warn(text: str) -> None:
    """Print a line on standard error."""
    sys.stdout.flush()
    click.echo(f"phyr: {text}", err=True)


def size_of(text: str) -> int | None:
    """Read bytes, with or without a unit; None for what is none.

    Examples:
        >>> [size_of(text) for text in ("5000", "64K", "64 KiB", "2mib", "x", "-1")]
        [5000, 65536, 65536, 2097152, None, None]
    """
    digits = text.upper().removesuffix("B").removesuffix("I").rstrip()
    number, unit = (digits[:-1].rstrip(), digits[-1:]) if digits[-1:] in _UNITS else (digits, "")
    if not (number.isascii() and number.isdigit() and len(number) <= _DIGITS):
        return None
    return int(number) << _UNITS[unit]


def read_by(
    read: Callable[[Sequence[str]], _Read],
) -> Callable[[click.Context, click.Parameter, Sequence[str]], _Read]:
    """Make an option's callback of a function that raises ValueError for what it cannot read."""

    def callback(
        _context: click.Context, _parameter: click.Parameter, texts: Sequence[str]
    ) -> _Read:
        try:
            return read(texts)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return callback


def vma_option(text: str) -> Callable[[_Command], _Command]:
    """Give a command the option of the VMAs to look at; `text` is its help."""
    return click.option(
        "--vma", "wanted", multiple=True, metavar="FILTER", callback=read_by(vma_filter), help=text
    )


def take_size(_context: click.Context, _parameter: click.Parameter, value: str) -> int:
    """Take bytes, with or without a unit: ``5000``, ``64K``, ``64 KiB``."""
    from phyr.cli.demo import LONGEST  # noqa: PLC0415 - only where a size is asked for

    size = size_of(value)
    if size is None:
        raise click.BadParameter(f"{value!r} is no size such as 5000, 64K or '2 MiB'.")
    if not 0 < size <= LONGEST:
        raise click.BadParameter(f"{value!r} is not from 1 byte to {LONGEST >> 30} GiB.")
    return size
