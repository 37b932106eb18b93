"""``phyr map --watch``: one screen, again and again, and what changed since."""

import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, strftime
from typing import Any, NamedTuple, Self

from phyr.cli.lines import SORTS
from phyr.cli.report import Total, spell
from phyr.cli.scan import Scanned, rows_of
from phyr.cli.show import show
from phyr.errors import ProcessGoneError

__all__ = ["Moment", "watch"]

KEYS = {
    "a": "address",
    "s": "size",
    "r": "resident",
    "w": "swapped",
    "c": "chunks",
    "l": "largest",
    "m": "small",
    "n": "name",
}
"""Orders of lines by key; ``q`` quits."""

_EVENTS = {
    "thp_collapse_alloc": "huge pages made by khugepaged",
    "thp_fault_alloc": "at page faults",
    "thp_split_page": "split",
    "thp_split_pmd": "mapped apart",
    "compact_success": "compactions",
}
_VMSTAT = Path("/proc/vmstat")


class Moment(NamedTuple):
    """The figures of one look, to compare with the look before."""

    at: float
    """Seconds of the monotonic clock."""
    total: Total
    events: dict[str, int]
    """Counters of the kernel, whole machine."""

    @classmethod
    def of(cls, scanned: Sequence[Scanned]) -> Self:
        """Take the figures of now."""
        return cls(monotonic(), Total.of(rows_of(scanned)), _events())

    def since(self, before: Self | None) -> Iterator[str]:
        """Spell what changed, in two lines."""
        if before is None:
            yield "changes show from the second look on"
            yield ""
            return
        pairs = (
            ("resident", self.total.states["ram"] - before.total.states["ram"], True),
            ("swapped", self.total.states["swap"] - before.total.states["swap"], True),
            ("chunks", self.total.chunks - before.total.chunks, False),
            ("in 2 MiB blocks", _huge(self.total) - _huge(before.total), True),
        )
        changes = [f"{name} {_signed(change, size=size)}" for name, change, size in pairs if change]
        yield f"since {self.at - before.at:.1f} s: {', '.join(changes) or 'nothing changed'}"
        events = [
            f"{count - before.events.get(name, count):,} {_EVENTS[name]}"
            for name, count in self.events.items()
            if count != before.events.get(name, count)
        ]
        yield f"this machine: {', '.join(events) or 'no huge page made or split'}"


def _huge(total: Total) -> int:
    return sum(total.buckets[2:])


def _signed(change: int, *, size: bool) -> str:
    """Spell a change.

    Examples:
        >>> _signed(-4096, size=True), _signed(5000, size=False)
        ('-4 KiB', '+5,000')
    """
    amount = spell(abs(change)) if size else f"{abs(change):,}"
    return f"{'-' if change < 0 else '+'}{amount}"


def _events() -> dict[str, int]:
    try:
        lines = _VMSTAT.read_text().splitlines()
    except OSError:
        return {}
    found = dict(line.split(maxsplit=1) for line in lines)
    return {name: int(found[name]) for name in _EVENTS if name in found}


@contextmanager
def _keys() -> Iterator[None]:
    """Have each key at once, on a screen of its own; put everything back at the end."""
    before = termios.tcgetattr(sys.stdin)
    # Keys typed ahead are kept.
    tty.setcbreak(sys.stdin, termios.TCSADRAIN)
    _say("\x1b[?1049h\x1b[?25l")
    try:
        yield
    finally:
        _say("\x1b[?25h\x1b[?1049l")
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _key(seconds: float) -> str:
    """Wait for a key; empty if none comes."""
    ready, _, _ = select.select([sys.stdin], [], [], max(seconds, 0))
    return os.read(sys.stdin.fileno(), 1).decode(errors="replace") if ready else ""


def watch(read: Callable[[], Sequence[Scanned]], seconds: float, options: dict[str, Any]) -> None:
    """Show it until ``q``, Ctrl-C, or the end of the process.

    Args:
        read: Reads the processes.
        seconds: From one look to the next.
        options: Those of ``phyr map``; a key changes their ``sort``.

    Raises:
        ProcessGoneError: It ended before the first look.
    """
    before: Moment | None = None
    options = {**options, "everything": False, "above": 3}
    with _keys():
        while True:
            try:
                scanned = read()
            except ProcessGoneError:
                if before is None:
                    raise
                break
            now = Moment.of(scanned)
            if not _shown(scanned, now, before, now.at + seconds, options):
                return
            before = now
    _say("phyr: it has ended\n")


def _shown(
    scanned: Sequence[Scanned],
    now: Moment,
    before: Moment | None,
    until: float,
    options: dict[str, Any],
) -> bool:
    """Show one look, again after each key, until the next is due; False to quit."""
    while True:
        _say(f"\x1b[H\x1b[2J{strftime('%H:%M:%S')}  {_hints(options['sort'])}  q quit\n")
        for line in now.since(before):
            _say(f"{line}\n")
        show(scanned, options)
        key = _key(until - monotonic())
        if key in ("q", "\x1b", "\x04"):
            return False
        if key not in KEYS:
            # No key came, or a key that means "look now".
            return True
        options["sort"] = KEYS[key]


def _hints(sort: str | None) -> str:
    """Name the keys; the present order in brackets."""
    names = {order: key for key, order in KEYS.items()}
    return " ".join(
        f"[{names[order]} {order}]" if order == (sort or "address") else f"{names[order]} {order}"
        for order in SORTS
    )
