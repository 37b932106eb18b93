"""``phyr`` and ``python -m phyr``: the command line, if what it needs is installed."""

import sys
from importlib.util import find_spec

__all__ = ["main"]


def main() -> None:
    """Run the command line; say what to install where it is not complete, and exit with 2."""
    if find_spec("click") is None or find_spec("rich") is None:
        sys.stderr.write("phyr: the command line takes more packages: pip install 'phyr[cli]'\n")
        sys.exit(2)
    from phyr.cli import phyr  # noqa: PLC0415 - only now it is known to work

    phyr(prog_name="phyr")


if __name__ == "__main__":
    main()
