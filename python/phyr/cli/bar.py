"""A progress bar on standard error: for a terminal, and only once it takes long."""

import sys
from time import monotonic

from phyr._scope import Scope

TYPE_CHECKING = False  # a name that type checkers know, as of `typing`
if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["LateBar"]

_PATIENCE = 0.5  # seconds before a progress bar shows


class LateBar(Scope):
    """Shows how far reading is, its rate, and the time it is likely to take."""

    def __init__(self, total: int, console: "Console | None" = None) -> None:
        """Start waiting; `total` is in bytes."""
        self._total = total
        self._console = console
        self._before = 0
        self._since = monotonic()
        self._bar: Progress | None = None

    def leave(self, length: int) -> None:
        """Count a VMA of so many bytes as done."""
        self._before += length

    def reach(self, done: int, _length: int) -> None:
        """Show how far it is in the present VMA."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._before + done)
        elif monotonic() - self._since > _PATIENCE and self._is_shown():
            self._bar = self._made(done)

    def _is_shown(self) -> bool:
        return sys.stderr.isatty() if self._console is None else self._console.is_terminal

    def _made(self, done: int) -> "Progress":
        # Imported here, since it takes longer than most maps.
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        bar = Progress(
            TextColumn("reading"),
            BarColumn(),
            TaskProgressColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console or Console(stderr=True),
            transient=True,
            redirect_stdout=False,
        )
        bar.add_task("reading", total=self._total, completed=self._before + done)
        bar.start()
        return bar

    def _end(self) -> None:
        """Take it away."""
        if self._bar is not None:
            self._bar.stop()
