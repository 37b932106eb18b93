"""``phyr`` and ``python -m phyr``: the command line, if its packages are installed."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line. If packages are missing, say which to install, and exit with 2."""
    try:
        import click  # noqa: F401, PLC0415 - known to work only now
        import rich  # noqa: F401, PLC0415
    except ModuleNotFoundError:
        sys.stderr.write("phyr: the command line takes more packages: pip install 'phyr[cli]'\n")
        sys.exit(2)
    from phyr.cli import phyr  # noqa: PLC0415

    phyr(prog_name="phyr")


if __name__ == "__main__":
    main()
