"""``phyr`` and ``python -m phyr``: the command line, if its packages are installed."""

import gc
import os
import sys

__all__ = ["main"]

_HELP = os.path.join(os.path.dirname(__file__), "cli", "help.txt")  # noqa: PTH118, PTH120 - quick
_WIDTH = 80


def _write_all(text: bytes) -> None:
    """Write to standard output, however few bytes it takes at once."""
    while text:
        text = text[os.write(1, text) :]


def _has_shown_help() -> bool:
    """Show the stored text of ``phyr --help``: making it anew takes several times as long.

    Returns false if something else is asked for, or the text does not fit, or cannot be written:
    the ordinary way then does it, or says why not.
    """
    if sys.argv[1:] not in (["--help"], ["-h"]) or "_PHYR_COMPLETE" in os.environ:
        return False
    try:
        width = int(os.environ.get("COLUMNS") or _WIDTH)
        if os.isatty(1):
            width = min(width, os.get_terminal_size(1).columns)
        if width < _WIDTH or sys.stdout is None:
            return False
        with open(_HELP, "rb") as file:  # noqa: PTH123 - quick
            text = file.read()
        _write_all(text)
    except (OSError, ValueError):
        return False
    return True


def _has_mapped() -> bool:
    """Do the most usual work of ``phyr map`` without click; returns false if it takes more."""
    if sys.argv[1:2] != ["map"] or "_PHYR_COMPLETE" in os.environ or sys.stdout is None:
        return False
    from phyr.cli.quick import mapped  # noqa: PLC0415 - not for help

    text = mapped(sys.argv[2:])
    if text is None:
        return False
    try:
        _write_all(text)
    except OSError:
        return False
    return True


def main() -> None:
    """Run the command line. If packages are missing, say which to install, and exit with 2."""
    if _has_shown_help():
        return
    if sys.platform == "win32":  # pragma: no cover - tests/house/test_platforms.py
        sys.stderr.write("phyr: the command line needs Linux, and this is Windows\n")
        sys.exit(2)
    # Nothing that is imported is garbage, and looking takes a tenth of the time of importing.
    gc.disable()
    if _has_mapped():
        gc.freeze()  # nor at the end
        return
    gc.enable()
    try:
        import click  # noqa: F401, PLC0415 - known to work only now
        import rich  # noqa: F401, PLC0415
    except ModuleNotFoundError:
        from phyr.cli.extras import install  # noqa: PLC0415

        sys.stderr.write(f"phyr: the command line takes more packages: {install('cli')}\n")
        sys.exit(2)
    from phyr.cli import phyr  # noqa: PLC0415

    phyr(prog_name="phyr")


if __name__ == "__main__":
    main()
