"""The man page: made from the text that ``--help`` shows.

``phyr --man | man -l -`` shows it; a wheel has it as ``share/man/man1/phyr.1``.
"""

import re
from collections.abc import Iterator

import click

from phyr._phyr import __version__

__all__ = ["man_page"]


def _roff(text: str) -> str:
    r"""Escape text for roff.

    Examples:
        >>> print(_roff("a-b \\n"), _roff(".x"), _roff("'y"))
        a\-b \en \&.x \&'y
    """
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def _verbatim(text: str) -> Iterator[str]:
    """Keep lines as they are."""
    yield ".nf"
    yield from map(_roff, text.splitlines())
    yield ".fi"


def _prose(text: str) -> Iterator[str]:
    """Set paragraphs; one that is marked so keeps its lines."""
    for paragraph in text.strip().split("\n\n"):
        yield ".PP"
        if paragraph.startswith("\b\n"):
            yield from _verbatim(paragraph[2:])
        else:
            yield _roff(" ".join(paragraph.split()))


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        # Arguments stand in the line of use, and are explained in the text.
        record = parameter.get_help_record(context)
        if record is not None and isinstance(parameter, click.Option):
            yield ".TP"
            yield rf"\fB{_roff(record[0])}\fR"
            yield _roff(record[1])


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    yield f".SS {_roff(command.name or '')}"
    yield rf"\fBphyr {_roff(command.name or '')}\fR {_roff(usage)}"
    yield from _prose(command.help or "")
    yield from _options(command, context)
    yield from _prose(command.epilog or "")


def man_page(group: click.Group) -> str:
    """Make the page of a command and its commands.

    Args:
        group: ``phyr``.

    Returns:
        Text for ``man``, in the language roff.

    Source:
        man-pages(7), groff_man(7).
    """
    context = click.Context(group, info_name="phyr", **group.context_settings)
    summary = (group.help or "").strip().rstrip(".")
    lines = [
        f'.TH PHYR 1 "" "phyr {__version__}" "User Commands"',
        ".SH NAME",
        rf"phyr \- {_roff(summary[0].lower() + summary[1:])}",
        ".SH SYNOPSIS",
        r"\fBphyr\fR " + _roff(" ".join(group.collect_usage_pieces(context))),
        ".SH OPTIONS",
        *_options(group, context),
        ".SH COMMANDS",
    ]
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None  # noqa: S101 - it was listed
        lines += _command(command, click.Context(command, info_name=name, parent=context))
    lines += [".SH NOTES", *_prose(group.epilog or "")]
    return "\n".join(lines) + "\n"
