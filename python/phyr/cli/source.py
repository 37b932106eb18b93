"""A process, live or saved: the two things that most commands take."""

from pathlib import Path

from phyr.cli.choose import Wanted, every, take_pids
from phyr.cli.saved import Origin, Saved, load
from phyr.cli.scan import Looks, scan
from phyr.errors import PhyrError
from phyr.pagemap.proc import Pid

__all__ = ["is_file", "pid_of", "read_source"]


def is_file(source: str) -> bool:
    """Return true if it names a file, not a process."""
    return Path(source).is_file()


def pid_of(source: str) -> Pid:
    """Read a process number, or ``self``, where a file is possible, too.

    Raises:
        PhyrError: It is neither.
    """
    try:
        (pid,) = take_pids([source])
    except ValueError:
        text = f"{source!r} is neither a process number, 'self', nor a file"
        raise PhyrError(text) from None
    return pid


def read_source(source: str, wanted: Wanted = every) -> Saved:
    """Read a file that ``phyr dump`` wrote, or a process as it is now.

    Args:
        source: Path, number of a process, or ``self``.
        wanted: VMAs to keep.

    Raises:
        FormatError: The file holds something else, or is damaged.
        PhyrError: `source` is neither a file nor a process.
        OSError: The file cannot be read.
    """
    if not is_file(source):
        return Saved(Origin.here(), scan(pid_of(source), Looks(wanted, stretches=True)))
    saved = load(Path(source))
    rows = [row for row in saved.process.rows if wanted(row.vma)]
    return saved._replace(process=saved.process._replace(rows=rows))
