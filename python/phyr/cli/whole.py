"""Files that are written whole, and that only their owner reads."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["whole_file"]

# Only writing fails so: the device is full, the user's share of it, or the file is too large.
_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file, all of it or nothing; only its owner reads it, as physical addresses are in it.

    It is written under another name beside `path`, which no file may have yet.

    Raises:
        OSError: It cannot be written.
    """
    part = Path(f"{path}.part{os.getpid()}")
    try:
        number = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(number, "wb") as file:
                yield file
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        # A file in the way is told by its own name, all else by that of the file asked for.
        is_writing = error.filename is None and error.errno in _WRITING
        is_part = str(error.filename) == str(part) and not isinstance(error, FileExistsError)
        if not is_writing and not is_part:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
