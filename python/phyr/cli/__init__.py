"""The command `phyr`: `commands` parses arguments, `report` counts, `render` draws.

Needs the extra ``phyr[cli]``.
"""

from phyr.cli.commands import phyr

__all__ = ["phyr"]
