"""``phyr map PID`` without click, and without rich where there is no terminal.

They take longer to import than many a process to read. Anything unusual is left to the ordinary
way: other options, and errors, which are then told there.
"""

import io
import os
import sys
from collections.abc import Sequence
from typing import Any

from phyr.cli.choose import take_pids, vma_filter
from phyr.cli.scan import read_asked
from phyr.cli.show import show
from phyr.cli.styled import Plain, output
from phyr.errors import PhyrError

__all__ = ["has_mapped"]

_FLAGS = {"--rollup": "rollup", "--orders": "orders", "--folios": "folios", "--all": "everything"}


def options_of(arguments: Sequence[str]) -> dict[str, Any] | None:
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


def has_mapped(arguments: Sequence[str]) -> bool:
    """Read processes and print. Returns false if it is left to the ordinary way."""
    options = options_of(arguments)
    if options is None:
        return False
    file = io.StringIO()
    try:
        out = output()
        scanned, _, _ = read_asked(options)
        if not isinstance(out, Plain):
            show(scanned, options, out)
            return True
        show(scanned, options, Plain(file))
        text = file.getvalue().encode(sys.stdout.encoding, "backslashreplace")
        return os.write(1, text) == len(text)
    except (PhyrError, OSError, ModuleNotFoundError):
        return False
    except KeyboardInterrupt:
        sys.stderr.write("\nAborted!\n")  # as click has it
        sys.exit(1)
