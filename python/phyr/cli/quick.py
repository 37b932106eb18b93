"""``phyr map PID`` without click, and without rich where there is no terminal.

Importing them takes longer than reading most processes. Anything unusual is left to the ordinary
way: other options, and errors, which are then told there.
"""

import io
import sys

from phyr._named import Sequence
from phyr.cli.choose import take_pids, vma_filter
from phyr.cli.scan import read_asked
from phyr.cli.show import show
from phyr.cli.styled import Plain, output
from phyr.errors import PhyrError

TYPE_CHECKING = False  # a name that type checkers know, as of `typing`
if TYPE_CHECKING:
    from typing import Any

__all__ = ["mapped"]

_FLAGS = {"--rollup": "rollup", "--orders": "orders", "--folios": "folios", "--all": "everything"}


def options_of(arguments: Sequence[str]) -> "dict[str, Any] | None":
    """Read the arguments of ``phyr map``; None for those that are left to the ordinary way."""
    texts = [text for text in arguments if text not in _FLAGS]
    try:
        pids = take_pids(texts)
    except ValueError:
        return None
    if not pids:
        return None
    return {
        "pids": pids,
        **{name: flag in arguments for flag, name in _FLAGS.items()},
        **dict.fromkeys(("cgroups", "names"), ()),
        **dict.fromkeys(("chunks", "numa", "as_json"), False),
        **dict.fromkeys(("sort", "top", "watch", "arrow", "parquet")),
        "cont": [],
        "wanted": vma_filter(()),
    }


def mapped(arguments: Sequence[str]) -> bytes | None:
    """Read processes, and return what is to be printed.

    A terminal has it printed already: nothing is left then. Returns None for what is left to the
    ordinary way.
    """
    options = options_of(arguments)
    if options is None:
        return None
    file = io.StringIO()
    try:
        out = output()
        scanned, _, _ = read_asked(options)
        show(scanned, options, Plain(file) if isinstance(out, Plain) else out)
        return file.getvalue().encode(sys.stdout.encoding, "backslashreplace")
    except (PhyrError, OSError, ModuleNotFoundError):
        return None
    except KeyboardInterrupt:
        sys.stderr.write("\nAborted!\n")  # as click has it
        sys.exit(1)
