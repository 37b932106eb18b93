"""Files that are written whole, and that only their owner reads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["whole_file"]


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
        if str(error.filename) != str(part) or isinstance(error, FileExistsError):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
