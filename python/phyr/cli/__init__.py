"""The command `phyr`: `commands` names them, a module each parses arguments and does the work.

`choose` finds processes and VMAs, `scan` reads them, `report` counts, `lines` and `render` lay out.
`quick` does the most usual of it without what only arguments and terminals need.

Needs the extra ``phyr[cli]``.
"""

TYPE_CHECKING = False  # a name that type checkers know, as of `typing`
if TYPE_CHECKING:
    from phyr.cli.commands import phyr

__all__ = ["phyr"]

if not TYPE_CHECKING:  # pragma: no branch - who checks types knows the name

    def __getattr__(name: str) -> object:
        """Import the command when it is asked for: `quick` does without."""
        if name != "phyr":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from phyr.cli import commands  # noqa: PLC0415

        return commands.phyr
