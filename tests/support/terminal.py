"""The command line on a terminal of its own."""

import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator

_PATIENCE = 60  # seconds; what shows nothing for so long loses its terminal
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def plain(text: str) -> str:
    """Return text without colours and moves."""
    return _CONTROL.sub("", text)


def environment(**more: str) -> dict[str, str]:
    """Return the environment without what decides colours and widths."""
    kept = {**os.environ, "TERM": "xterm-256color"}
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        kept.pop(name, None)
    return {**kept, **more}


def resize(terminal: int, columns: int, lines: int) -> None:
    """Set how large a terminal is."""
    import fcntl  # noqa: PLC0415 - not on every system
    import termios  # noqa: PLC0415

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def in_terminal(
    columns: int, *arguments: str, lines: int = 40, keys: bytes = b"", interrupt_at: str = ""
) -> str:
    """Run the command line, and give all that it shows.

    Args:
        columns: Of the terminal.
        arguments: Those of the command.
        lines: Of the terminal.
        keys: Typed ahead.
        interrupt_at: Once this is shown the process is interrupted, as Ctrl-C does it.
    """
    ours, theirs = pty.openpty()
    resize(theirs, columns, lines)
    os.write(ours, keys)
    command = [sys.executable, "-m", "phyr", *arguments]
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment()
    ) as process:
        os.close(theirs)
        text = ""
        for piece in pieces(ours):
            text += piece.decode(errors="replace")
            if interrupt_at and interrupt_at in text:
                process.send_signal(signal.SIGINT)
                interrupt_at = ""
        return text.replace("\r\n", "\n")


def pieces(file: int) -> Iterator[bytes]:
    """Read a terminal until nobody has its other end open any more."""
    try:
        while select.select([file], [], [], _PATIENCE)[0] and (piece := os.read(file, 1 << 16)):
            yield piece
    except OSError:
        pass
    finally:
        os.close(file)
