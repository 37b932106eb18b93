"""The command `phyr`: `commands` names them, a module each parses arguments and does the work.

`choose` finds processes and VMAs, `scan` reads them, `report` counts, `lines` and `render` lay out.

Needs the extra ``phyr[cli]``.
"""

from phyr.cli.commands import phyr

__all__ = ["phyr"]
